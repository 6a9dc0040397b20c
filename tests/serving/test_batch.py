"""Batch scoring's core: the same rules as for a request, nothing lost in silence, nothing overwritten but its own."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake.exceptions import DeltaError
from hypothesis import given
from hypothesis import strategies as st

from include import bundle
from include.contracts import ENTITY, EVENT_TIME, KNOWN_AT
from include.serving import batch
from include.settings import Settings
from tests.packaging import tiny

DAY = datetime(2013, 1, 10, tzinfo=UTC)
THRESHOLD = 0.4
Span = tuple[datetime, datetime]
_EDGES = [0.0, -1.0, 1.0, 0.5, float("nan"), float("inf"), float("-inf"), 3.4028235e38, -3.4028235e38, 1e-45]
_VALUES = st.sampled_from(_EDGES) | st.floats(width=32)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> batch.Scorer:
    made = tiny.save(Settings(home=tmp_path_factory.mktemp("bundle")))
    return batch.Scorer(tiny.MODEL, 3, bundle.load(made), THRESHOLD)


def frame(path: Path, rows: pd.DataFrame, start: datetime = DAY, step: timedelta = timedelta(minutes=1)) -> Path:
    """A frame's file: the rows, one flight each, `step` apart."""
    at = pa.array([start + i * step for i in range(len(rows))], batch.SCHEMA.field("sched_dep").type)
    ids = pa.array([f"f{i:05}" for i in range(len(rows))])
    features = [pa.array(rows[n].to_numpy(np.float32), pa.float32(), from_pandas=True) for n in rows.columns]
    names = [ENTITY, "sched_dep", EVENT_TIME, KNOWN_AT, *rows.columns]
    pq.write_table(pa.table([ids, at, at, at, *features], names=names), path)
    return path


def scored(file: Path, by: batch.Scorer) -> tuple[pa.Table, batch.Tally, list[str]]:
    tally, refused = batch.Tally(), io.StringIO()
    rows = pa.Table.from_batches(list(batch.score(file, by, tally, refused)), batch.SCHEMA)
    return rows, tally, refused.getvalue().splitlines()


# -- the rules of a request ----------------------------------------------------------------------------------------
def accepted(features: list[dict[str, Any]], row: np.ndarray) -> bool:
    """What a request with this row would meet."""
    try:
        bundle.check_rows({"features": features}, [{f["name"]: v for f, v in zip(features, row, strict=True)}])
    except bundle.BadInput:
        return False
    return True


@given(
    st.lists(st.tuples(_VALUES, st.booleans(), _VALUES, _VALUES, st.booleans(), st.booleans()), min_size=1, max_size=4)
)
def test_a_value_is_refused_exactly_when_a_request_with_it_is(drawn: list[tuple[Any, ...]]) -> None:
    features, values = [], []
    for i, (value, nullable, a, b, no_low, no_high) in enumerate(drawn):
        low, high = sorted(0.0 if np.isnan(x) else x for x in (a, b))
        bounds = {"low": None if no_low or np.isinf(low) else low, "high": None if no_high or np.isinf(high) else high}
        features.append({"name": f"f{i}", "nullable": nullable, **bounds})
        values.append(value)
    table = np.array([values], dtype=np.float32)
    assert batch.problems(features, table).any() != accepted(features, table[0])
    for i, feature in enumerate(features):
        assert batch.problems(features, table)[0, i] == (not accepted([feature], table[0, i : i + 1]))


def test_bounds_are_compared_as_float32(scorer: batch.Scorer) -> None:
    """0.7 as float32 lies below 0.7: a value at its bound is within."""
    features = [{"name": "rate", "nullable": False, "low": 0.7, "high": 0.7}]
    assert not batch.problems(features, np.array([[0.7]], dtype=np.float32)).any()


# -- predicting ----------------------------------------------------------------------------------------------------
def test_every_row_is_scored_as_by_the_bundle_over_many_batches(
    scorer: batch.Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "BATCH", 64)
    rows = tiny.frame(1_000)
    found, tally, refused = scored(frame(tmp_path / "f.parquet", rows, step=timedelta(minutes=7)), scorer)
    np.testing.assert_allclose(found["probability"].to_numpy(), tiny.scores(rows.to_numpy()), atol=1e-9)
    assert found["not_on_time"].to_pylist() == [p >= THRESHOLD for p in found["probability"].to_pylist()]
    assert found["ds"].to_pylist() == [at.strftime("%Y-%m-%d") for at in found["sched_dep"].to_pylist()]
    assert set(found["version"].to_pylist()) == {3}
    assert refused == []
    assert (tally.rows, tally.predicted, tally.bins.sum()) == (1_000, 1_000, 1_000)
    assert tally.not_on_time == sum(found["not_on_time"].to_pylist())
    assert dict(tally.days) == dict(zip(*np.unique(found["ds"].to_pylist(), return_counts=True), strict=True))
    assert batch.Tally.load(tally.dump()).dump() == tally.dump()


