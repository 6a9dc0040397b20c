"""Installations of any size with a history that nobody has waited for: ledger, performance table, alerts, reports.

Rows are entered in bulk and look as the loop's own do (sizes of evidence included). Days are local dates from START on;
the look at day n is made at 06:30 UTC of the day after, data time, and was entered one wall day after the one before.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from include import lake, pages
from include.contracts import DAY, FEATURES, PERFORMANCE
from include.files import canonical_json, hash_text, hash_value, write_json, write_text
from include.release import ledger as book
from include.release import tables
from include.settings import Settings
from include.times import iso

START = date(2013, 1, 2)
WALL = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)  # now, unless a test says otherwise
OURS = "flights_on_time"
WINDOW = 8  # local days that a look states
EVERY = 14  # days between two trainings
FATES = ("promoted", "refused", "promoted", "rolled back")  # of trainings, in turn
SENTENCES = {
    "healthy": "Healthy: log loss is +0.0105 [-0.0510, +0.0626] nats above what the champion itself expects; the "
    "champion is 3.7 days old and the score's PSI is 0.080; no finding has fired.",
    "incident": "Incident: origin_weather says the same as the hour before in 100% of its rows, at most 2% in "
    "training; no retrain is asked for until the feed is mended.",
    "insufficient": "Insufficient labels: 1,200 of 6,400 mature labels (19%) are known, too few to judge by.",
    "rollback": "Roll back to version 1: on the same 5,745 flights log loss is +0.0476 [+0.0311, +0.0642] nats against "
    "version 1 (limit 0.02 nats).",
    "retrain": "Retrain: the champion is 21.3 days old (limit 21 days).",
}
POLICY: dict[str, Any] = {"approval": True, "approval_hours": 72.0, "canary_requests": 50, "shadow_labelled": 500}
POLICY |= {"shadow_requests": 300, "steps": [0.05, 0.25], "confidence": 0.99}


@dataclass
class _Rows:
    """What will be inserted, by table."""

    decisions: list[dict[str, Any]] = field(default_factory=list)
    deployments: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    releases: list[dict[str, Any]] = field(default_factory=list)
    approvals: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Model:
    """One model while its history is made up."""

    name: str
    champion: int | None = None
    versions: int = 0
    generation: int = 0


def names(count: int) -> list[str]:
    """This installation's own model and others."""
    return [OURS, *(f"model_{number:02d}" for number in range(1, count))]


def plant(
    settings: Settings,
    models: Sequence[str] = (OURS,),
    days: int = 60,
    states: Mapping[str, str] | None = None,
    files: int = 1,
    wall: datetime = WALL,
    seed: int = 0,
) -> None:
    """A history of `days` days of each model. `states`: of the newest look, where it is not healthy. `files`: of each
    day of the performance table, as so many looks would have left them."""
    rng, rows = random.Random(seed), _Rows()
    known = [_Model(name) for name in models]
    charge: dict[tuple[str, int], int] = {}
    for number in range(days):
        for model in known:
            _day(settings, rows, model, number, days, (states or {}).get(model.name, "healthy"), wall, rng)
            charge[model.name, number] = model.champion or 1
    _insert(settings, rows)
    performance(settings, models, days, files, charge, seed)
    for model in known:
        newest(settings, model.name, model.champion or 1, days)
    _home(settings, days, wall)


def as_of(number: int) -> str:
    """Data time of the look at day `number`."""
    day = START + timedelta(days=number + 1)
    return iso(datetime(day.year, day.month, day.day, 6, 30, tzinfo=UTC))


def look_of(name: str, number: int) -> str:
    return f"monitor/{name}_{number:04d}"


def training_of(name: str, number: int) -> str:
    return f"train/{name}_{number:04d}"


def left_by(settings: Settings, run: str, task: str) -> Path:
    """The folder of what a run's task has left."""
    dag_id, _, run_id = run.partition("/")
    return pages.folder(settings, dag_id, run_id, task)


