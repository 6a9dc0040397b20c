"""What the demo has to show, from the tasks' results, the evidence and the ledger: one dict, and its text."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import Any
from urllib.parse import quote

import httpx

from include.files import read_json
from include.release import ledger as book
from scripts.demo import airflow, release
from scripts.demo.follow import Played
from scripts.stack.config import Stack, passwords

_SCORES = ("log_loss", "auc", "brier")
_WIDTH = 100


def build(client: httpx.Client, stack: Stack, played: list[Played], seconds: float) -> dict[str, Any]:
    """The report; plain JSON values."""
    parts = [_chapter(client, stack, one) for one in played if one.state != release.NOT_NEEDED]
    engine = book.connect(stack.settings.ledger_url)
    live = book.current(engine, stack.settings.model)
    return {
        "seconds": round(seconds, 1),
        "chapters": parts,
        "live": {"model": live.model, "champion": live.champion, "challenger": live.challenger},
        "decisions": [
            {key: str(row[key]) for key in ("kind", "actor", "as_of", "reason")}
            for row in book.history(engine, stack.settings.model)
        ],
        "open": {
            "airflow": stack.url,
            "console": f"{stack.url}/plugin/models",
            "mlflow": stack.mlflow_url,
            "service": stack.service_url,
            "evidently": stack.evidently_url,
            "user": "admin",
            "password": passwords(stack)["admin"],
            "data": str(stack.home),
        },
    }


_RETURNED = {
    "ingest": ("validate", "publish"),
    "train": ("plan", "fit", "evaluate", "log", "gate", "release"),
    "monitor": ("plan", "window", "measure", "act"),
    "release": (),
}
_PAGES = {"ingest": "validate", "train": "gate", "monitor": "measure"}


def _chapter(client: httpx.Client, stack: Stack, one: Played) -> dict[str, Any]:
    dag, run_id = one.chapter.dag, one.run_id
    returned = {task: airflow.result(client, dag, run_id, task) or {} for task in _RETURNED[dag]}
    details = _release(stack, one) if dag == "release" else _DETAILS[dag](returned)
    page = ("canary" if one.state == "success" else "shadow") if dag == "release" else _PAGES[dag]
    return {
        "chapter": one.chapter.key,
        "title": one.chapter.title,
        "dag": dag,
        "run": run_id,
        "state": one.state,
        "seconds": one.seconds,
        "done_before": one.before,
        "page": f"{stack.url}/ratchet/reports/{dag}/{quote(run_id, safe='')}/{page}/",
        **details,
    }


def _ingest(returned: dict[str, Any]) -> dict[str, Any]:
    checked = returned["validate"]
    return {
        "rows": checked.get("rows", {}),
        "quarantined": checked.get("quarantined", {}),
        "warnings": len(checked.get("warnings", [])),
        "as_of": returned["publish"].get("as_of"),
    }


def _train(returned: dict[str, Any]) -> dict[str, Any]:
    evidence = returned["evaluate"].get("uri")
    found = read_json(Path(evidence)) if evidence and Path(evidence).is_file() else {}
    champion = found.get("champion")
    return {
        "as_of": returned["plan"].get("as_of"),
        "family": returned["fit"].get("family"),
        "holdout": found.get("holdout"),
        "scores": {
            "challenger": (found.get("challenger") or {}).get("scores"),
            "champion": champion.get("scores") if isinstance(champion, dict) else None,
            "naive_baseline": found.get("baseline"),
        },
        "difference_to_champion": found.get("difference"),
        "difference_to_baseline": found.get("against_baseline"),
        "verdict": returned["gate"],
        "released": returned["release"] or None,
        "mlflow_run": returned["log"].get("url"),
    }


def _monitor(returned: dict[str, Any]) -> dict[str, Any]:
    return {
        "as_of": returned["plan"].get("as_of"),
        "flights": returned["window"].get("flights"),
        "verdict": returned["measure"],
        "request": returned["act"] or None,
    }


def _release(stack: Stack, one: Played) -> dict[str, Any]:
    """What the ledger says of the release's way."""
    ledger = book.connect(stack.settings.ledger_url)
    mine = [row for row in book.history(ledger, stack.settings.model) if row["run"] == f"release/{one.run_id}"]
    steps = [
        {"kind": row["kind"], "actor": row["actor"], "at": f"{row['recorded_at']:%H:%M:%S}Z", "reason": row["reason"]}
        for row in mine
    ]
    asks = f"{stack.url}/dags/release/runs/{quote(one.run_id, safe='')}/tasks/approval/required_actions"
    return {"version": one.version, "steps": steps, "approve_at": asks if one.state == release.WAITS else None}


