"""Contributions: they add up, they are exact where exact is known, and nothing is owed to what changes nothing."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from include.serving.explain import contributions, log_odds

K = 5
NUMBERS = st.lists(st.floats(-3, 3, width=32), min_size=K, max_size=K)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def crooked(rows: np.ndarray) -> np.ndarray:
    """Products, steps and missing values: nothing additive. The last feature is not looked at."""
    x = np.where(np.isnan(rows), 0.7, rows.astype(float))
    return sigmoid(x[:, 0] * x[:, 1] + (x[:, 2] > 0.3) - np.maximum(x[:, 3], x[:, 0]))


def linear(rows: np.ndarray) -> np.ndarray:
    return sigmoid(rows.astype(float) @ np.array([1.0, -2.0, 0.5, 0.0, 3.0]) + 0.1)


@examples(max_examples=60, deadline=None)
@given(row=NUMBERS, reference=NUMBERS, missing=st.sets(st.integers(0, K - 1)))
def test_they_add_up_to_the_log_odds(row: list[float], reference: list[float], missing: set[int]) -> None:
    x, r = np.array(row, dtype=np.float32), np.array(reference, dtype=np.float32)
    x[list(missing)] = np.nan
    base, values = contributions(crooked, x, r)
    ends = log_odds(crooked(np.stack([r, x])))
    assert base == pytest.approx(ends[0], abs=1e-9)
    assert base + values.sum() == pytest.approx(ends[1], abs=1e-9)
    assert values[4] == 0
    assert all(values[i] == 0 for i in range(K) if x[i] == r[i])


@examples(max_examples=60, deadline=None)
@given(row=NUMBERS, reference=NUMBERS)
def test_for_an_additive_model_they_are_exact(row: list[float], reference: list[float]) -> None:
    x, r = np.array(row, dtype=np.float32), np.array(reference, dtype=np.float32)
    _, values = contributions(linear, x, r)
    due = (x - r).astype(float) * [1.0, -2.0, 0.5, 0.0, 3.0]
    np.testing.assert_allclose(values, due, atol=1e-5)


def test_they_come_near_the_mean_over_all_orders() -> None:
    x, r = np.array([1.5, -1, 2, 0.4, 1], dtype=np.float32), np.array([0, 1, 0, 1, 0], dtype=np.float32)
    exact = np.zeros(K)
    orders = list(permutations(range(K)))
    for order in orders:
        now = r.copy()
        for feature in order:
            before = log_odds(crooked(now[None]))[0]
            now[feature] = x[feature]
            exact[feature] += (log_odds(crooked(now[None]))[0] - before) / len(orders)
    _, values = contributions(crooked, x, r)
    np.testing.assert_allclose(values, exact, atol=0.25)
    assert np.argmax(np.abs(values)) == np.argmax(np.abs(exact))


def test_the_same_row_has_the_same_contributions_always_and_a_sure_model_finite_ones() -> None:
    x, r = np.ones(K, dtype=np.float32), np.zeros(K, dtype=np.float32)
    first, second = (contributions(crooked, x, r) for _ in range(2))
    np.testing.assert_array_equal(first[1], second[1])
    base, values = contributions(lambda rows: (rows[:, 0] > 0.5).astype(float), x, r)
    assert np.isfinite([base, *values]).all()