# -- the ledger ----------------------------------------------------------------------------------------------------
def _day(
    settings: Settings, rows: _Rows, model: _Model, number: int, days: int, state: str, wall: datetime, rng: Any
) -> None:
    at = wall - timedelta(days=days - number)
    if number % EVERY == 0:
        _training(settings, rows, model, number, at)
    told = state if number >= days - 2 else "retrain" if number % EVERY == EVERY - 1 else "healthy"
    run, about = look_of(model.name, number), (model.champion, at + timedelta(minutes=30))
    audited = {"by_feature": [], "mismatched": 0, "rate": 0.0, "rows": 965, "unmatched": 0}
    _enter(rows, model, "audit", "0 of 965 rows have other features than the lake", run, number, about, audited)
    found = {"state": told, "reason": SENTENCES[told], "findings": findings(told, rng)}
    _enter(rows, model, "monitor", SENTENCES[told], run, number, about, found)


def _training(settings: Settings, rows: _Rows, model: _Model, number: int, at: datetime) -> None:
    """A training and what becomes of it: a few minutes between its entries."""
    run, turn = training_of(model.name, number), number // EVERY
    fate = "first" if model.champion is None else FATES[turn % len(FATES)]
    minutes = iter(range(1, 100))

    def enter(kind: str, reason: str, version: int | None = None, by: str = "", **kept: Any) -> int:
        about = (version, at + timedelta(minutes=next(minutes)))
        actor = "ada" if kind == "approved" else "release" if by else "admin"
        return _enter(rows, model, kind, reason, by or run, number, about, kept, actor)

    enter("training", "the champion is 14 days old. It is training 1 of 6 allowed in 30 days.", request=None)
    accepted = fate != "refused"
    word = "as the first model" if fate == "first" else "as a refresh"
    reason = f"Accepted {word}: log loss differs by -0.0235 [-0.0519, +0.0049] nats, on 6,560 flights of 7 days."
    if not accepted:
        reason = "Refused: log loss differs from the champion's by +0.0126 [+0.0070, +0.0218] nats."
    seen = evidence(model.champion)
    digest = _write_evidence(settings, model.name, run, seen)
    kept: dict[str, Any] = {"accepted": accepted, "rule": "refresh", "checks": checks(accepted)}
    enter("gate", reason, None, "", **kept, evidence=digest, mlflow_run=hash_text(run)[:32])
    if not accepted:
        return
    model.versions += 1
    version = model.versions
    enter("rehearsal", "27 checks passed on 6560 rows", version, checks=[{"name": f"c{i}"} for i in range(27)])
    _version(settings, rows, model, version, number, run, at)
    if model.champion is None:
        _deploy(rows, model, enter("champion", reason, version), version, None)
        model.champion = version
        return
    _deploy(rows, model, enter("challenger", reason, version), model.champion, version, "waiting")
    _release(rows, model, version, number, at, enter, good=fate == "promoted")


def _release(rows: _Rows, model: _Model, version: int, number: int, at: datetime, enter: Any, good: bool) -> None:
    run, release = f"release/{model.name}_{number:04d}", len(rows.releases) + 1
    row = {"id": release, "model": model.name, "version": version, "champion": model.champion}
    row |= {"policy": canonical_json(POLICY), "as_of": as_of(number), "actor": "release", "run": run}
    rows.releases.append({**row, "recorded_at": _naive(at)})
    steps = [("shadow", f"Release {release}: version {version} is scored beside champion {model.champion}.", 0.0)]
    steps += [("approval", "the shadow is complete: waits for an approval", 0.0)]
    steps += [("canary", "To the canary at 5%, approved by ada", 0.05), ("canary", "To the canary at 25%", 0.25)]
    for stage, reason, share in steps if good else steps[:1]:
        if stage == "canary" and share == 0.05:
            enter("approved", "looks well", version, by=run)
            rows.approvals.append({"release": release, "answer": "approved", "actor": "ada", "reason": "looks well"})
            rows.approvals[-1]["recorded_at"] = _naive(at)
        entry = enter(stage, reason, version, by=run)
        _deploy(rows, model, entry, model.champion, version, stage, share, release)
    if good:
        entry = enter("promotion", "Promoted: every stage is complete and all checks hold.", version, by=run)
        _deploy(rows, model, entry, version, None, release=release)
        model.champion = version
    else:
        entry = enter("rollback", "Rolled back in the shadow: its scores lie +0.2437 beside.", version, by=run)
        _deploy(rows, model, entry, model.champion, None)


