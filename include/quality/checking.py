"""The two checks that tasks call: raw feeds before facts are made of them, the training frame before it is learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include import lake
from include.contracts import DAY, FEATURES, FRAME_IDENTITY, QUARANTINE, RAW_TABLES, Interval, Ref, Table
from include.crashpoints import reached
from include.files import replacing, used_again
from include.quality import frames, page, validation, volume
from include.quality.findings import CriticalFailure, Finding
from include.quality.judging import Judgement, content_hash, judge, quarantine
from include.settings import Settings
from include.times import parse

_REPAIR_FEED = (
    "Nothing of this run was published: what was served before stays. The delivery is kept {where}. Repair the feed "
    "(or the rule in scripts/feed_rules.py, if the world has changed), then clear the run."
)
_REPAIR_FRAME = (
    "Nothing was trained and the champion stays. The frame is kept at {where}. A frame is made here, so look for the "
    "fault in the features and their SQL, or in what was ingested; then clear the run."
)
_FRAME_SUITE = "training_frame"


def check(settings: Settings, interval: Interval, landed: dict[str, Any], page_path: Path) -> dict[str, Any]:
    """Judge the landed feeds by their suites, write the result's page and the broken rows.

    Returns {"success", "critical", "warnings", "info": sentences, "rows", "quarantined": {feed: count}, "bad_rows":
    reference to a Parquet file of the quarantine's schema}. Raises CriticalFailure, when all that is written, if a
    feed is broken as a whole.
    """
    days, as_of = list(landed["days"]), parse(interval["as_of"])
    raw = {table.name: frames.to_pandas(delivered(settings, table, landed)) for table in RAW_TABLES}
    context = frames.Context(tuple(days), as_of, raw["raw_schedule"])
    built = {table.name: frames.build(table, raw[table.name], context) for table in RAW_TABLES}
    built[volume.NAME] = volume.frame(raw, days, as_of, settings.history_start)
    findings = {name: _named(found, _keys(name, built[name])) for name, found in validation.run(built).items()}
    counts = {name: len(rows) for name, rows in raw.items()}
    judged = judge(findings, counts, {table.name: validation.limits(table.name) for table in RAW_TABLES})
    parts = [
        quarantine(t, raw[t.name], judged.broken[t.name], days, as_of) for t in RAW_TABLES if judged.broken[t.name]
    ]
    bad = _write_bad_rows(settings, pa.concat_tables([lake.schema(QUARANTINE).empty_table(), *parts]))
    quarantined = {t.name: len(judged.broken[t.name]) for t in RAW_TABLES}
    about = {"span": f"{interval['start']} to {interval['end']}", "as of": interval["as_of"], "days": _span(days)}
    page.write(page_path, "Feeds", findings, judged, about, counts, quarantined)
    reached("ingest.check.page")
    files = [ref["uri"] for ref in landed.get("delivered", {}).values()]
    _stop(judged, page_path, _REPAIR_FEED.format(where=" and ".join(["in the raw tables", *files])))
    return {**_told(judged), "rows": counts, "quarantined": quarantined, "bad_rows": bad}


def check_frame(
    settings: Settings,  # noqa: ARG001 — as of check; the frame's reference says where it lies
    frame: Ref,
    features: list[str] | tuple[str, ...],
    page_path: Path,
) -> dict[str, Any]:
    """Judge a training frame: types, nulls, bounds, both classes, each flight once. `features` are the model's.

    Returns {"success", "critical", "warnings", "info", "rows": {"training_frame": count}}. Raises CriticalFailure
    after the page is written. Nothing of a frame goes to quarantine: it was made here, so a bad row is a bug.
    """
    rows = pd.read_parquet(frame["uri"])
    made = rows.assign(**{frames.ROW: range(len(rows))})
    if {"event_timestamp", "sched_dep"} <= set(rows.columns):
        made["as_of_before_departure"] = rows["event_timestamp"] < rows["sched_dep"]
    columns = {*FRAME_IDENTITY, *features, "as_of_before_departure"} - (set(FEATURES) - set(features))
    findings = {_FRAME_SUITE: validation.run_wide(_FRAME_SUITE, made, columns)}
    judged = judge(findings, {_FRAME_SUITE: len(rows)}, {})
    about = {"frame": frame["version"], "hash": frame["hash"][:12], "features": str(len(features))}
    page.write(page_path, "Training frame", findings, judged, about, {_FRAME_SUITE: len(rows)}, {})
    reached("train.check_frame.page")
    _stop(judged, page_path, _REPAIR_FRAME.format(where=frame["uri"]))
    return {**_told(judged), "rows": {_FRAME_SUITE: len(rows)}}


def delivered(settings: Settings, table: Table, landed: dict[str, Any]) -> pa.Table:
    """What the source delivered: the landed version, or the file kept beside it where the two differ."""
    kept = landed.get("delivered", {}).get(table.name)
    if kept:
        return pq.read_table(kept["uri"])
    days = landed["days"]
    return lake.read(settings.lake, table, landed["versions"][table.name], (days[0], days[-1]))


def _named(findings: list[Finding], key_of: Callable[[int], str]) -> list[Finding]:
    """Examples that say which row they are of."""
    return [
        replace(
            f, examples=tuple(f"{key_of(row)} {value}".strip() for row, value in zip(f.rows, f.examples, strict=False))
        )
        for f in findings
    ]


def _keys(name: str, rows: pd.DataFrame) -> Callable[[int], str]:
    keys = next((table.key for table in RAW_TABLES if table.name == name), (DAY,))
    shown = [key for key in keys if key in rows]
    return lambda place: " ".join(str(value) for value in rows.iloc[place][shown])


def _write_bad_rows(settings: Settings, rows: pa.Table) -> Ref:
    digest = content_hash(rows)
    path = settings.home / "quality" / f"{digest}.parquet"
    if not used_again(path):
        with replacing(path) as part:
            pq.write_table(rows, part)
    reached("ingest.check.bad_rows")
    return Ref(uri=str(path), version=digest[:12], hash=digest)


def _stop(judged: Judgement, page_path: Path, what_to_do: str) -> None:
    """Raise CriticalFailure if something critical failed."""
    if judged.critical:
        found = "\n".join(f"- {sentence}" for sentence in judged.critical[:10])
        more = f"\n- and {len(judged.critical) - 10} more" if len(judged.critical) > 10 else ""
        raise CriticalFailure(f"Critical expectations failed:\n{found}{more}\n{what_to_do} All results: {page_path}")


def _told(judged: Judgement) -> dict[str, Any]:
    return {"success": True, "critical": [], "warnings": judged.warnings, "info": judged.info}


def _span(days: list[str]) -> str:
    return f"{days[0]} to {days[-1]} ({len(days)})"
