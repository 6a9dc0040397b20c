"""Does Platt calibration on the newest days before a holdout lower the log loss of that holdout?

    python -m bench.bench_calibration FRAME.parquet [--every 7] [--first 55]

For each cut-off: the model fitted without the last 7 (21) days, calibration fitted on those, applied to the model
that is fitted on all rows before the cut-off, scored on the 7 days after it. Prints mean daily differences with 95 %
intervals over weeks. The frame is one of many months (settings.frames); docs/decisions has what came out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from include import metrics, platt
from include.contracts import CLUSTER
from include.models.flights_on_time.spec import SPEC
from include.training import data, families

MODELS: dict[str, dict[str, Any]] = {
    "logistic": {"C": 0.1},
    "xgboost": {"max_depth": 4, "learning_rate": 0.05, "n_estimators": 120, "subsample": 0.62, "min_child_weight": 7.8},
}
WINDOWS = (7, 21)  # days that calibration is fitted on
HOLDOUT = 7


def compare(rows: pd.DataFrame, family: str, cut: int) -> dict[str, float]:
    """Mean of the holdout's daily log losses by variant, and the bias of the uncalibrated one."""
    days = np.sort(rows[CLUSTER].unique())
    day = rows[CLUSTER].to_numpy()
    x, y = data.matrix(rows, SPEC.features), data.labels(rows, SPEC.target)
    held = (day >= days[cut]) & (day < days[cut + HOLDOUT])

    def fitted(before: str) -> dict[str, Any]:
        return families.fit(family, x[day < before], y[day < before], SPEC.features, MODELS[family], SPEC.seed)

    margin = families.margin(fitted(days[cut]), x[held])
    found = {"none": platt.NONE}
    for window in WINDOWS:
        tuned = (day >= days[cut - window]) & (day < days[cut])
        found[f"platt_{window}d"] = platt.fit(families.margin(fitted(days[cut - window]), x[tuned]), y[tuned])
    scores = {name: _daily(y[held], platt.probability(c, margin), day[held]) for name, c in found.items()}
    return {**scores, "bias": float(platt.probability(platt.NONE, margin).mean() - y[held].mean())}


def _daily(y: np.ndarray, p: np.ndarray, day: np.ndarray) -> float:
    return float(pd.Series(metrics.log_loss(y, p)).groupby(day).mean().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frame", type=Path)
    parser.add_argument("--every", type=int, default=7, help="days between cut-offs")
    parser.add_argument("--first", type=int, default=55, help="days before the first cut-off")
    arguments = parser.parse_args()
    rows = pd.read_parquet(arguments.frame)
    rows = rows[rows[SPEC.target].notna()].sort_values("sched_dep", ignore_index=True)
    cuts = range(arguments.first, rows[CLUSTER].nunique() - HOLDOUT, arguments.every)
    for family in MODELS:
        scores = pd.DataFrame([compare(rows, family, cut) for cut in cuts])
        print(f"{family}: {len(scores)} holdouts, mean |bias| {scores['bias'].abs().mean():.3f}")
        for name in scores.columns.drop("bias"):
            gap = scores[name] - scores["none"]
            half = stats.t.ppf(0.975, len(gap) - 1) * gap.std() / np.sqrt(len(gap))
            print(
                f"  {name:10s} {scores[name].mean():.4f}  {gap.mean():+.4f} ±{half:.4f}  better {(gap < 0).mean():.0%}"
            )


if __name__ == "__main__":
    main()