def _enter(
    rows: _Rows,
    model: _Model,
    kind: str,
    reason: str,
    run: str,
    number: int,
    about: tuple[int | None, datetime],
    kept: Mapping[str, Any],
    actor: str = "monitor",
) -> int:
    version, at = about
    text, identity = canonical_json(kept), len(rows.decisions) + 1
    row = {"id": identity, "key": f"{run}/{kind}/{identity}", "model": model.name, "kind": kind, "version": version}
    row |= {"actor": actor, "reason": reason, "evidence": text, "evidence_hash": hash_text(text)}
    rows.decisions.append({**row, "as_of": as_of(number), "run": run, "recorded_at": _naive(at)})
    return identity


def _deploy(
    rows: _Rows,
    model: _Model,
    entry: int,
    champion: int | None,
    challenger: int | None,
    stage: str = "",
    share: float = 0.0,
    release: int | None = None,
) -> None:
    model.generation += 1
    row = {"model": model.name, "generation": model.generation, "champion": champion, "challenger": challenger}
    row |= {"decision": entry, "stage": stage, "share": share, "release": release}
    rows.deployments.append({**row, "recorded_at": rows.decisions[entry - 1]["recorded_at"]})


def _version(settings: Settings, rows: _Rows, model: _Model, version: int, number: int, run: str, at: datetime) -> None:
    digest = hash_text(f"{model.name} {version}")
    frame = {"uri": str(settings.frames / f"{digest}.parquet"), "version": digest[:12], "hash": digest}
    bundle = {**frame, "uri": str(settings.bundles / digest)}
    bento = {
        **frame,
        "uri": str(settings.bentos / f"{digest}.bento"),
        "version": f"{model.name}:{version}-{digest[:12]}",
    }
    write_text(Path(frame["uri"]), "")
    Path(bundle["uri"]).mkdir(parents=True, exist_ok=True)
    row = {"model": model.name, "version": version, "mlflow_run": hash_text(run)[:32], "configuration_hash": "c" * 64}
    row |= {"as_of": as_of(number), "trained_until": (START + timedelta(days=number - 7)).isoformat()}
    row |= {name: canonical_json(ref) for name, ref in (("frame", frame), ("bundle", bundle), ("bento", bento))}
    rows.versions.append({**row, "recorded_at": _naive(at), "code_hash": None})


def _insert(settings: Settings, rows: _Rows) -> None:
    ledger = book.connect(settings.ledger_url)
    with ledger.begin() as connection:
        for name, some in vars(rows).items():
            if some:
                connection.execute(getattr(tables, name).insert(), some)
    ledger.dispose()


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)


# -- what was seen -------------------------------------------------------------------------------------------------
def findings(state: str, rng: random.Random) -> list[dict[str, Any]]:
    """About as many and as long as a look's own."""
    kinds = {"incident": "frozen", "insufficient": "coverage", "rollback": "rival", "retrain": "age"}
    told = []
    named = [("incident", name) for name in ("nulls", "stuck", "outside", "novel", "keyed", "disagree", "frozen")]
    named += [("incident", name) for name in ("repeated", "jump", "spread", "continuity", "volume", "silence")]
    named += [("labels", "coverage"), ("rollback", "rival"), ("trigger", "age"), ("trigger", "surprise")]
    named += [("trigger", "score"), *(("level", f"level_{name}") for name in ("missing", "load", "errors", "stale"))]
    for kind, name in [*named, ("level", "level_accuracy"), ("level", "level_memory"), ("explains", "drift")]:
        fired = kinds.get(state) == name
        reason = f"{name} of carrier_origin_late_3h is {rng.random():.3f} in the newest day, usual {rng.random():.3f}"
        finding = {"name": name, "kind": kind, "fired": fired, "persistent": fired, "value": rng.random()}
        told.append(
            {**finding, "interval": None, "threshold": 0.45, "unit": "share above training's", "reason": reason}
        )
    return told


