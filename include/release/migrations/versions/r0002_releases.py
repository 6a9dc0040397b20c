"""Releases, approvals, freezes; the stage and share of a deployment's challenger; the code a version was made for."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from include.release.tables import append_only

revision = "0002"
down_revision = "0001"


def _recorded() -> sa.Column[Any]:
    return sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def upgrade() -> None:
    op.add_column("versions", sa.Column("code_hash", sa.String(64)))
    op.add_column("deployments", sa.Column("stage", sa.String(20), nullable=False, server_default=""))
    op.add_column("deployments", sa.Column("share", sa.Float, nullable=False, server_default="0"))
    op.add_column("deployments", sa.Column("release", sa.Integer))
    op.create_table(
        "releases",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("champion", sa.Integer, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("as_of", sa.String(40), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("run", sa.String(400), nullable=False, unique=True),
        _recorded(),
    )
    op.create_table(
        "approvals",
        sa.Column("release", sa.Integer, sa.ForeignKey("releases.id"), primary_key=True),
        sa.Column("answer", sa.String(20), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        _recorded(),
    )
    op.create_table(
        "freezes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model", sa.String(100), nullable=False, index=True),
        sa.Column("frozen", sa.Boolean, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        _recorded(),
    )
    for table in ("releases", "approvals", "freezes"):
        for statement in append_only(table, op.get_context().dialect.name):
            op.execute(statement)