def test_a_row_that_no_model_may_see_is_counted_and_named_never_scored(scorer: batch.Scorer, tmp_path: Path) -> None:
    rows = tiny.frame(100)
    rows.loc[3, "distance"] = np.nan
    rows.loc[5, "humid"] = 101.0
    rows.loc[7, "departures_30m"] = np.inf
    rows.loc[8, "temp"] = np.nan  # may be missing
    found, tally, refused = scored(frame(tmp_path / "f.parquet", rows), scorer)
    assert not {"f00003", "f00005", "f00007"} & set(found[ENTITY].to_pylist())
    assert found.num_rows == tally.predicted == 97
    assert tally.refused == {
        "distance is missing": 1, "humid is not in [0, 100]": 1, "departures_30m is infinite": 1,
    }  # fmt: skip
    assert tally.rows == tally.days.total() == 100
    assert refused[1] == "f00005\t2013-01-10T00:05:00+00:00\thumid is not in [0, 100]: 101"
    assert np.isfinite(found["probability"].to_numpy()).all()


def test_a_frame_of_refused_rows_only_and_one_without_rows_give_no_scores(scorer: batch.Scorer, tmp_path: Path) -> None:
    rows = tiny.frame(10)
    none, tally, _ = scored(frame(tmp_path / "a.parquet", rows.assign(distance=np.float32(np.nan))), scorer)
    assert (none.num_rows, tally.rows, tally.predicted) == (0, 10, 0)
    none, tally, _ = scored(frame(tmp_path / "b.parquet", rows.iloc[:0]), scorer)
    assert (none.num_rows, tally.rows) == (0, 0)


def test_a_frame_that_does_not_fit_names_the_column(scorer: batch.Scorer, tmp_path: Path) -> None:
    rows = tiny.frame(3)
    with pytest.raises(batch.BadFrame, match="lacks distance"):
        scored(frame(tmp_path / "a.parquet", rows.drop(columns="distance")), scorer)
    file = frame(tmp_path / "b.parquet", rows)
    table = pq.read_table(file)
    wide = table.set_column(table.column_names.index("temp"), "temp", table["temp"].cast(pa.float64()))
    pq.write_table(wide, file)
    with pytest.raises(batch.BadFrame, match="temp must be float32, is double"):
        scored(file, scorer)
    pq.write_table(table.set_column(0, ENTITY, pa.array([None, "a", "b"])), file)
    with pytest.raises(batch.BadFrame, match="flight_id is null"):
        scored(file, scorer)


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), -0.1, 1.1])
def test_a_model_that_answers_no_probability_writes_nothing(
    scorer: batch.Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: float
) -> None:
    rows = tiny.frame(200)
    file, table = frame(tmp_path / "f.parquet", rows), batch.open_table(tmp_path)
    monkeypatch.setattr(batch, "BATCH", 64)
    predict = bundle.predict

    def broken(loaded: bundle.Bundle, values: np.ndarray) -> np.ndarray:
        p = predict(loaded, values)
        return np.where(np.arange(len(p)) == 5, answer, p) if len(p) < 64 else p  # in the last batch

    monkeypatch.setattr(batch.bundle, "predict", broken)
    with pytest.raises(Exception, match="no probability"):
        write(table, file, scorer, (DAY, DAY + timedelta(days=1)))
    assert held(tmp_path) == []


# -- the table -----------------------------------------------------------------------------------------------------
def write(table: Any, file: Path, by: batch.Scorer, span: Span) -> None:
    batch.overwrite(table, by.model, *span, batch.score(file, by, batch.Tally(), io.StringIO()))


def held(folder: Path) -> list[tuple[Any, ...]]:
    rows = batch.open_table(folder).to_pyarrow_table(columns=["model", "sched_dep", "version", ENTITY, "probability"])
    return sorted(tuple(row.values()) for row in rows.to_pylist())


