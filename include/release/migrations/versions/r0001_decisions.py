"""Decisions, packaged versions, deployments, retrain requests."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from include.release.tables import append_only

revision = "0001"
down_revision = None


def _recorded() -> sa.Column[Any]:
    return sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(400), nullable=False, unique=True),
        sa.Column("model", sa.String(100), nullable=False, index=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("evidence_hash", sa.String(64), nullable=False),
        sa.Column("as_of", sa.String(40), nullable=False),
        sa.Column("run", sa.String(400)),
        _recorded(),
    )
    op.create_table(
        "versions",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("mlflow_run", sa.String(64), nullable=False),
        sa.Column("configuration_hash", sa.String(64), nullable=False),
        sa.Column("as_of", sa.String(40), nullable=False),
        sa.Column("trained_until", sa.String(10), nullable=False),
        sa.Column("frame", sa.Text, nullable=False),
        sa.Column("bundle", sa.Text, nullable=False),
        sa.Column("bento", sa.Text, nullable=False),
        _recorded(),
    )
    op.create_table(
        "deployments",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("champion", sa.Integer),
        sa.Column("challenger", sa.Integer),
        sa.Column("decision", sa.Integer, sa.ForeignKey("decisions.id"), nullable=False, unique=True),
        _recorded(),
    )
    op.create_table(
        "retrain_requests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("as_of", sa.String(40), nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("run", sa.String(400)),
        _recorded(),
        sa.UniqueConstraint("model", "ordinal"),
    )
    op.create_table(
        "retrain_closures",
        sa.Column("request", sa.Integer, sa.ForeignKey("retrain_requests.id"), primary_key=True),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("run", sa.String(400), nullable=False),
        _recorded(),
    )
    for table in ("decisions", "versions", "deployments", "retrain_requests", "retrain_closures"):
        for statement in append_only(table, op.get_context().dialect.name):
            op.execute(statement)
