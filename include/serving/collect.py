"""Take what workers of the service have logged into the lake: each prediction once, none twice, none silently lost.

The rows of a batch of segments and the numbers of these segments become one Delta commit. Only then are the segments
removed, so a collector may be killed anywhere: the next one sees by the numbers what is in the lake already. A worker
whose lock is free has ended, in order or by a kill; what it left is taken, its counters are closed as
`closed/<worker>.json`, and its folder is removed.

    predictions/<worker>/   see include/serving/spool.py
    predictions/closed/     the counters of workers that have ended, and how many of their answers a kill has lost
    predictions/refused/    files and lines that are none of a log, each with a note that says why
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from include import lake
from include.contracts import ANSWER, DAY, FEATURES, PREDICTIONS, SHADOW
from include.crashpoints import reached
from include.files import locked, read_json, replacing, write_json, write_text
from include.serving import spool
from include.settings import Settings
from include.times import day

CLOSED, REFUSED, LOCK = "closed", "refused", ".collecting"
_ROWS = 100_000  # of a commit, about: 60 MB
_FILES = 100  # of a partition, at which it is compacted
_SCHEMA = lake.schema(PREDICTIONS)
_KEPT = ("answered", "recorded", "dropped", "shadow_asked", "shadowed", "shadow_failed", "shadow_dropped", "failures")


class Collected(TypedDict):
    """What one collection did. Counters of workers are over their whole life, also of those that live on."""

    rows: int  # new in the lake; = answers + shadows
    answers: int
    shadows: int
    workers: int  # that were found, alive or not
    ended: int  # of them
    dropped: int  # counted by the workers found: answers that their log gave up
    lost: int  # answers of workers that ended which are neither in the lake nor counted as dropped
    refused: int  # lines and files put aside
    version: int | None  # of the table; None: it was never written


def collect(settings: Settings) -> Collected:
    """Move closed segments, and all that ended workers left, to the lake. Waits while another collector is at work."""
    root = settings.predictions
    done: Counter[str] = Counter()
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / LOCK):  # one collector or compaction at a time
        folders = sorted(p for p in root.iterdir() if p.is_dir() and p.name not in (CLOSED, REFUSED))
        with _ended(folders) as ended:
            for folder in ended:
                _close(root, folder)
            come = lake.appended(settings.lake, PREDICTIONS, [f.name for f in folders])
            for batch in _batches(root, folders, come, done):
                _append(settings, batch, done)
            for folder in folders:
                counts = read_json(_summary(root, folder)) if folder in ended else spool.read_counts(folder)
                done["dropped"] += counts["dropped"]
                done["lost"] += counts.get("lost", 0)
            for folder in ended:
                _remove(root, folder, done)
        if done["rows"]:
            _compact(settings, _FILES)
    return Collected(
        rows=done["rows"],
        answers=done[ANSWER],
        shadows=done["rows"] - done[ANSWER],
        workers=len(folders),
        ended=len(ended),
        dropped=done["dropped"],
        lost=done["lost"],
        refused=done["refused"],
        version=_version(settings),
    )


def totals(settings: Settings) -> dict[str, int]:
    """The counters of all workers that ever were, added up, with `lost` of those that have ended."""
    root = settings.predictions
    sums = Counter(dict.fromkeys((*_KEPT, "lost", "shadow_lost"), 0))
    closed = {path.stem: read_json(path) for path in sorted((root / CLOSED).glob("*.json"))}
    alive = [p for p in root.iterdir() if p.is_dir() and p.name not in (CLOSED, REFUSED)] if root.is_dir() else []
    for counts in (*closed.values(), *(spool.read_counts(p) for p in alive if p.name not in closed)):
        sums.update({name: counts[name] for name in sums if name in counts})
    return dict(sums)


def compact(settings: Settings) -> int:
    """Make one file of the many small ones of each day, and remove files that were replaced a week ago or earlier.
    Returns the number of days that were compacted. The rows stay, and so does what `collect` knows of them."""
    with locked(settings.predictions / LOCK):
        return _compact(settings, 1)


def read(
    settings: Settings,
    model: str,
    since: datetime | None = None,
    until: datetime | None = None,
    versions: Iterable[int] | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Predictions of a model, answers and shadows, at data times [since, until), by time. Empty when there are none."""
    names = list(columns or PREDICTIONS.columns)
    wanted = list(dict.fromkeys([*names, "at", "prediction_id", "role"]))
    uri = str(lake.path(settings.lake, PREDICTIONS))
    if not DeltaTable.is_deltatable(uri):
        return pa.schema([_SCHEMA.field(n) for n in names]).empty_table()
    keep: Any = ds.field("model") == model
    if since is not None:
        keep = keep & (ds.field(DAY) >= day(since)) & (ds.field("at") >= _scalar(since))
    if until is not None:
        keep = keep & (ds.field(DAY) <= day(until)) & (ds.field("at") < _scalar(until))
    if versions is not None:
        keep = keep & ds.field("version").isin(pa.array(list(versions), type=pa.int64()))
    source = DeltaTable(uri).to_pyarrow_dataset()
    rows = source.to_table(columns=[n for n in wanted if n in source.schema.names], filter=keep)
    for name in set(wanted) - set(rows.column_names):  # younger than what was last appended
        rows = rows.append_column(_SCHEMA.field(name), pa.nulls(rows.num_rows, _SCHEMA.field(name).type))
    rows = rows.select(wanted).cast(pa.schema([_SCHEMA.field(n) for n in wanted]))
    return rows.sort_by([(n, "ascending") for n in ("at", "prediction_id", "role")]).select(names)


