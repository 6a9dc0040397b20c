"""A rehearsal as one HTML page that needs no network: what was demanded, what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from include.files import write_text

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --bad: #ff7b72; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem } .good { color: var(--good) } .bad { color: var(--bad) }
.table { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td.reason { white-space: pre-wrap; overflow-wrap: anywhere } td.number { font-variant-numeric: tabular-nums }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line) } caption { text-align: left }
"""


def write(report: Mapping[str, Any], path: Path) -> Path:
    """Write the page of a report made by rehearse. Failed checks come first."""
    checks = sorted(report["checks"], key=lambda c: bool(c["passed"]))
    failed = [c["name"] for c in checks if not c["passed"]]
    tag = escape(report["archive"]["version"])
    verdict = "passed" if report["passed"] else f"failed: {escape(', '.join(failed))}"
    lines = [
        f"<h1>Rehearsal of {tag}: <span class={_tone(report['passed'])}>{verdict}</span></h1>",
        f"<p>{escape(_summary(report))}</p>",
        f"<div class=table><table><caption>{len(checks)} checks, {len(failed)} failed</caption>",
        "<thead><tr><th>check<th>result<th>seen<th>demanded<th>why</thead><tbody>",
        *(_row(check) for check in checks),
        "</tbody></table></div>",
    ]
    if report.get("log"):
        lines.append(f"<h2>Last lines of the service's log</h2><pre>{escape(report['log'])}</pre>")
    title = f"<title>Rehearsal of {tag}</title>"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">{title}<style>{_STYLE}</style>'
    return write_text(
        path, f'<!doctype html><html lang="en"><head>{head}</head><body>' + "\n".join(lines) + "</body></html>\n"
    )


def _summary(report: Mapping[str, Any]) -> str:
    if report["ready_seconds"] is None:
        return "The service was not started, or did not become ready."
    latency = report["latency_ms"]
    timed = f" One row over HTTP: p50 {latency['p50']} ms, p99 {latency['p99']} ms." if latency else ""
    ready = f"Ready {report['ready_seconds']} s after its archive was imported;"
    return f"{ready} {report['rows']} rows of the holdout were replayed.{timed}"


def _tone(passed: bool) -> str:
    return "good" if passed else "bad"


def _row(check: Mapping[str, Any]) -> str:
    word = "passed" if check["passed"] else "failed"
    return (
        f"<tr><td>{escape(check['name'])}<td class={_tone(check['passed'])}>{word}"
        f"<td class=number>{_shown(check['value'], check['unit'])}<td class=number>{_shown(check['threshold'], '')}"
        f"<td class=reason>{escape(check['reason'])}</tr>"
    )


def _shown(value: Any, unit: str) -> str:
    if value is None:
        return "–"
    number = f"{value:.3g}" if isinstance(value, float) else str(value)
    return escape(f"{number} {unit}".strip())
