"""Run the committed suites of Great Expectations on frames; results become plain findings.

GX runs on a copy of gx/ in a temporary folder: it scaffolds folders wherever it finds its context, and the project may
be mounted read-only. Nothing is stored, nothing is sent (analytics are off in the committed configuration).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from include.quality.findings import Finding
from include.quality.frames import ROW
from include.settings import ROOT

if TYPE_CHECKING:
    from great_expectations.data_context import AbstractDataContext

FOLDER = ROOT / "gx"
_EXAMPLES = 5
_TOGETHER = 8  # columns


def run(frames: dict[str, pd.DataFrame], columns: Collection[str] | None = None) -> dict[str, list[Finding]]:
    """Findings of each suite on its frame, in the suite's order. With `columns`, only the expectations on these (and
    those on whole tables): a model that uses some of the features is not held to the others."""
    with _context(columns) as context:
        return {name: _run(context, name, frame) for name, frame in frames.items()}


def run_wide(suite: str, frame: pd.DataFrame, columns: Collection[str]) -> list[Finding]:
    """As `run`, for one frame of many columns: a few columns at a time, since GX's cost grows with the number of
    columns times that of expectations. Whole-table expectations come first."""
    found: list[Finding] = []
    ordered = sorted(columns)
    for first in range(0, len(ordered), _TOGETHER):
        some = ordered[first : first + _TOGETHER]
        with _context(some, tables=first == 0) as context:
            found += _run(context, suite, frame[[ROW, *(c for c in some if c in frame)]])
    return found


def limits(suite: str) -> dict[str, Any]:
    """What the suite says beside its expectations: from how many quarantined rows on the whole feed is broken."""
    meta: dict[str, Any] = json.loads((FOLDER / "expectations" / f"{suite}.json").read_text(encoding="utf-8"))["meta"]
    return meta


@contextmanager
def _context(columns: Collection[str] | None, tables: bool = True) -> Iterator[AbstractDataContext]:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when GX is imported
    import great_expectations as gx  # takes seconds, which only the task that checks pays

    with tempfile.TemporaryDirectory(prefix="ratchet-gx-") as work:
        copy = Path(work) / "gx"
        shutil.copytree(FOLDER, copy)
        if columns is not None:
            for file in (copy / "expectations").glob("*.json"):
                _keep(file, {*columns, None} if tables else set(columns))
        yield gx.get_context(mode="file", context_root_dir=str(copy))


def _keep(file: Path, columns: set[str | None] | set[str]) -> None:
    suite = json.loads(file.read_text(encoding="utf-8"))
    suite["expectations"] = [e for e in suite["expectations"] if e["kwargs"].get("column") in columns]
    file.write_text(json.dumps(suite), encoding="utf-8")


def _run(context: AbstractDataContext, name: str, frame: pd.DataFrame) -> list[Finding]:
    checkpoint = context.checkpoints.get(name)
    order = {e.id: place for place, e in enumerate(checkpoint.validation_definitions[0].suite.expectations)}
    outcome = checkpoint.run(batch_parameters={"dataframe": frame})
    results: list[Any] = [r for run in outcome.run_results.values() for r in run.results]
    results.sort(key=lambda r: order[r.expectation_config.id])  # GX returns them in an order of its own
    return [_finding(name, r) for r in results]


def _finding(suite: str, result: Any) -> Finding:
    config, detail = result.expectation_config, result.result or {}
    failed = _exception(result.exception_info)
    places = [int(place[ROW]) for place in detail.get("unexpected_index_list") or []]
    return Finding(
        suite=suite,
        rule=config.meta["rule"],
        severity=str(getattr(config.severity, "value", config.severity)),
        scope=config.meta["scope"],
        reason=config.notes,
        expectation=_text(config),
        success=bool(result.success),
        evaluated=not failed,
        observed=failed or _observed(config, detail, bool(result.success)),
        count=int(detail.get("unexpected_count") or 0),
        examples=tuple(_plain(v) for v in (detail.get("partial_unexpected_list") or [])[:_EXAMPLES]),
        rows=tuple(places),
    )


def _plain(value: Any) -> str:
    """A value as an example; that a row's yes-or-no is no, or its value null, the rule says already."""
    return "" if value is pd.NA or str(value) in ("False", "nan", "NaT", "None") else str(value)


def _exception(info: dict[str, Any] | None) -> str:
    """The message of an expectation that raised; GX nests it by metric when a metric did."""
    if not info:
        return ""
    parts = [info] if "raised_exception" in info else list(info.values())
    raised = [p for p in parts if isinstance(p, dict) and p.get("raised_exception")]
    return f"could not be evaluated: {raised[0].get('exception_message')}" if raised else ""


def _observed(config: Any, detail: dict[str, Any], success: bool) -> str:
    if "unexpected_count" in detail:
        rows, bad = int(detail.get("element_count") or 0), int(detail["unexpected_count"])
        return f"{bad:,} of {rows:,} rows ({bad / rows:.2%})" if rows else "no rows"
    if config.type == "expect_table_columns_to_match_set":
        missing = ((detail.get("details") or {}).get("mismatched") or {}).get("missing") or []
        return "all columns are there" if success else f"missing: {', '.join(missing)}"
    if "observed_value" in detail:
        return f"observed {detail['observed_value']}"
    return "holds" if success else "does not hold"


def _text(config: Any) -> str:
    parts = {k: v for k, v in config.kwargs.items() if k not in ("batch_id",) and v is not None}
    return f"{config.type}({', '.join(f'{k}={v!r}' for k, v in parts.items())})"