def made_by(settings: Settings, model: str, version: int, since: datetime | None = None) -> pa.Table:
    """The answers that a version gave since a data time: what it may have spoilt."""
    rows = read(settings, model, since, versions=[version])
    return rows.filter(pc.equal(rows["role"], ANSWER))


# -- workers -----------------------------------------------------------------------------------------------------------
@contextmanager
def _ended(folders: list[Path]) -> Iterator[list[Path]]:
    """The folders whose worker has ended, locked: so none of them is taken for alive by anybody else."""
    held = {folder: spool.lock(folder) for folder in folders}
    try:
        yield [folder for folder in folders if held[folder] is not None]
    finally:
        for descriptor in held.values():
            if descriptor is not None:
                os.close(descriptor)


def _summary(root: Path, folder: Path) -> Path:
    return root / CLOSED / f"{folder.name}.json"


def _close(root: Path, folder: Path) -> None:
    """Add up what an ended worker did, once, and close the segment that it left open."""
    _, begun, _ = spool.segments(folder)
    data = begun.read_bytes() if begun else b""
    good, bad = spool.decode(spool.whole(data))
    if not _summary(root, folder).exists():
        counts = spool.read_counts(folder)
        if begun:  # appended and killed before it was counted
            answers = sum(line.role == ANSWER for line in good)
            counts["recorded"] = max(counts["recorded"], counts["recorded_before"] + answers)
            counts["shadowed"] = max(counts["shadowed"], counts["shadowed_before"] + len(good) - answers)
        kept = {name: counts[name] for name in _KEPT}
        lost = counts["answered"] - counts["recorded"] - counts["dropped"]
        shadow_lost = counts["shadow_asked"] - counts["shadowed"] - counts["shadow_dropped"]
        torn = len(data) > len(spool.whole(data))
        unfit = {"lost": max(lost, 0), "shadow_lost": max(shadow_lost, 0), "torn": int(torn), "unreadable": len(bad)}
        write_json(_summary(root, folder), {"worker": folder.name, **kept, **unfit})
        reached("collect.counted")
    if begun:
        os.truncate(begun, len(spool.whole(data)))
        reached("collect.torn")
        begun.rename(begun.with_suffix(spool.CLOSED))
        reached("collect.closed")


def _remove(root: Path, folder: Path, done: Counter[str]) -> None:
    """Remove the folder of an ended worker; what is left in it is none of a spool."""
    for path in spool.segments(folder)[2]:
        _put_aside(root, path, "it is no part of a worker's log", done)
    shutil.rmtree(folder)
    reached("collect.removed")


# -- segments ----------------------------------------------------------------------------------------------------------
class _Batch:
    """Segments for one commit."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []
        self.rows = 0
        self.come: dict[str, int] = {}
        self.paths: list[Path] = []

    def add(self, worker: str, number: int, path: Path, rows: pa.Table) -> None:
        self.tables.append(rows)
        self.rows += rows.num_rows
        self.come[worker] = number
        self.paths.append(path)


def _batches(root: Path, folders: list[Path], come: dict[str, int], done: Counter[str]) -> Iterator[_Batch]:
    """All closed segments, in batches of bounded size; a worker's in their order."""
    batch = _Batch()
    for folder in folders:
        closed, _, foreign = spool.segments(folder)
        newest = spool.read_counts(folder)["segments"]  # read after them: a worker that lives goes on
        for path in foreign:
            if path.suffix == spool.CLOSED:
                _put_aside(root, path, "its name is no number of a segment", done)
        for number, path in closed:
            if number > newest:
                _put_aside(root, path, f"its worker has begun {newest} segments only", done)
            elif number <= come.get(folder.name, 0):
                path.unlink()  # in the lake since a collector that was killed
            else:
                batch.add(folder.name, number, path, _rows(root, folder.name, path, done))
            if batch.rows >= _ROWS:
                yield batch
                batch = _Batch()
    if batch.paths:
        yield batch


