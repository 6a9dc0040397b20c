"""The causes of a retrain request: one that was asked for again while it was open has several."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from include.release.tables import append_only

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "request_causes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("request", sa.Integer, sa.ForeignKey("retrain_requests.id"), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("as_of", sa.String(40), nullable=False),
        sa.Column("run", sa.String(400)),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.UniqueConstraint("request", "run", "kind"),
    )
    op.execute(  # requests of old have the one cause that they were made for; its kind was not kept
        "INSERT INTO request_causes (request, kind, cause, actor, as_of, run, recorded_at) "
        "SELECT id, 'other', cause, actor, as_of, run, recorded_at FROM retrain_requests ORDER BY id"
    )
    for statement in append_only("request_causes", op.get_context().dialect.name):
        op.execute(statement)
