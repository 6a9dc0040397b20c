"""The ledger's tables. Append-only: triggers refuse UPDATE and DELETE, so no bug rewrites history."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()


def _recorded() -> sa.Column[Any]:
    # the database's own clock, wall time: nothing in the library reads one
    return sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


# What was decided: by whom, why, on what evidence. `key` makes a retried decision the same decision.
decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(400), nullable=False, unique=True),
    sa.Column("model", sa.String(100), nullable=False, index=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("version", sa.Integer),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("evidence_hash", sa.String(64), nullable=False),
    sa.Column("as_of", sa.String(40), nullable=False),  # data time
    sa.Column("run", sa.String(400)),  # Airflow's DAG and run
    _recorded(),
)

# Packaged versions: where a service finds each one.
versions = sa.Table(
    "versions",
    metadata,
    sa.Column("model", sa.String(100), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("mlflow_run", sa.String(64), nullable=False),
    sa.Column("configuration_hash", sa.String(64), nullable=False),
    sa.Column("as_of", sa.String(40), nullable=False),
    sa.Column("trained_until", sa.String(10), nullable=False),  # last local date that it was fitted or tuned on
    sa.Column("frame", sa.Text, nullable=False),  # what it was trained on; a Ref as JSON, like those below
    sa.Column("bundle", sa.Text, nullable=False),
    sa.Column("bento", sa.Text, nullable=False),
    _recorded(),
)

# What is live: the highest generation of a model. The primary key is the compare-and-set: of two promoters that saw
# generation n, one inserts n + 1 and the other's insert fails.
deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("model", sa.String(100), primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("champion", sa.Integer),
    sa.Column("challenger", sa.Integer),
    sa.Column("decision", sa.Integer, sa.ForeignKey("decisions.id"), nullable=False, unique=True),
    _recorded(),
)

# Requests to train. Open: no closure refers to it. (model, ordinal) lets one request of a model be open at a time.
retrain_requests = sa.Table(
    "retrain_requests",
    metadata,
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
retrain_closures = sa.Table(
    "retrain_closures",
    metadata,
    sa.Column("request", sa.Integer, sa.ForeignKey("retrain_requests.id"), primary_key=True),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("run", sa.String(400), nullable=False),
    _recorded(),
)


def _append_only(table: sa.Table) -> None:
    for verb in ("UPDATE", "DELETE"):
        sqlite = (
            f"CREATE TRIGGER IF NOT EXISTS {table.name}_no_{verb.lower()} BEFORE {verb} ON {table.name} "
            f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: {table.name}'); END"
        )
        sa.event.listen(table, "after_create", sa.DDL(sqlite).execute_if(dialect="sqlite"))
    postgres = (
        "CREATE OR REPLACE FUNCTION ledger_is_append_only() RETURNS trigger AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only: %%', TG_TABLE_NAME; END $$ LANGUAGE plpgsql",
        f"CREATE TRIGGER {table.name}_append_only BEFORE UPDATE OR DELETE ON {table.name} "
        "FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only()",
    )
    for statement in postgres:
        sa.event.listen(table, "after_create", sa.DDL(statement).execute_if(dialect="postgresql"))


for _table in metadata.tables.values():
    _append_only(_table)
