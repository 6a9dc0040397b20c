"""The SQL texts: times keep their zone on the way through, and a second engine could read every text."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import sqlglot

from include.features import engine

_TEXTS = sorted(path.stem for path in (Path(engine.__file__).parent / "sql").glob("*.sql"))
_VALUES = {"first": "2013-01-01 00:00:00", "last": "2013-01-02 00:00:00", "same_keys": "TRUE", "moment": "known_at"}


@pytest.mark.parametrize("name", _TEXTS)
def test_every_text_can_be_written_for_spark(name: str) -> None:
    holes = string.Template((Path(engine.__file__).parent / "sql" / f"{name}.sql").read_text()).get_identifiers()
    numbers = {"hours", "weight", "prior", "minutes"}
    text = engine.text(name, **{hole: "1" if hole in numbers else _VALUES.get(hole, "some") for hole in holes})
    (spark,) = sqlglot.transpile(text, read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE)
    assert "ASOF" not in spark.upper()


def test_a_hole_left_open_is_an_error() -> None:
    with pytest.raises(KeyError, match="hours"):
        engine.text(
            "mean",
            feature="x",
            entity_keys="e.a",
            group_by="a",
            tally="t",
            entities="e",
            prior=0,
            weight=0,
            same_keys="TRUE",
        )


def test_times_are_naive_inside_and_utc_outside() -> None:
    moment = datetime(2013, 3, 10, 7, 30, tzinfo=UTC)  # an hour that New York's clocks skip
    with engine.connect() as con:
        engine.register(con, "given", pa.table({"t": pa.array([moment], pa.timestamp("us", tz="UTC"))}))
        assert engine.fetch(con, "SELECT typeof(t) AS kind FROM given")["kind"].to_pylist() == ["TIMESTAMP"]
        assert engine.fetch(con, "SELECT t + INTERVAL 1 HOUR AS t FROM given")["t"].to_pylist() == [
            moment.replace(hour=8)
        ]
