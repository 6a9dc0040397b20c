"""Windows as a monitor finds them, made of the rows of a frame: each flight asked about once, two hours ahead."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from include import lake
from include.contracts import ANSWER, CLUSTER, DAY, ENTITY, EVENT_TIME, FEATURES, PREDICTIONS, SHADOW
from include.models.spec import ModelSpec
from include.monitoring import window
from include.times import iso, parse


def of_frame(
    spec: ModelSpec,
    rows: pd.DataFrame,
    p: np.ndarray[Any, Any],
    version: int,
    as_of: str,
    scheduled: Sequence[int] = (),
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """What window.build gives for frame rows [n] with predictions `p` [n] of `version`, without a log.

    All are answers of this version. A label counts once it is mature. The USUAL days before had 900 flights each, all
    asked about; `scheduled`: how many flights were due on each date of the rows, in order (else as many as there are).
    """
    ripe = parse(as_of) - spec.label_maturity
    made = rows.assign(
        mature=rows["sched_dep"] <= ripe,
        probability=np.asarray(p, dtype=np.float64),
        answered=np.asarray(p, dtype=np.float64),
        answered_version=version,
        stale=False,
        given=False,
        latency_us=800.0,
    )
    made[spec.target] = made[spec.target].astype("Float64").astype(float).where(made["mature"])
    made = made.astype(dict.fromkeys(spec.features, np.float32)).sort_values(["sched_dep", ENTITY])
    made = made[[name for name, _ in window.COLUMNS] + list(spec.features)].reset_index(drop=True)
    return made, counts(made, version, as_of, scheduled)


def counts(made: pd.DataFrame, version: int, as_of: str, scheduled: Sequence[int] = ()) -> dict[str, Any]:
    """The counts of window.build for rows of a window, each a flight that was asked about once."""
    asked = made[CLUSTER].astype(str).value_counts().sort_index()
    due = list(scheduled) or list(asked)
    start = pd.Timestamp(asked.index[0]) if len(asked) else pd.Timestamp(as_of).tz_localize(None).normalize()
    before = [str((start - timedelta(days=n)).date()) for n in range(window.USUAL, 0, -1)]
    days = [{"day": d, "scheduled": 900, "asked": 900, "requests": 900.0} for d in before]
    days += [
        {"day": str(d), "scheduled": int(s), "asked": int(n), "requests": float(n)}
        for (d, n), s in zip(asked.items(), due, strict=True)
    ]
    hours = made[EVENT_TIME].dt.floor("h").value_counts().sort_index()
    first, last = (iso(t) if len(made) else None for t in (made[EVENT_TIME].min(), made[EVENT_TIME].max()))
    return {
        "start": first or as_of,
        "end": as_of,
        "as_of": as_of,
        "predictions": len(made),
        "requests": float(len(made)),
        "flights": len(made),
        "sampled": len(made),
        "first": first,
        "last": last,
        "by_version": {str(version): {"answer": len(made), "shadow": 0, "failed": 0}} if len(made) else {},
        "errors": 0,
        "failed_answers": 0,
        "stale": int(made["stale"].sum()),
        "given": int(made["given"].sum()),
        "latency_ms": {"p50": 0.8, "p99": 0.8} if len(made) else {"p50": None, "p99": None},
        "peak_per_second": float(hours.max() / 3600) if len(made) else 0.0,
        "worker_peak_per_second": float(hours.max() / 3600) if len(made) else 0.0,
        "hours": [{"hour": iso(h), "requests": float(n)} for h, n in hours.items()],
        "days": days,
        "silence": {"since": last or as_of, "due": 0, "hours": 0},
    }


def log(spec: ModelSpec, rows: pd.DataFrame, p: np.ndarray[Any, Any], version: Any, **changed: Any) -> pa.Table:
    """Rows of the log of predictions: each row of a frame [n], answered with `p` [n] by `version` (one, or [n]) at its
    as-of.

    `changed`: columns of contracts.PREDICTIONS with other values, each one for all or [n].
    """
    own: dict[str, Any] = {
        "prediction_id": [f"{version}-{flight}" for flight in rows[ENTITY]],
        "role": ANSWER,
        "model": spec.name,
        "version": version,
        "generation": 1,
        "stage": "",
        "sched_arr": rows["sched_dep"] + pd.Timedelta(hours=3),
        "probability": p,
        "error": None,
        "stale": "",
        "given": False,
        "latency_us": 800.0,
        "model_us": 20.0,
        "weight": 1.0,
        "at": rows[EVENT_TIME],
        "wall": rows[EVENT_TIME],
        "worker": "w",
        **{name: np.nan for name in FEATURES if name not in rows},
    }
    made = rows.assign(**{**own, **changed})
    made[DAY] = made["at"].dt.strftime("%Y-%m-%d")
    if "latency_us" not in changed:
        made["latency_us"] = np.where(made["role"] == SHADOW, made["model_us"], made["latency_us"])
    return pa.Table.from_pandas(made[list(PREDICTIONS.columns)], schema=lake.schema(PREDICTIONS), preserve_index=False)
