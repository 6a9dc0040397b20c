"""The result of a check as one HTML page: readable offline, in light and dark, without scripts."""

from __future__ import annotations

from html import escape
from pathlib import Path

from include.files import write_text
from include.quality.findings import Finding
from include.quality.judging import Judgement

_STYLE = """
:root { color-scheme: light dark; --bg:#fff; --fg:#1c2330; --soft:#5b6575; --line:#dde2ea; --box:#f5f7fa;
  --critical:#b3261e; --warning:#8a5a00; --info:#2457a6; --good:#1d6b3a; }
@media (prefers-color-scheme: dark) { :root { --bg:#12161d; --fg:#e5e9f0; --soft:#9aa5b5; --line:#2b3340; --box:#1a202a;
  --critical:#ff8a80; --warning:#ffc861; --info:#8ab8ff; --good:#7bd69a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.2rem 4rem; max-width: 72rem; background: var(--bg); color: var(--fg);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); }
ul.found { margin: .6rem 0; padding: .7rem 1rem .7rem 2rem; background: var(--box);
  border-left: 4px solid var(--critical); }
.tiles { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1.2rem 0; }
.tile { background: var(--box); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .9rem;
  min-width: 9rem; }
.tile b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .45rem .6rem; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: 12.5px/1.45 ui-monospace, Consolas, monospace; overflow-wrap: anywhere; }
.critical { color: var(--critical); } .warning { color: var(--warning); } .info { color: var(--info); }
.good { color: var(--good); } .tag { font-weight: 600; white-space: nowrap; }
summary { cursor: pointer; color: var(--soft); padding: .4rem 0; }
"""
_ORDER = {"critical": 0, "warning": 1, "info": 2}


def write(
    path: Path,
    subject: str,
    findings: dict[str, list[Finding]],
    judged: Judgement,
    about: dict[str, str],
    rows: dict[str, int],
    quarantined: dict[str, int],
) -> Path:
    """Write the page of one check, atomically. `about` is shown under the heading, `rows` and `quarantined` count."""
    body = [
        _heading(subject, findings, judged, about),
        _tiles(rows, quarantined),
        *(_suite(name, found) for name, found in findings.items()),
    ]
    title = f"{subject}: {'stopped' if judged.critical else 'good enough'}"
    return write_text(
        path,
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head><body>\n{''.join(body)}\n</body></html>\n",
    )


def _heading(subject: str, findings: dict[str, list[Finding]], judged: Judgement, about: dict[str, str]) -> str:
    every = [f for found in findings.values() for f in found]
    failed = [f for f in every if not f.success]
    state = '<span class="critical">stopped</span>' if judged.critical else '<span class="good">good enough</span>'
    facts = " · ".join(f"{escape(k)} {escape(v)}" for k, v in about.items())
    counts = f"{len(every) - len(failed)} of {len(every)} expectations hold"
    lines = f'<h1>{escape(subject)}: {state}</h1><p class="soft">{facts}</p><p>{counts}.</p>'
    if judged.critical:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in judged.critical)
        lines += (
            f'<ul class="found">{items}</ul><p>Nothing of this run was published; what was served before stays.</p>'
        )
    return lines


def _tiles(rows: dict[str, int], quarantined: dict[str, int]) -> str:
    tiles = [
        f'<div class="tile">{escape(name)}<b>{count:,}</b>'
        f'<span class="soft">rows{_aside(quarantined.get(name))}</span></div>'
        for name, count in rows.items()
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _aside(count: int | None) -> str:
    return "" if count is None else f", {count:,} to quarantine"


def _suite(name: str, findings: list[Finding]) -> str:
    failed = sorted((f for f in findings if not f.success), key=lambda f: _ORDER[f.severity])
    held = [f for f in findings if f.success]
    parts = [f"<h2>{escape(name)}</h2>"]
    parts.append(_table(failed) if failed else f'<p class="good">All {len(held)} expectations hold.</p>')
    if held:
        parts.append(f"<details><summary>{len(held)} expectations that hold</summary>{_table(held)}</details>")
    return "".join(parts)


def _table(findings: list[Finding]) -> str:
    head = "<tr><th>Severity</th><th>Rule and reason</th><th>Expectation</th><th>Found</th><th>Examples</th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(_row(f) for f in findings)}</table></div>'


def _row(finding: Finding) -> str:
    effect = "" if finding.success else f'<br><span class="soft">{_effect(finding)}</span>'
    examples = ", ".join(finding.examples)
    return (
        f'<tr><td><span class="tag {finding.severity}">{finding.severity}</span>{effect}</td>'
        f'<td><b>{escape(finding.rule)}</b><br><span class="soft">{escape(finding.reason)}</span></td>'
        f"<td><code>{escape(finding.expectation)}</code></td>"
        f"<td>{escape(finding.observed)}</td><td><code>{escape(examples)}</code></td></tr>"
    )


def _effect(finding: Finding) -> str:
    if finding.severity != "critical":
        return "recorded"
    return "stops the run" if finding.scope == "batch" or not finding.evaluated else "rows to quarantine"
