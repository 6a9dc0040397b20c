"""A ledger's URL on each database that it runs on: a SQLite file, and a PostgreSQL server of the session's own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def _command(name: str) -> str:
    return str(BINARIES[-1] / name) if BINARIES else name


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server on loopback that is gone after the session."""
    folder = Path(tempfile.mkdtemp(prefix="ratchet-postgres-"))
    # initdb refuses to work for root
    as_user: dict[str, Any] = {"user": "postgres"} if os.getuid() == 0 else {}
    if as_user:
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **as_user}
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    subprocess.run([_command("initdb"), "-D", data, "-U", "ratchet", "-A", "trust", "-N"], **quiet)
    try:
        subprocess.run([_command("pg_ctl"), "-D", data, "-w", "-o", options, "-l", folder / "log", "start"], **quiet)
        yield f"postgresql+psycopg2://ratchet@127.0.0.1:{port}"
    finally:
        subprocess.run([_command("pg_ctl"), "-D", data, "-m", "immediate", "stop"], **{**quiet, "check": False})
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database for a ledger."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server, name = request.getfixturevalue("postgres"), f"t{uuid.uuid4().hex}"
    engine = sa.create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return f"{server}/{name}"
