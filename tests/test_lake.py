"""The lake: a day is overwritten whole, versions are kept, and only the catalog makes anything visible."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include import lake
from include.contracts import LATE15
from include.files import hash_value

DAY1, DAY2 = "2013-01-01", "2013-01-02"


def rows(day: str, *ids: str, known: datetime = datetime(2013, 1, 1, tzinfo=UTC)) -> pa.Table:
    data = {"ds": [day] * len(ids), "flight_id": list(ids), "late": [1] * len(ids), "known_at": [known] * len(ids)}
    return pa.table(data, schema=lake.schema(LATE15))


def ids(path: Path, at: int) -> list[str]:
    found: list[str] = lake.read(path, LATE15, at)["flight_id"].to_pylist()
    return found


def test_a_day_is_replaced_and_other_days_stay(tmp_path: Path) -> None:
    first = lake.overwrite_days(
        tmp_path, LATE15, pa.concat_tables([rows(DAY1, "a", "b"), rows(DAY2, "c")]), [DAY1, DAY2]
    )
    second = lake.overwrite_days(tmp_path, LATE15, rows(DAY1, "d"), [DAY1])
    assert ids(tmp_path, second) == ["d", "c"]
    assert ids(tmp_path, first) == ["a", "b", "c"]  # an old version is still there


def test_a_day_that_has_nothing_any_more_becomes_empty(tmp_path: Path) -> None:
    lake.overwrite_days(tmp_path, LATE15, rows(DAY1, "a"), [DAY1])
    at = lake.overwrite_days(tmp_path, LATE15, rows(DAY1), [DAY1])
    assert ids(tmp_path, at) == []


def test_rows_of_another_day_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"2013-01-02.* outside"):
        lake.overwrite_days(tmp_path, LATE15, rows(DAY2, "a"), [DAY1])


def test_a_repeated_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 rows repeat a key"):
        lake.overwrite_days(tmp_path, LATE15, rows(DAY1, "a", "a"), [DAY1])


def test_a_column_too_few_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="late"):
        lake.overwrite_days(tmp_path, LATE15, rows(DAY1, "a").drop_columns(["late"]), [DAY1])


def test_a_row_is_not_read_before_it_is_known(tmp_path: Path) -> None:
    early, late = datetime(2013, 1, 1, 6, tzinfo=UTC), datetime(2013, 1, 1, 7, tzinfo=UTC)
    both = pa.concat_tables([rows(DAY1, "a", known=early), rows(DAY1, "b", known=late)])
    at = lake.overwrite_days(tmp_path, LATE15, both, [DAY1])
    assert lake.read(tmp_path, LATE15, at, known_by=early)["flight_id"].to_pylist() == ["a"]
    assert lake.read(tmp_path, LATE15, at, known_by=late)["flight_id"].to_pylist() == ["a", "b"]


def test_only_the_asked_days_and_columns_are_read(tmp_path: Path) -> None:
    at = lake.overwrite_days(tmp_path, LATE15, pa.concat_tables([rows(DAY1, "a"), rows(DAY2, "b")]), [DAY1, DAY2])
    found = lake.read(tmp_path, LATE15, at, days=(DAY2, DAY2), columns=["flight_id"])
    assert found.to_pydict() == {"flight_id": ["b"]}


def test_a_version_that_never_was_is_named(tmp_path: Path) -> None:
    with pytest.raises(lake.UnknownVersion, match="late15 has never been written"):
        lake.version(tmp_path, LATE15)
    lake.overwrite_days(tmp_path, LATE15, rows(DAY1, "a"), [DAY1])
    with pytest.raises(lake.UnknownVersion, match="late15 has no version 7"):
        lake.read(tmp_path, LATE15, 7)


def test_publishing_swaps_all_versions_at_once_and_twice_is_once(tmp_path: Path) -> None:
    times = ("2013-01-02T00:00:00+00:00", "2013-01-01T00:00:00+00:00", "2013-01-02T00:00:00+00:00")
    first = lake.publish(tmp_path, {"a": 1, "b": 2}, *times)
    assert lake.catalog(tmp_path) == first == lake.publish(tmp_path, {"a": 1, "b": 2}, *times)
    assert first["versions"] == {"a": 1, "b": 2}


def test_of_two_overlapping_runs_the_second_to_publish_is_stopped(tmp_path: Path) -> None:
    first, second = "2013-01-01T01:00:00+00:00", "2013-01-01T02:00:00+00:00"
    planned = hash_value(lake.catalog(tmp_path))
    made = lake.publish(tmp_path, {"a": 1}, second, first, second, planned)
    with pytest.raises(lake.Moved, match="since this one was planned"):
        lake.publish(tmp_path, {"a": 2}, first, first, first, planned)
    assert lake.catalog(tmp_path) == made
    assert lake.publish(tmp_path, {"a": 1}, second, first, second, planned) == made  # a retry of the first


hours = st.integers(min_value=0, max_value=23)


@given(st.lists(st.tuples(hours, hours).filter(lambda p: p[0] < p[1]), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_the_watermark_leaves_no_hole_and_as_of_never_moves_back(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    covered: set[int] = set()
    newest = ""
    for start, end in spans:
        covered |= set(range(start, end))
        stamp = [f"2013-01-01T{hour:02}:00:00+00:00" for hour in (start, end)]
        seen = lake.publish(folder, {}, stamp[1], *stamp)
        assert seen["as_of"] is not None
        assert seen["as_of"] >= newest
        newest = seen["as_of"]
        assert seen["watermark"] is not None
        assert set(range(spans[0][0], int(seen["watermark"][11:13]))) <= covered


def test_rows_are_appended_once(tmp_path: Path) -> None:
    first = lake.append(tmp_path, LATE15, rows(DAY1, "a"), {"w": 1, "v": 7})
    second = lake.append(tmp_path, LATE15, rows(DAY2, "b"), {"w": 2})
    for number in (1, 2):
        with pytest.raises(lake.Repeated, match="'w': 2"):
            lake.append(tmp_path, LATE15, rows(DAY2, "c"), {"w": number, "u": 1})
    assert lake.appended(tmp_path, LATE15, ["u", "v", "w"]) == {"v": 7, "w": 2}
    assert (ids(tmp_path, first), ids(tmp_path, second)) == (["a"], ["a", "b"])
    assert lake.version(tmp_path, LATE15) == second


@pytest.mark.parametrize("begun", [True, False])
def test_of_two_who_append_the_same_rows_at_once_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """The other one commits in the moment between this one's look at the table and its commit."""
    if begun:
        lake.append(tmp_path, LATE15, rows(DAY1, "a"), {"w": 1})
    write = lake.write_deltalake

    def overtaken(*args: Any, **named: Any) -> None:
        monkeypatch.setattr(lake, "write_deltalake", write)
        lake.append(tmp_path, LATE15, rows(DAY2, "b"), {"w": 2})
        write(*args, **named)

    monkeypatch.setattr(lake, "write_deltalake", overtaken)
    with pytest.raises(lake.Repeated):
        lake.append(tmp_path, LATE15, rows(DAY2, "b"), {"w": 2})
    assert ids(tmp_path, lake.version(tmp_path, LATE15)) == [*(["a"] if begun else []), "b"]


def test_a_new_column_is_null_in_what_was_appended_before(tmp_path: Path) -> None:
    old = replace(LATE15, columns={k: v for k, v in LATE15.columns.items() if k != "late"})
    lake.append(tmp_path, old, rows(DAY1, "a").drop_columns(["late"]), {"w": 1})
    at = lake.append(tmp_path, LATE15, rows(DAY1, "b"), {"w": 2})
    assert lake.read(tmp_path, LATE15, at).select(["flight_id", "late"]).to_pylist() == [
        {"flight_id": "a", "late": None},
        {"flight_id": "b", "late": 1},
    ]
