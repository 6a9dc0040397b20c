"""The ledger's tables. Append-only: triggers refuse UPDATE and DELETE, so no bug rewrites history.

The schema is made by `migrations/`; a test holds that both say the same. `REVISION` is the newest migration.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

REVISION = "0003"
metadata = sa.MetaData()


class _Now(FunctionElement[Any]):
    """The database's clock, wall time, UTC: nothing in the library reads one. SQLite's default has no fractions."""

    inherit_cache = True
    type = sa.DateTime(timezone=True)


@compiles(_Now)
def _now(*_: Any, **__: Any) -> str:
    return "clock_timestamp()"


@compiles(_Now, "sqlite")
def _now_sqlite(*_: Any, **__: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"  # SQLAlchemy reads six digits


def _recorded() -> sa.Column[Any]:
    when = sa.DateTime(timezone=True)
    return sa.Column("recorded_at", when, default=_Now(), server_default=sa.func.now(), nullable=False)


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
    sa.Column("code_hash", sa.String(64)),  # of the service's code that it was rehearsed with
)

# Releases: one challenger's way towards champion. `policy` is the spec's rollout as it was then.
releases = sa.Table(
    "releases",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(100), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("champion", sa.Integer, nullable=False),  # that it is compared with
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("as_of", sa.String(40), nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("run", sa.String(400), nullable=False, unique=True),
    _recorded(),
)
approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("release", sa.Integer, sa.ForeignKey("releases.id"), primary_key=True),
    sa.Column("answer", sa.String(20), nullable=False),  # approved, rejected, expired
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
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
    sa.Column("stage", sa.String(20), nullable=False, server_default=""),  # of the challenger
    sa.Column("share", sa.Float, nullable=False, server_default="0"),  # of entities that the challenger answers
    sa.Column("release", sa.Integer),  # releases.id
)

# Freezes: the newest row of a model says whether anything may be promoted.
freezes = sa.Table(
    "freezes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(100), nullable=False, index=True),
    sa.Column("frozen", sa.Boolean, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
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
# Why a training was asked for: the causes of the run that opened a request, and of those that asked while it was open.
request_causes = sa.Table(
    "request_causes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("request", sa.Integer, sa.ForeignKey("retrain_requests.id"), nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),  # age, surprise, score, person …
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("as_of", sa.String(40), nullable=False),
    sa.Column("run", sa.String(400)),
    _recorded(),
    sa.UniqueConstraint("request", "run", "kind"),  # a retry is one entry
)
retrain_closures = sa.Table(
    "retrain_closures",
    metadata,
    sa.Column("request", sa.Integer, sa.ForeignKey("retrain_requests.id"), primary_key=True),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("run", sa.String(400), nullable=False),
    _recorded(),
)


def append_only(table: str, dialect: str) -> list[str]:
    """Statements after which a table refuses UPDATE and DELETE."""
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: {table}'); END"
            for verb in ("UPDATE", "DELETE")
        ]
    return [
        "CREATE OR REPLACE FUNCTION ledger_is_append_only() RETURNS trigger AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only: %', TG_TABLE_NAME; END $$ LANGUAGE plpgsql",
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only()",
    ]