def checks(accepted: bool) -> list[dict[str, Any]]:
    named = ("evidence", "holdout", "unseen", "non-inferior", "floor", "calibration.bias", "calibration.ece", "slices")
    return [
        {
            "name": name,
            "passed": accepted or name != "non-inferior",
            "reason": f"What {name} asks for was measured on 6,560 flights of 7 days.",
            "value": -0.0235,
            "interval": [-0.0519, 0.0049] if name == "non-inferior" else None,
            "threshold": 0.005,
            "unit": "nats",
        }
        for name in named
    ]


def estimate(value: float, reach: float = 0.05, rows: int = 6560) -> dict[str, Any]:
    return {"value": value, "low": value - reach, "high": value + reach, "rows": rows, "days": 7}


def evidence(champion: int | None) -> dict[str, Any]:
    """What the gate saw, in the form of include.evaluation.evidence."""
    scores = {name: estimate(v) for name, v in (("log_loss", 0.48), ("brier", 0.15), ("auc", 0.74), ("bias", -0.01))}
    scores["ece"] = estimate(0.02)
    ours = {"version": None if champion is None else str(champion), "scores": scores, "trained_until": "2013-01-01"}
    slices = [("origin", "EWR", 2448, -0.02), ("carrier", "YV", 8, 0.4), ("carrier", "MQ", 444, 0.03)]
    return {
        "challenger": {"version": None, "scores": scores},
        "champion": "none" if champion is None else ours,
        "baseline": {name: estimate(v["value"] * 1.1) for name, v in scores.items()},
        "slices": [{"by": b, "value": v, "rows": n, "difference": estimate(d)} for b, v, n, d in slices],
        "calibration": [{"predicted": p / 10, "rate": estimate(p / 10)} for p in range(1, 10)],
    }


def manifest(run: str) -> dict[str, Any]:
    """What a training was made of, in the form of include.training.manifest."""
    ref = {"hash": hash_text(run), "uri": "", "version": hash_text(run)[:12]}
    part = {"rows": 6560, "first": "2013-01-01", "last": "2013-01-07"}
    return {
        "run": run,
        "code": {"commit": hash_text("code")[:40], "dirty": False, "diff": None},
        "lock": hash_text("lock"),
        "hardware": {"cpu": "a processor", "cores": 2, "memory_gb": 23.5, "os": "Linux", "python": "3.11.7"},
        "data": {"versions": {"outcome": 1, "schedule": 1}, "snapshot": ref, "frame": ref},
        "seed": 2013,
        "family": "xgboost",
        "params": {"max_depth": 5, "learning_rate": 0.03189},
        "split": {"fit": part, "validation": part, "holdout": part},
        "contributions": [{"feature": name, "mean_abs": 1.0 / (1 + i)} for i, name in enumerate(FEATURES)],
        "result": {"bundle": ref},
    }


def _write_evidence(settings: Settings, model: str, run: str, seen: dict[str, Any]) -> str:
    """Beside the run's pages, as `evaluate` and `log` leave them; of other models the hash alone."""
    text = canonical_json(seen, indent=2) + "\n"
    if model == OURS:
        write_text(settings.trainings / "evidence" / f"{hash_text(run)[:16]}.json", text)
        folder = left_by(settings, run, "log")
        write_json(folder / "manifest.json", manifest(run))
        write_text(folder.parent / "gate" / pages.INDEX, "<!doctype html><title>Gate</title>")
    return hash_text(text)