_DETAILS = {"ingest": _ingest, "train": _train, "monitor": _monitor}


# -- the text -----------------------------------------------------------------------------------------------------
def text(report: dict[str, Any]) -> str:
    """The report for a person at a terminal."""
    lines = ["", "=" * 100, "What ran"]
    for part in report["chapters"]:
        again = " (in an earlier demo)" if part["done_before"] else ""
        lines.append(f"  {part['chapter']:<15}{part['dag']:<9}{part['state']:<15}{part['seconds']:7.1f} s{again}")
        lines += [f"      {line}" for line in _TEXTS[part["dag"]](part)]
    live, found = report["live"], report["open"]
    lines += [
        "",
        f"Live: {live['model']}, champion version {live['champion']}, challenger {_or_none(live['challenger'])}",
        "",
        f"Airflow   {found['airflow']}   user {found['user']}, password {found['password']}",
        f"Models    {found['console']}   what is live, why, and what to do next",
        f"MLflow    {found['mlflow']}",
        f"Service   {found['service']}/predict   (/openapi.json, /metrics)",
        f"Evidently {found['evidently']}   (dashboards of what was predicted, day by day and week by week)",
        "The stack stays up and takes in an hour of flights every hour. `make status`, `make logs`, `make down`.",
        f"This report: {found['data']}/demo/report.json   ({report['seconds']:.0f} s in all)",
    ]
    return "\n".join(lines)


def _ingest_text(part: dict[str, Any]) -> list[str]:
    rows = ", ".join(f"{count:,} {feed}" for feed, count in part["rows"].items())
    bad = ", ".join(f"{count:,} of {feed}" for feed, count in part["quarantined"].items() if count) or "none"
    return [f"rows in: {rows}", f"quarantined: {bad}; warnings: {part['warnings']}", f"checks      {part['page']}"]


def _train_text(part: dict[str, Any]) -> list[str]:
    verdict, scores = part["verdict"], part["scores"]
    lines = []
    if held := part["holdout"]:
        lines.append(f"judged on {held['rows']:,} flights of {held['first']} … {held['last']} (95 % intervals by day)")
    lines.append(" " * 16 + "".join(f"{name.replace('_', ' '):<26}" for name in _SCORES).rstrip())
    for who in ("challenger", "champion", "naive_baseline"):
        if scores[who]:
            values = "".join(f"{_estimate(scores[who].get(name)):<26}" for name in _SCORES)
            lines.append(f"{who.replace('_', ' '):<16}{values}".rstrip())
    lines += wrap(f"verdict: {verdict.get('reason')}", _WIDTH)
    if part["released"]:
        lines.append(f"released: version {part['released'].get('version')} as {part['released'].get('as')}")
    return [*lines, f"verdict     {part['page']}", f"MLflow run  {part['mlflow_run']}"]


def _monitor_text(part: dict[str, Any]) -> list[str]:
    verdict, flights = part["verdict"], part["flights"] or 0
    lines = [f"{flights:,} flights were asked about in the week before {part['as_of']}"]
    lines += wrap(f"verdict: {verdict.get('reason')}", _WIDTH)
    if part["request"]:
        lines += wrap(f"asked for a training: {part['request']['reason']}", _WIDTH)
    return [*lines, f"evidence    {part['page']}"]


def _release_text(part: dict[str, Any]) -> list[str]:
    lines = [f"version {part['version']}"]
    for step in part["steps"]:
        lines += wrap(f"{step['at']}  {step['kind']:<10} by {step['actor']}: {step['reason']}", _WIDTH)
    if part["approve_at"]:
        lines.append(f"YOUR ANSWER  {part['approve_at']}   (as admin or operator; then watch it go on by itself)")
    return [*lines, f"evidence    {part['page']}"]


def _estimate(found: dict[str, Any] | None) -> str:
    if not found:
        return "-"
    if found["low"] is None:
        return f"{found['value']:.3f}"
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _or_none(value: Any) -> str:
    return "none" if value is None else f"version {value}"


_TEXTS = {"ingest": _ingest_text, "train": _train_text, "monitor": _monitor_text, "release": _release_text}
