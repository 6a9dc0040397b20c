"""A training as pages show it: what the gate saw, and the stations from the data to the Bento."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from include.console.view import Check, Evidence, Link, Number, Step
from include.loop.console import kept
from include.loop.console.kept import Tracking
from include.metrics import METRICS
from include.models.spec import Gate
from include.release.ledger import Version
from include.settings import Settings

MANIFEST, EVIDENCE = "manifest.json", "evidence.json"
_FEW = Gate().min_slice_rows


def evidence(settings: Settings, entry: Mapping[str, Any], tracking: Tracking) -> Evidence:
    """What the gate saw, from its entry in the ledger and the evidence that was kept: as the training left it, else
    as MLflow has it. Without either the ledger's own checks are shown."""
    held = entry["evidence"]
    digest, run_id = held.get("evidence"), held.get("mlflow_run")
    found = kept.evidence(settings, str(entry["run"]), digest)
    if found is None and run_id:
        found = tracking.artifact(str(run_id), EVIDENCE, digest)
    found = found if isinstance(found, dict) else {}
    champion = found.get("champion")
    against = champion.get("version") if isinstance(champion, dict) else None
    return Evidence(
        accepted=bool(held.get("accepted")),
        rule=str(held.get("rule") or ""),
        reason=str(entry["reason"]),
        against=int(against) if against is not None else None,
        checks=[_check(check) for check in held.get("checks", ())],
        scores=_scores(found),
        slices=slices(found.get("slices") or (), "difference", lambda apart: apart.value),
        calibration=_calibration(found.get("calibration") or ()),
    )


def _check(found: Mapping[str, Any]) -> Check:
    interval = found.get("interval")
    return Check(
        name=str(found["name"]),
        passed=bool(found["passed"]),
        reason=str(found["reason"]),
        value=found.get("value"),
        interval=(float(interval[0]), float(interval[1])) if interval else None,
        threshold=found.get("threshold"),
        unit=str(found.get("unit") or ""),
    )


def number(found: Mapping[str, Any] | None, unit: str = "") -> Number | None:
    """An estimate as it is kept in JSON (see include.metrics.Estimate)."""
    if not found or found.get("value") is None:
        return None
    return Number(float(found["value"]), found.get("low"), found.get("high"), unit)


def _scores(found: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Number]]]:
    champion = found.get("champion")
    sides = {
        "challenger": (found.get("challenger") or {}).get("scores"),
        "champion": champion.get("scores") if isinstance(champion, dict) else None,
        "naive": found.get("baseline"),
    }
    told: list[tuple[str, str, Mapping[str, Number]]] = []
    for name, metric in METRICS.items():
        of = {side: number((scores or {}).get(name), metric.unit) for side, scores in sides.items()}
        if numbers := {side: value for side, value in of.items() if value is not None}:
            told.append((metric.title, metric.unit, numbers))
    return told


def slices(
    found: Sequence[Mapping[str, Any]], of: str, how_bad: Callable[[Number], float]
) -> list[tuple[str, str, int, Number]]:
    """Slices with one of their estimates, in nats; the worst first, and last those that are too small to be judged."""
    told = [(s["by"], str(s["value"]), int(s["rows"]), number(s.get(of), "nats")) for s in found]
    known = [(by, value, rows, number) for by, value, rows, number in told if number is not None]
    return sorted(known, key=lambda s: (s[2] < _FEW, -how_bad(s[3])))


def _calibration(found: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[tuple[float, Number]]]:
    points = [(float(bin_["predicted"]), number(bin_["rate"])) for bin_ in found]
    known = [(predicted, rate) for predicted, rate in points if rate is not None]
    return {"challenger": known} if known else {}


# -- the manifest --------------------------------------------------------------------------------------------------
def manifest(settings: Settings, run: str | None, run_id: str | None, tracking: Tracking) -> Mapping[str, Any]:
    """What a training was made of, as its run left it, else as MLflow has it; empty when neither has it."""
    found = kept.beside(settings, run, "log", MANIFEST)
    if found is None and run_id:
        found = tracking.artifact(run_id, MANIFEST)
    return found if isinstance(found, dict) else {}


def importance(made: Mapping[str, Any]) -> dict[str, float]:
    """Mean absolute contribution of each feature to the log odds; empty for trainings that have not kept it."""
    return {c["feature"]: float(c["mean_abs"]) for c in made.get("contributions") or ()}


def lineage(
    made: Mapping[str, Any],
    entry: Version | None,
    mlflow: Link | None,
    run_id: str | None,
    lived: str = "",
) -> list[Step]:
    """From the tables to what was deployed. `lived`: in which deployments it was, in words."""
    return [
        *_data(made.get("data") or {}, made, entry),
        *_code(made),
        *([Step("MLflow run", run_id[:12], run_id, mlflow)] if run_id else []),
        *_result(entry, made),
        *([Step("Deployed", lived, "")] if lived else []),
    ]


def _data(data: Mapping[str, Any], made: Mapping[str, Any], entry: Version | None) -> list[Step]:
    steps = []
    if tables := data.get("versions"):
        listed = ", ".join(f"{name}@{version}" for name, version in sorted(tables.items()))
        steps.append(Step("Tables", f"{len(tables)} tables of the lake, each at its version", listed))
    if snapshot := data.get("snapshot"):
        steps.append(Step("Snapshot", str(snapshot["hash"])[:12], str(snapshot["hash"])))
    frame = data.get("frame") or (entry.frame if entry else None)
    if frame:
        parts = made.get("split") or {}
        order = [(name, parts[name]) for name in ("fit", "validation", "holdout") if name in parts]
        rows = "; ".join(f"{name} {p['rows']:,} rows, {p['first']} to {p['last']}" for name, p in order)
        until = f"trained until {entry.trained_until}" if entry else ""
        steps.append(Step("Training frame", rows or until or str(frame["hash"])[:12], str(frame["hash"])))
    return steps


def _code(made: Mapping[str, Any]) -> list[Step]:
    if not made:
        return []
    code, machine = made.get("code") or {}, made.get("hardware") or {}
    dirty = {"True": "with uncommitted changes", "False": "clean"}.get(str(code.get("dirty")), "unknown whether clean")
    commit = str(code.get("commit", "unknown"))
    params = ", ".join(f"{name} {_short(value)}" for name, value in (made.get("params") or {}).items())
    where = f"{machine.get('cpu')}, {machine.get('cores')} cores, {machine.get('memory_gb')} GB, {machine.get('os')}"
    return [
        Step("Code", f"{commit[:12]}, {dirty}", commit),
        Step("Lock", str(made.get("lock", "unknown"))[:12], str(made.get("lock", "unknown"))),
        Step("Model", f"{made.get('family')}, seed {made.get('seed')}", params),
        Step("Machine", f"Python {machine.get('python', 'unknown')}", where if machine else "unknown"),
    ]


def _result(entry: Version | None, made: Mapping[str, Any]) -> list[Step]:
    if entry is None:
        bundle = (made.get("result") or {}).get("bundle")
        return [Step("Bundle", str(bundle["hash"])[:12], str(bundle["hash"]))] if bundle else []
    return [
        Step("Bundle", entry.bundle["hash"][:12], entry.bundle["hash"]),
        Step("Bento", entry.bento["version"], entry.bento["hash"]),
    ]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
