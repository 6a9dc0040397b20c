"""The ledger's schema, one file a step: Alembic runs those that a database has not seen."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

FOLDER = Path(__file__).parent
_FIRST = "0001"  # the schema of installations that were made before there were migrations
_LOCK = 7_241_302  # of PostgreSQL, this ledger's own number: one migrates, others wait


def migrate(ledger: sa.Engine) -> None:
    """Bring the ledger to the newest schema, in one transaction; of several callers one does it, the others wait."""
    from alembic import command  # only an outdated ledger pays for it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    with ledger.begin() as connection:  # on SQLite: IMMEDIATE, so that of two the second finds it done
        if ledger.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        config.attributes["connection"] = connection
        tables = sa.inspect(connection).get_table_names()
        if "decisions" in tables and "alembic_version" not in tables:
            command.stamp(config, _FIRST)
        command.upgrade(config, "head")
