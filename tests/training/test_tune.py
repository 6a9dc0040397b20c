"""Tuning: planned up front, blind to the holdout, indifferent to the order of arrival."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from include.contracts import CLUSTER, Ref
from include.files import hash_file
from include.models.flights_on_time.spec import SPEC
from include.models.spec import ModelSpec
from include.settings import Settings
from include.training import data, tune


@examples(deadline=None, max_examples=20)
@given(st.integers(2, 30), st.integers(0, 2**31))
def test_plan_is_repeatable_and_inside_the_space(trials: int, seed: int) -> None:
    plan = tune.plan(SPEC, None, trials, seed)
    assert plan == tune.plan(SPEC, None, trials, seed)
    assert len(plan) == len({t["trial"] for t in plan}) == trials
    assert set(Counter(t["family"] for t in plan)) == {"logistic", "xgboost"}
    spaces = {c.family: c.space for c in SPEC.candidates}
    for trial in plan:
        space = spaces[trial["family"]]
        assert set(trial["params"]) == set(space)
        for name, value in trial["params"].items():
            assert space[name].low <= value <= space[name].high
            assert not space[name].integer or isinstance(value, int)


def test_plans_of_other_seeds_differ_and_all_begin_in_the_middle() -> None:
    one, two = tune.plan(SPEC, ["xgboost"], 4, 1), tune.plan(SPEC, ["xgboost"], 4, 2)
    assert one[0] == two[0]
    assert one[0]["params"]["max_depth"] == 5
    assert one[1:] != two[1:]


@pytest.mark.parametrize(("families", "trials", "says"), [(["lightgbm"], 8, "lightgbm"), (None, 1, "fewer than the 2")])
def test_impossible_plans_name_the_field(families: list[str] | None, trials: int, says: str) -> None:
    with pytest.raises(tune.BadRequest, match=says):
        tune.plan(SPEC, families, trials, 1)


_results = st.lists(st.floats(0.3, 0.7), min_size=1, max_size=12).map(
    lambda losses: [{"trial": f"t-{i:02d}", "family": "f", "params": {}, "loss": x} for i, x in enumerate(losses)]
)


@examples(deadline=None, max_examples=60)
@given(_results, st.randoms())
def test_cut_and_choice_do_not_depend_on_who_finishes_first(
    results: list[dict[str, Any]], order: random.Random
) -> None:
    shuffled = order.sample(results, len(results))
    kept = tune.cut(SPEC, results)
    assert kept == tune.cut(SPEC, shuffled)
    assert tune.choose(results) == tune.choose(shuffled)
    assert tune.choose(results)["loss"] == min(r["loss"] for r in results)
    assert tune.choose(results)["trial"] == kept[0]["trial"]
    assert len(kept) == -(-len(results) // SPEC.tuning.cut)


def test_choosing_from_nothing_is_an_error() -> None:
    with pytest.raises(tune.BadRequest, match="no trial has a result"):
        tune.choose([])


def test_trials_are_repeatable_and_later_rungs_take_all_rows(settings: Settings, spec: ModelSpec, frame: Ref) -> None:
    for trial in tune.plan(spec, None, 2, spec.seed):
        first, again = (tune.run(settings, spec, frame, trial, rung=0) for _ in range(2))
        assert {**first, "seconds": 0} == {**again, "seconds": 0}
        assert first["rows"] == spec.tuning.first_rung_rows
        full = tune.run(settings, spec, frame, trial, rung=1)
        assert full["rows"] == len(data.split(spec, data.read(settings, frame)).fit)
        assert 0.4 < full["loss"] < 0.62


def test_tuning_never_sees_the_holdout(settings: Settings, spec: ModelSpec, frame: Ref, tmp_path: Path) -> None:
    rows = data.read(settings, frame)
    held = rows[CLUSTER] >= data.split(spec, rows).holdout[CLUSTER].min()
    other = rows.copy()
    other.loc[held, spec.target] = 1 - other.loc[held, spec.target]
    other.loc[held, list(spec.features)] = 1.0
    path = tmp_path / "other.parquet"
    other.to_parquet(path)
    poisoned = Ref(uri=str(path), version="", hash=hash_file(path))
    for trial in tune.plan(spec, None, 2, spec.seed):
        clean, dirty = (tune.run(settings, spec, f, trial, rung=1)["loss"] for f in (frame, poisoned))
        assert clean == dirty
