"""Tuning by successive halving, planned up front: nothing depends on which worker finishes first.

`plan` draws all trials with a seeded sampler; `run` is one trial on one rung and is mapped over workers; `cut` keeps
the best for the next rung; `choose` names the winner. Trials are fitted on the fit rows and scored by log loss on the
validation days; the holdout is never looked at (training/data.py has the split).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from include import metrics, platt
from include.contracts import Ref
from include.models.spec import Candidate, ModelSpec, Range
from include.settings import Settings
from include.training import data, families

if TYPE_CHECKING:
    import optuna

Trial = dict[str, Any]  # {"trial": name, "family": …, "params": {…}}
Result = dict[str, Any]  # a Trial with "rung", "loss" (nats), "rows", "seconds"


class BadRequest(ValueError):
    """What was asked for does not fit the spec."""


def plan(spec: ModelSpec, families: Sequence[str] | None, trials: int | None, seed: int) -> list[Trial]:
    """All trials, in a fixed order. The first of each family is the middle of its space, the others a Sobol sequence.

    `families` None: all of the spec's. Trials are shared by the number of parameters searched, at least one each.
    Raises BadRequest for a family that the spec lacks or fewer trials than families.
    """
    total = trials if trials is not None else spec.tuning.trials
    known = [c.family for c in spec.candidates]
    unknown = sorted(set(families or ()) - set(known))
    if unknown:
        raise BadRequest(f"candidates: {spec.name} has no {', '.join(unknown)}; it has {', '.join(known)}")
    chosen = [c for c in spec.candidates if not families or c.family in families]
    if total < len(chosen):
        raise BadRequest(f"trials: {total} is fewer than the {len(chosen)} candidates, each needs at least one")
    return [
        {"trial": f"{candidate.family}-{number:02d}", "family": candidate.family, "params": params}
        for candidate, count in zip(chosen, _shares(chosen, total), strict=True)
        for number, params in enumerate(_draw(candidate, count, seed))
    ]


def _shares(chosen: Sequence[Candidate], total: int) -> list[int]:
    """Trials of each candidate: one each, the rest by the size of its space (largest remainder)."""
    sizes = np.array([max(len(c.space), 1) for c in chosen], dtype=float)
    exact = (total - len(chosen)) * sizes / sizes.sum()
    shares = np.floor(exact).astype(int)
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: total - len(chosen) - shares.sum()]] += 1
    return [int(s) + 1 for s in shares]


def _draw(candidate: Candidate, count: int, seed: int) -> list[dict[str, Any]]:
    if not candidate.space:
        return [dict(candidate.fixed)] * count
    import optuna  # here, for every mapped trial imports this module and only the plan draws

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # it may change: the lock pins it
        sampler = optuna.samplers.QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False)
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial({name: _middle(r) for name, r in candidate.space.items()})
    space = {name: _distribution(r) for name, r in sorted(candidate.space.items())}
    drawn = []
    for _ in range(count):
        trial = study.ask(fixed_distributions=space)
        drawn.append({**candidate.fixed, **trial.params})
        study.tell(trial, 0.0)  # no loss is known yet: the sampler only needs to know that it was drawn
    return drawn


def _middle(r: Range) -> float | int:
    middle = math.sqrt(r.low * r.high) if r.log else (r.low + r.high) / 2
    return round(middle) if r.integer else middle


def _distribution(r: Range) -> optuna.distributions.BaseDistribution:
    import optuna

    if r.integer:
        return optuna.distributions.IntDistribution(int(r.low), int(r.high), log=r.log)
    return optuna.distributions.FloatDistribution(r.low, r.high, log=r.log)


def run(settings: Settings, spec: ModelSpec, frame: Ref, trial: Trial, rung: int) -> Result:
    """Fit one trial and score it. Rung 0 takes tuning.first_rung_rows rows, spread evenly; later rungs take all."""
    started = perf_counter()
    parts = data.split(spec, data.read(settings, frame))
    rows = parts.fit
    if rung == 0 and len(rows) > spec.tuning.first_rung_rows:
        rows = rows.iloc[np.linspace(0, len(rows) - 1, spec.tuning.first_rung_rows).astype(int)]
    x, y = data.matrix(rows, spec.features), data.labels(rows, spec.target)
    model = families.fit(trial["family"], x, y, spec.features, trial["params"], spec.seed)
    found = platt.probability(platt.NONE, families.margin(model, data.matrix(parts.validation, spec.features)))
    loss = float(metrics.log_loss(data.labels(parts.validation, spec.target), found).mean())
    return {
        **{name: trial[name] for name in ("trial", "family", "params")},
        "rung": rung,
        "loss": loss,
        "rows": len(rows),
        "seconds": round(perf_counter() - started, 3),
    }


def _ranked(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if not results:
        raise BadRequest("no trial has a result: tuning cannot choose from nothing")
    return sorted(results, key=lambda r: (r["loss"], r["trial"]))


def cut(spec: ModelSpec, results: Sequence[Result]) -> list[Trial]:
    """The best 1/tuning.cut of a rung's trials (at least one), for the next rung."""
    keep = math.ceil(len(results) / spec.tuning.cut)
    return [{name: r[name] for name in ("trial", "family", "params")} for r in _ranked(results)[:keep]]


def choose(results: Sequence[Result]) -> Result:
    """The trial with the lowest log loss; of equals the first by name. Order of arrival does not matter."""
    return dict(_ranked(results)[0])