def newest(settings: Settings, name: str, version: int, days: int) -> None:
    """The files that the newest look has left."""
    folder = left_by(settings, look_of(name, days - 1), "measure")
    drift = [
        {"feature": f, "psi": 1.0 / (2 + i), "mean": 1.0, "reference_mean": 0.9, "nulls": 0.0, "reference_nulls": 0.0}
        for i, f in enumerate(reversed(FEATURES))
    ]
    slices = [("origin", "EWR", 2144, 0.05, 0.1), ("carrier", "YV", 8, 0.6, 0.1), ("carrier", "MQ", 444, 0.2, 0.1)]
    told = [{"by": b, "value": v, "rows": n, "surprise": estimate(s, r)} for b, v, n, s, r in slices]
    write_json(folder / "evidence.json", {"version": str(version), "drift": drift, "performance": {"slices": told}})
    write_text(folder / pages.INDEX, "<!doctype html><title>The look</title>")
    recent: dict[str, Any] = {"predictions": 980, "requests": 980.0, "errors": 2, "failed_answers": 1, "stale": 49}
    recent |= {"latency_ms": {"p50": 0.4, "p99": 2.1}, "last": as_of(days - 1)}
    write_json(folder.parent / "window" / "summary.json", {"recent": recent, "predictions": 6800})


# -- the lake ------------------------------------------------------------------------------------------------------
def performance(
    settings: Settings,
    models: Sequence[str],
    days: int,
    files: int = 1,
    charge: Mapping[tuple[str, int], int] | None = None,
    seed: int = 0,
) -> None:
    """What each look has stated of the days before it: those of its window, the newest ones without their labels.
    `charge`: the champion of a model at a day, where it is not version 1."""
    rng, rows, champions = random.Random(seed), [], charge or {}
    for number in range(days):
        made = datetime.fromisoformat(as_of(number))
        for back in range(min(WINDOW, number + 1)):
            day = (START + timedelta(days=number - back)).isoformat()
            for place, model in enumerate(models):
                rows.append(
                    _stated(model, champions.get((model, number), 1), day, made, back, 0.45 + 0.002 * place, rng)
                )
    schema = lake.schema(PERFORMANCE)
    for part in range(files):
        table = pa.Table.from_pylist(rows[part::files], schema=schema)
        write_deltalake(str(lake.path(settings.lake, PERFORMANCE)), table, mode="append", partition_by=[DAY])


def _stated(
    model: str, version: int, day: str, made: datetime, back: int, level: float, rng: random.Random
) -> dict[str, Any]:
    flights, expected = 980, level + rng.gauss(0, 0.02)
    labelled = 0 if back == 0 else 490 if back == 1 else flights
    row = {DAY: day, "model": model, "version": version, "day": day, "as_of": made, "flights": flights}
    row |= {"labelled": labelled, "estimated_log_loss": expected, "estimated_accuracy": 0.8, "estimated_rate": 0.2}
    if not labelled:
        return row
    rate = 0.2 + rng.gauss(0, 0.02)
    return {**row, "log_loss": level + rng.gauss(0, 0.05), "brier": 0.15, "accuracy": 0.8, "base_rate": rate} | {
        "predicted": rate - 0.01
    }


def _home(settings: Settings, days: int, wall: datetime) -> None:
    """The clock, at normal speed and at the newest look now, and what was published."""
    now = as_of(days - 1)
    write_json(settings.home / "clock.json", {"start": wall.isoformat(), "anchor": now, "speed": 1.0})
    write_json(settings.lake / "catalog.json", {"versions": {}, "as_of": now, "watermark": now})


def alert(settings: Settings, group: str, severity: str = "page", state: str = "1", title: str = "") -> None:
    """One line of the alerts' file, unseen by those who would be told."""
    told = {
        "group": group,
        "state": state,
        "title": title or f"{group} is wrong",
        "cause": "It broke.",
        "action": "Mend",
    }
    told |= {"time": as_of(0), "severity": severity, "runbook": "monitor", "link": "/dags/monitor/runs/x"}
    settings.alerts.parent.mkdir(parents=True, exist_ok=True)
    with settings.alerts.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**told, "id": hash_value(told)[:16]}) + "\n")
