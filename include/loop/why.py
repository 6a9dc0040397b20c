"""Why a model version is what it is, and why it is where it is: from the ledger and MLflow, in one piece."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from include.files import read_json
from include.release import ledger as book
from include.settings import Settings
from include.training import track

_SHOWN = ("log_loss", "brier", "auc", "bias", "ece")
_ENTERED = ("champion", "challenger")  # how a version comes into the ledger


def why(settings: Settings, version: int) -> dict[str, Any]:
    """All that leads to a version: ledger entry, decisions, manifest, evidence, verdict, sample predictions, bento.

    Raises ledger.UnknownVersion or track.Missing, which say what is not there.
    """
    name = settings.model
    ledger = book.connect(settings.ledger_url)
    entry, live = book.version(ledger, name, version), book.current(ledger, name)
    parts = (track.MANIFEST, "evidence.json", "verdict.json")
    with tempfile.TemporaryDirectory(prefix="ratchet-why-") as work:
        kept = {part: read_json(track.fetch(settings, entry.mlflow_run, part, Path(work))) for part in parts}
        predictions = pd.read_parquet(track.fetch(settings, entry.mlflow_run, track.PREDICTIONS, Path(work)))
    made_by = kept[track.MANIFEST]["run"]
    left = _left(ledger, name, version)
    decided = [
        d for d in book.history(ledger, name) if d["version"] == version or d["run"] == made_by or d["id"] in left
    ]
    return {
        "version": vars(entry),
        "live_as": [role for role in ("champion", "challenger") if getattr(live, role) == version],
        "request": _request(ledger, name, made_by),
        "decisions": decided,
        "entered": next((d for d in decided if d["version"] == version and d["kind"] in _ENTERED), None),
        "manifest": kept[track.MANIFEST],
        "evidence": kept["evidence.json"],
        "verdict": kept["verdict.json"],
        "sample": predictions.head(5).to_dict("records"),
        "mlflow": track.run_url(settings, entry.mlflow_run),
    }


def _left(ledger: sa.Engine, name: str, version: int) -> set[int]:
    """The decisions by which a version left what is live: some are about the version that took its place."""
    live = ("champion", "challenger")
    pairs = pairwise(book.deployed(ledger, name))
    return {
        after["decision"]
        for before, after in pairs
        if version in [before[role] for role in live] and version not in [after[role] for role in live]
    }


def _request(ledger: sa.Engine, name: str, run: str) -> dict[str, Any] | None:
    """The request that a run has trained for, with all its causes; None when nobody had asked."""
    begun = [entry for entry in book.of_kind(ledger, name, "training") if entry["run"] == run]
    number = begun[0]["evidence"].get("request") if begun else None
    if number is None:
        return None
    return {"id": number, "causes": [vars(cause) for cause in book.causes(ledger, number)]}


def live(settings: Settings, wall: datetime) -> dict[str, Any]:
    """What was live at a wall time: the deployment, with the decision that made it."""
    ledger = book.connect(settings.ledger_url)
    then = book.live_at(ledger, settings.model, wall)
    row = next((r for r in book.deployed(ledger, settings.model) if r["generation"] == then.generation), None)
    return {"at": wall.isoformat(), "model": settings.model, "deployment": row}


def live_text(found: Mapping[str, Any]) -> str:
    """The same for a person."""
    row = found["deployment"]
    if row is None:
        return f"At {found['at']} nothing of {found['model']} was live.\n"
    beside = "none" if row["challenger"] is None else f"version {row['challenger']} ({row['stage'] or 'waiting'})"
    share = f", answering {row['share']:.0%} of the entities" if row["share"] else ""
    return (
        f"At {found['at']} the champion of {found['model']} was version {row['champion']}.\n"
        f"  beside {beside}{share}\n"
        f"  since  {row['recorded_at']:%Y-%m-%d %H:%M:%S}Z (generation {row['generation']}, data time {row['as_of']})\n"
        f"  by     {row['actor']}, {row['kind']} ({row['run']})\n"
        f"  why    {row['reason']}\n"
    )


def text(found: Mapping[str, Any]) -> str:
    """The same for a person."""
    entry, made, evidence = found["version"], found["manifest"], found["evidence"]
    live = " and ".join(found["live_as"]) or "not live"
    code, machine, data = made["code"], made["hardware"], made["data"]
    dirty = {True: "with uncommitted changes", False: "clean"}.get(code["dirty"], "unknown whether clean")
    lines = [
        f"{entry['model']} version {entry['version']}: {live}",
        f"  made by    {made['run']}, as of {entry['as_of']}",
        *_asked(found["request"]),
        *_planted(found["entered"], made["run"]),
        f"  verdict    {found['verdict']['reason']}",
        "",
        "what it was made of",
        f"  code       {code['commit'][:12]} ({dirty})",
        f"  lock       {made['lock'][:12]}   seed {made['seed']}",
        f"  hardware   {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['os']}",
        f"  Python     {machine['python']}; " + ", ".join(f"{k} {v}" for k, v in made["packages"].items()),
        f"  frame      {data['frame']['hash'][:12]}   snapshot {data['snapshot']['hash'][:12]}",
        "  tables     " + ", ".join(f"{k}@{v}" for k, v in sorted(data["versions"].items())),
        f"  parameters {made['family']}: " + ", ".join(f"{k}={_number(v)}" for k, v in made["params"].items()),
        "  rows       "
        + "; ".join(f"{k} {v['rows']:,} ({v['first']} to {v['last']})" for k, v in made["split"].items()),
        "",
        "scores on the holdout [95 % interval, clustered by day]",
        *_scores(evidence),
        "",
        "slices in which it does worst against "
        + ("the naive baseline" if evidence["champion"] == "none" else "the champion"),
        *_slices(evidence),
        "",
        "sample predictions",
        *(
            f"  {s['flight_id']:<24} p = {s['probability']:.4f}   not on time: {s['not_on_time']}"
            for s in found["sample"]
        ),
        "",
        "decisions",
        *(
            f"  {d['recorded_at']:%Y-%m-%d %H:%M}Z  {d['kind']:<10} by {d['actor']}: {d['reason']}"
            for d in found["decisions"]
        ),
        "",
        f"bundle  {entry['bundle']['uri']}",
        f"bento   {entry['bento']['uri']} ({entry['bento']['version']})",
        f"MLflow  {found['mlflow']}",
    ]
    return "\n".join(lines) + "\n"


def _asked(request: Mapping[str, Any] | None) -> list[str]:
    """Who asked for the training, and why: a line a cause."""
    if request is None:
        return []
    lines = [f"{c['kind']} by {c['actor']}, as of {c['as_of']}: {c['cause']}" for c in request["causes"]]
    return [f"  asked for  request {request['id']}", *(f"             {line}" for line in lines)]


def _planted(entered: Mapping[str, Any] | None, run: str) -> list[str]:
    """That another than the training has entered the version: the training's verdict is not about it."""
    if entered is None or entered["run"] == run:
        return []
    return [
        f"  entered by {entered['run']} ({entered['actor']}): {entered['reason']}",
        "             its parts are that training's, whose verdict was about another version:",
    ]


def _scores(evidence: Mapping[str, Any]) -> list[str]:
    sides = {"challenger": evidence["challenger"]["scores"], "naive baseline": evidence["baseline"]}
    if evidence["champion"] != "none":
        sides[f"champion {evidence['champion']['version']}"] = evidence["champion"]["scores"]
    return [
        f"  {metric:<9} " + "   ".join(f"{who} {_estimate(scores[metric])}" for who, scores in sides.items() if scores)
        for metric in _SHOWN
    ]


def _slices(evidence: Mapping[str, Any]) -> list[str]:
    worst = sorted(evidence["slices"], key=lambda s: -s["difference"]["value"])[:3]
    return [f"  {s['by']} {s['value']:<8} {s['rows']:>6,} flights  {_estimate(s['difference'])} nats" for s in worst]


def _estimate(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "–"
    if found["low"] is None:
        return f"{found['value']:.4f} [no interval]"
    return f"{found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
