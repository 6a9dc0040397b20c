"""What nobody uses: planted features without effect are found, others are not."""

from __future__ import annotations

import numpy as np

from include.contracts import VIEWS
from include.upkeep import unused


def test_effects_of_a_tree_and_of_a_line() -> None:
    x = np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32)
    x[:, 3] = np.nan  # never there in these rows, but the model minds it

    def predict(rows: np.ndarray) -> np.ndarray:
        tree = np.where(rows[:, 0] > 0.5, 0.3, 0.0)
        return np.asarray(0.2 + tree + 1e-6 * np.nan_to_num(rows[:, 1]))

    found = unused.effects(predict, x, ["tree", "small", "nothing", "absent"])
    assert found["tree"] > 0.01
    assert 0 < found["small"] < 1e-4
    assert found["nothing"] == 0.0
    assert found["absent"] == 0.0


def test_a_feature_that_only_matters_when_it_is_missing_has_an_effect() -> None:
    x = np.ones((10, 1), dtype=np.float32)
    assert unused.effects(lambda rows: np.isnan(rows[:, 0]).astype(float), x, ["f"]) == {"f": 1.0}


def test_a_model_that_has_no_answer_for_missing_values_is_measured_by_the_others() -> None:
    x = np.arange(8, dtype=np.float32)[:, None]
    found = unused.effects(lambda rows: rows[:, 0] * 0.1, x, ["f"])
    assert found["f"] > 0


def test_the_report() -> None:
    every = [f.name for v in VIEWS for f in v.features]
    lonely = next(v for v in VIEWS if len(v.features) == 1)
    some = [name for name in every if name not in ("distance", lonely.features[0].name)]
    found = unused.report(VIEWS, {"m": some, "n": ["temp"]}, {"m": {"temp": 0.0, "humid": 0.2}}, {"n": "no champion"})
    assert set(found["features"]) == {"distance", lonely.features[0].name}
    assert found["views"] == [lonely.name]
    assert found["without_effect"] == {"m": ["temp"]}
    said = unused.sentences(found)
    assert len(said) == 5
    assert "model n: no champion" in said
    assert unused.sentences(unused.report(VIEWS, {"m": every}, {"m": {"temp": 0.1}}, {})) == []
