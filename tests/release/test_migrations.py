"""The ledger's schema comes from its migrations, and from nowhere else."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from include.release import ledger as book
from include.release.migrations import FOLDER
from include.release.tables import REVISION, append_only, metadata


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


def test_the_newest_migration_is_what_the_code_asks_for() -> None:
    assert ScriptDirectory(str(FOLDER)).get_heads() == [REVISION]


def test_migrations_and_tables_say_the_same(tmp_path: Path) -> None:
    ledger = book.connect(url_of(tmp_path))
    with ledger.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)
    assert found == []


def old_ledger(folder: Path) -> str:
    """A ledger as it was made before there were migrations, with a champion in it."""
    engine = book.connect(url_of(folder))
    with engine.begin() as connection:
        for name in ("alembic_version", "releases", "approvals", "freezes", "request_causes"):
            connection.exec_driver_sql(f"DROP TABLE {name}")
        for table, column in (("versions", "code_hash"), *(("deployments", c) for c in ("stage", "share", "release"))):
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.exec_driver_sql(
            "INSERT INTO decisions (key, model, kind, version, actor, reason, evidence, evidence_hash, as_of) "
            "VALUES ('k', 'm', 'champion', 1, 'test', 'because', '{}', 'x', '2013-03-01T05:00:00+00:00')"
        )
        connection.exec_driver_sql(
            "INSERT INTO deployments (model, generation, champion, decision) VALUES ('m', 1, 1, 1)"
        )
    engine.dispose()
    return url_of(folder)


def test_a_ledger_of_old_is_taken_along(tmp_path: Path) -> None:
    url = old_ledger(tmp_path)
    with pytest.raises(book.Outdated, match=REVISION):
        book.connect(url, migrate=False)
    ledger = book.connect(url)
    assert book.current(ledger, "m") == book.Deployment("m", 1, 1, None)
    with ledger.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), ledger.begin() as connection:
        connection.exec_driver_sql("DELETE FROM deployments")


def made_by_release_two(url: str) -> sa.Engine:
    """A ledger of the schema before causes had a table, with a request that was answered and one that is open."""
    engine = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for ordinal, (cause, run) in enumerate([("'it is old'", "'monitor/a'"), ("'it''s surprised'", "NULL")]):
            connection.exec_driver_sql(
                "INSERT INTO retrain_requests (model, ordinal, as_of, cause, actor, run) "
                f"VALUES ('m', {ordinal}, '2013-03-0{ordinal + 1}T05:00:00+00:00', {cause}, 'monitor', {run})"
            )
        connection.exec_driver_sql("INSERT INTO retrain_closures (request, outcome, run) VALUES (1, 'refused', 't/1')")
    return engine


def test_requests_of_old_keep_their_cause(url: str) -> None:
    made_by_release_two(url).dispose()
    with pytest.raises(book.Outdated, match="0002, this code needs"):
        book.connect(url, migrate=False)
    ledger = book.connect(url)
    with ledger.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []
    found = book.open_request(ledger, "m")
    assert found is not None
    assert (found.id, book.answered_by(ledger, 1)) == (2, "t/1")
    assert book.causes(ledger, 1) == [
        book.Cause("other", "it is old", "monitor", "2013-03-01T05:00:00+00:00", "monitor/a")
    ]
    assert [(c.cause, c.run) for c in book.causes(ledger, 2)] == [("it's surprised", None)]
    again = book.request_retrain(ledger, "m", "2013-03-03T05:00:00+00:00", "age", "monitor", "monitor/c")
    assert again.id == 2
    assert [c.cause for c in book.causes(ledger, 2)] == ["it's surprised", "age"]
    for verb in ("UPDATE request_causes SET cause = ''", "DELETE FROM request_causes"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), ledger.begin() as connection:
            connection.exec_driver_sql(verb)


def _connect(url: str) -> None:
    book.connect(url)


def test_several_that_come_at_once_migrate_once(tmp_path: Path) -> None:
    url = old_ledger(tmp_path)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_connect, args=(url,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert book.current(book.connect(url, migrate=False), "m").champion == 1


def test_every_table_is_append_only_by_a_trigger(tmp_path: Path) -> None:
    ledger = book.connect(url_of(tmp_path))
    with ledger.connect() as connection:
        names = {n for (n,) in connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))}
    assert names == {s.split()[5] for table in metadata.tables for s in append_only(table, "sqlite")}