def _append(settings: Settings, batch: _Batch, done: Counter[str]) -> None:
    rows = pa.concat_tables(batch.tables)
    if rows.num_rows:
        lake.append(settings.lake, PREDICTIONS, rows, batch.come)
        reached("collect.appended")
    done["rows"] += rows.num_rows
    done[ANSWER] += pc.sum(pc.equal(rows["role"], ANSWER)).as_py() or 0
    for path in batch.paths:
        path.unlink(missing_ok=True)  # one that could not be read has been put aside
        reached("collect.unlinked")


def _rows(root: Path, worker: str, path: Path, done: Counter[str]) -> pa.Table:
    """The rows of a segment. What is no prediction is put aside, and the rest stays."""
    try:
        data = path.read_bytes()
    except OSError as error:
        _put_aside(root, path, f"it cannot be read: {error}", done)
        return _SCHEMA.empty_table()
    lines, bad = spool.decode(data)
    try:
        rows = _table(worker, lines)
    except Exception:  # rare: find the lines that Arrow does not take
        lines, more = _sorted_out(worker, lines)
        bad += more
        rows = _table(worker, lines)
    if bad:
        reasons = [f"line {number}: {reason}\n" for number, reason in bad]
        _note(root, worker, path, f"{len(bad)} lines are no predictions; the others are in the lake\n", reasons)
        done["refused"] += len(bad)
    return rows


def _sorted_out(worker: str, lines: list[spool.Line]) -> tuple[list[spool.Line], list[tuple[int, str]]]:
    good, bad = [], []
    for number, line in enumerate(lines, start=1):
        try:
            _table(worker, [line])
            good.append(line)
        except Exception as error:
            bad.append((number, f"of the readable ones: {error}"))
    return good, bad


def _table(worker: str, lines: list[spool.Line]) -> pa.Table:
    """Lines as rows of PREDICTIONS. Raises when a value is out of what its column holds."""
    names = {frozenset(line.features) for line in lines}
    unknown = frozenset().union(*names) - FEATURES.keys()
    if unknown:
        raise ValueError(f"feature {min(unknown)!r} is in no contract")
    roles = {line.role for line in lines} - {ANSWER, SHADOW}
    if roles:
        raise ValueError(f"role {min(roles)!r} is neither {ANSWER} nor {SHADOW}")
    columns: dict[str, list[Any]] = {
        name: [getattr(line, name) for line in lines] for name in PREDICTIONS.columns if hasattr(spool.Line, name)
    }
    columns[DAY] = [day(line.at) for line in lines]
    columns["worker"] = [worker] * len(lines)
    features = [line.features for line in lines]
    for name in FEATURES:
        own = columns.get(name)  # distance: a feature as well as a column of the flight
        columns[name] = [values.get(name, own[i] if own else None) for i, values in enumerate(features)]
    return pa.table({name: pa.array(columns[name], type=_SCHEMA.field(name).type) for name in PREDICTIONS.columns})


def _note(root: Path, worker: str, path: Path, why: str, reasons: Sequence[str]) -> None:
    """Keep a copy of a file and, beside it, why it was put aside. Again gives the same."""
    kept = root / REFUSED / f"{worker}-{path.name}"
    with replacing(kept) as part:
        shutil.copyfile(path, part)
    write_text(kept.with_name(kept.name + ".txt"), f"{worker}/{path.name}: {why}" + "".join(reasons[:1000]))
    reached("collect.refused")


def _put_aside(root: Path, path: Path, why: str, done: Counter[str]) -> None:
    """Move a file out of a worker's folder, with a note beside it that says why."""
    kept = root / REFUSED / f"{path.parent.name}-{path.name}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_text(kept.with_name(kept.name + ".txt"), f"{path.parent.name}/{path.name}: {why}\n")
    path.rename(kept)
    done["refused"] += 1
    reached("collect.refused")


# -- the table ---------------------------------------------------------------------------------------------------------
def _compact(settings: Settings, most: int) -> int:
    """Compact the days that have more than so many files."""
    uri = str(lake.path(settings.lake, PREDICTIONS))
    if not DeltaTable.is_deltatable(uri):
        return 0
    table = DeltaTable(uri)
    files = Counter(Path(path).parent.name.removeprefix(f"{DAY}=") for path in table.file_uris())
    many = sorted(name for name, count in files.items() if count > most)
    for name in many:
        table.optimize.compact(partition_filters=[(DAY, "=", name)])
        reached("collect.compacted")
    if many:
        table.vacuum(dry_run=False)  # keeps what was replaced within a week: a reader may be at it
    return len(many)


def _version(settings: Settings) -> int | None:
    with suppress(lake.UnknownVersion):
        return lake.version(settings.lake, PREDICTIONS)
    return None


def _scalar(time: datetime) -> pa.Scalar:
    return pa.scalar(time.astimezone(UTC), type=_SCHEMA.field("at").type)
