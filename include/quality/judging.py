"""From findings to a judgement: what stops the run, which rows go to quarantine, what is only told. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from include import lake
from include.contracts import DAY, KNOWN_AT, QUARANTINE, Table
from include.files import canonical_json
from include.quality.findings import Finding


@dataclass(frozen=True)
class Judgement:
    """`critical` stops the run; `broken` maps a suite to its rows (positions) and the rules that each broke."""

    critical: list[str]
    warnings: list[str]
    info: list[str]
    broken: dict[str, dict[int, list[Finding]]]


def judge(findings: dict[str, list[Finding]], rows: dict[str, int], limits: dict[str, dict[str, Any]]) -> Judgement:
    """Critical on a batch, or critical that could not be evaluated, or too many rows for quarantine: stop."""
    failed = [f for suite in findings.values() for f in suite if not f.success]
    stops = [f for f in failed if f.severity == "critical" and f.scope == "batch" and f.evaluated]
    blind = [f for f in failed if f.severity == "critical" and not f.evaluated]
    broken = {suite: _broken(found) for suite, found in findings.items()}
    critical = [f.sentence for f in stops] + _blind(blind, bool(stops))
    for suite, places in broken.items():
        critical += _too_many(suite, places, rows.get(suite, 0), limits.get(suite, {}))
    return Judgement(
        critical=critical,
        warnings=[f.sentence for f in failed if f.severity == "warning"],
        info=[f.sentence for f in failed if f.severity == "info"],
        broken=broken,
    )


def _broken(findings: list[Finding]) -> dict[int, list[Finding]]:
    places: dict[int, list[Finding]] = {}
    for finding in findings:
        if finding.severity == "critical" and finding.scope == "row" and not finding.success:
            for place in finding.rows:
                places.setdefault(place, []).append(finding)
    return places


def _blind(findings: list[Finding], explained: bool) -> list[str]:
    """Rules that could not be evaluated stop a run too; where a missing column explains them, one line says so."""
    if not findings:
        return []
    if not explained:
        return [f.sentence for f in findings]
    names = ", ".join(f"{f.suite}.{f.rule}" for f in findings)
    return [f"{len(findings)} critical rules could not be evaluated, most likely because of that: {names}."]


def _too_many(suite: str, places: dict[int, list[Finding]], rows: int, limits: dict[str, Any]) -> list[str]:
    count, share = len(places), limits.get("max_quarantined_share", 0.05)
    if count <= limits.get("max_quarantined_rows", 20) or count <= share * rows:
        return []
    rules: dict[str, int] = {}
    for found in places.values():
        for finding in found:
            rules[finding.rule] = rules.get(finding.rule, 0) + 1
    worst = ", ".join(f"{rule} ({n:,})" for rule, n in sorted(rules.items(), key=lambda item: -item[1])[:4])
    return [
        f"{suite}: {count:,} of {rows:,} rows ({count / rows:.1%}) break a critical rule, more than {share:.0%}: "
        f"{worst}. That is no bad row but a broken feed."
    ]


def quarantine(
    table: Table, rows: pd.DataFrame, broken: dict[int, list[Finding]], days: list[str], as_of: datetime
) -> pa.Table:
    """The broken rows in the shape of the quarantine table, one row a rule. A row without a day of this run is filed
    under the first; a later copy of a key has its position in the copies behind its key."""
    places = sorted(broken)
    bad = rows.iloc[places]
    keys = lake.row_keys(table, pa.Table.from_pandas(bad[list(table.key)].astype(object), preserve_index=False))
    copies = rows.groupby(list(table.key), dropna=False).cumcount().iloc[places]
    made: list[dict[str, Any]] = []
    for place, key, copy, values in zip(places, keys, copies, bad.to_dict("records"), strict=True):
        known = values.get(KNOWN_AT)
        for finding in broken[place]:
            made.append(
                {
                    DAY: values[DAY] if values.get(DAY) in days else days[0],
                    "feed": table.name,
                    "row_key": f"{key}#{copy}" if copy else key,
                    "rule": finding.rule,
                    "reason": finding.reason,
                    "row": canonical_json({k: None if pd.isna(v) else v for k, v in values.items()}),
                    KNOWN_AT: as_of if known is None or pd.isna(known) else known,
                }
            )
    return pa.Table.from_pylist(made, schema=lake.schema(QUARANTINE))


def content_hash(rows: pa.Table) -> str:
    return hashlib.sha256(canonical_json(rows.to_pylist()).encode()).hexdigest()
