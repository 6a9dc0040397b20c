"""The one split in time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from include.contracts import CLUSTER, Ref
from include.files import hash_file
from include.models.spec import ModelSpec
from include.settings import Settings
from include.training import data


def _days(count: int, per_day: int) -> pd.DataFrame:
    dates = pd.date_range("2013-01-01", periods=count).strftime("%Y-%m-%d")
    return pd.DataFrame({CLUSTER: np.repeat(dates, per_day), "row": range(count * per_day)})


def _spec(spec: ModelSpec, holdout: int, validation: int) -> ModelSpec:
    tuning = spec.tuning.model_copy(update={"validation_days": validation})
    return spec.model_copy(update={"holdout_days": holdout, "tuning": tuning, "min_training_rows": 1})


@examples(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_split_is_whole_days_in_order_without_overlap(count: int, holdout: int, validation: int, per_day: int) -> None:
    from include.models.flights_on_time.spec import SPEC

    rows, spec = _days(count, per_day), _spec(SPEC, holdout, validation)
    if count < holdout + validation + 2:
        with pytest.raises(data.TooLittleData, match=f"has {count} days"):
            data.split(spec, rows)
        return
    parts = data.split(spec, rows)
    assert parts.holdout[CLUSTER].nunique() == holdout
    assert parts.validation[CLUSTER].nunique() == validation
    joined = pd.concat([parts.training, parts.holdout])
    # all rows but those of the last day, each once, in order: the later part never begins before the earlier ends
    assert joined["row"].tolist() == rows["row"].tolist()[: (count - 1) * per_day]


def test_real_frame_splits_into_its_newest_days(settings: Settings, spec: ModelSpec, frame: Ref) -> None:
    rows = data.read(settings, frame, verify=True)
    described = data.describe(data.split(spec, rows))
    assert rows[CLUSTER].max() == "2013-02-04"
    assert (described["holdout"]["first"], described["holdout"]["last"]) == ("2013-01-28", "2013-02-03")
    assert (described["validation"]["first"], described["validation"]["last"]) == ("2013-01-23", "2013-01-27")
    assert (described["fit"]["first"], described["fit"]["last"]) == ("2013-01-01", "2013-01-22")


def test_too_few_rows_say_what_to_do(settings: Settings, spec: ModelSpec, frame: Ref) -> None:
    greedy = spec.model_copy(update={"min_training_rows": 10**6})
    with pytest.raises(data.TooLittleData, match=r"min_training_rows of flights_on_time\): ingest more"):
        data.split(greedy, data.read(settings, frame))


def test_frame_is_found_after_home_moved_and_refused_when_altered(
    settings: Settings, frame: Ref, tmp_path: Path
) -> None:
    moved = Ref(uri=str(tmp_path / "gone.parquet"), version=frame["version"], hash=frame["hash"])
    assert len(data.read(settings, moved)) == len(data.read(settings, frame))
    with pytest.raises(data.FrameMissing, match=r"neither at .*gone\.parquet nor at"):
        data.read(Settings(home=tmp_path), moved)
    altered = tmp_path / "altered.parquet"
    data.read(settings, frame).iloc[1:].to_parquet(altered)
    assert hash_file(altered) != frame["hash"]
    with pytest.raises(data.FrameMissing, match="altered"):
        data.read(settings, Ref(uri=str(altered), version="", hash=frame["hash"]), verify=True)


def test_matrix_and_labels_refuse_what_is_not_there(settings: Settings, spec: ModelSpec, frame: Ref) -> None:
    rows = data.read(settings, frame).head(3)
    assert data.matrix(rows, spec.features).dtype == np.float32
    with pytest.raises(KeyError, match="lacks the features"):
        data.matrix(rows, ["nothing"])
    with pytest.raises(ValueError, match="known label"):
        data.labels(rows.assign(not_on_time=[0.0, np.nan, 1.0]), spec.target)