def test_writing_again_changes_nothing(scorer: batch.Scorer, tmp_path: Path) -> None:
    file, span = frame(tmp_path / "f.parquet", tiny.frame(50)), (DAY, DAY + timedelta(days=1))
    write(batch.open_table(tmp_path), file, scorer, span)
    first = held(tmp_path)
    write(batch.open_table(tmp_path), file, scorer, span)
    assert len(first) == 50
    assert held(tmp_path) == first


def test_only_the_models_own_flights_of_the_span_are_replaced(scorer: batch.Scorer, tmp_path: Path) -> None:
    hour, day, rows = timedelta(hours=1), timedelta(days=1), tiny.frame(48)
    file = frame(tmp_path / "f.parquet", rows, step=hour)  # two days
    other = scorer._replace(model="another", version=9)
    for by in (scorer, other):
        write(batch.open_table(tmp_path), file, by, (DAY, DAY + 2 * day))
    newer = frame(tmp_path / "g.parquet", rows.iloc[:4], DAY + 5 * hour, step=hour)
    write(batch.open_table(tmp_path), newer, scorer._replace(version=4), (DAY + 5 * hour, DAY + day + 5 * hour))
    found = held(tmp_path)
    assert [row[:4] for row in found if row[0] == "another"] == [
        ("another", DAY + i * hour, 9, f"f{i:05}") for i in range(48)
    ]
    own = {row[1]: row[2] for row in found if row[0] == scorer.model}
    before, after = {DAY + i * hour: 3 for i in range(5)}, {DAY + i * hour: 3 for i in range(29, 48)}
    assert own == {**before, **{DAY + (5 + i) * hour: 4 for i in range(4)}, **after}


def test_a_flight_outside_of_the_span_is_refused(scorer: batch.Scorer, tmp_path: Path) -> None:
    file = frame(tmp_path / "f.parquet", tiny.frame(10), DAY - timedelta(minutes=5))
    for start in (DAY, DAY + timedelta(minutes=1)):
        with pytest.raises(DeltaError, match="failed validation"):
            write(batch.open_table(tmp_path), file, scorer, (start, DAY + timedelta(days=1)))
    assert held(tmp_path) == []


def test_many_days_are_written_at_once_from_an_empty_table(scorer: batch.Scorer, tmp_path: Path) -> None:
    def one(number: int) -> None:
        start = DAY + timedelta(days=number)
        file = frame(tmp_path / f"{number}.parquet", tiny.frame(20, seed=number), start)
        batch.retrying(lambda: write(batch.open_table(tmp_path), file, scorer, (start, start + timedelta(days=1))))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(8)))
    assert len(held(tmp_path)) == 160


def test_what_was_read_is_not_written_over_when_another_was_first(scorer: batch.Scorer, tmp_path: Path) -> None:
    file, span = frame(tmp_path / "f.parquet", tiny.frame(20)), (DAY, DAY + timedelta(days=1))
    write(batch.open_table(tmp_path), file, scorer, span)
    stale = batch.open_table(tmp_path)
    kept = batch.kept_beside(stale, scorer.model, 4, span)
    write(batch.open_table(tmp_path), file, scorer._replace(version=5), span)
    with pytest.raises(batch.CommitFailedError):
        batch.overwrite(stale, scorer.model, *span, kept)
    assert {row[2] for row in held(tmp_path)} == {5}


def test_the_scores_of_a_version_are_found_again(scorer: batch.Scorer, tmp_path: Path) -> None:
    span = (DAY, DAY + timedelta(days=3))
    file = frame(tmp_path / "f.parquet", tiny.frame(72), step=timedelta(hours=1))
    write(batch.open_table(tmp_path), file, scorer, span)
    second = (DAY + timedelta(days=1), DAY + timedelta(days=2))
    write(
        batch.open_table(tmp_path),
        frame(tmp_path / "g.parquet", tiny.frame(2), second[0]),
        scorer._replace(version=4),
        second,
    )
    table = batch.open_table(tmp_path)
    assert batch.affected(table, scorer.model, 3) == (["2013-01-10", "2013-01-12"], 48)
    assert batch.affected(table, "another", 3) == ([], 0)
    assert batch.made_by(table, scorer.model, 4, span).num_rows == 2
    assert sum(b.num_rows for b in batch.kept_beside(table, scorer.model, 3, span)) == 2
