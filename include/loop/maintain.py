"""Steps of the `maintain` DAG: what may go by the policy -> it goes -> tables are compacted; what nobody uses."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from include import alerts, bundle, lake
from include.contracts import ALL_TABLES, PERFORMANCE, PREDICTIONS, SCORES, VIEWS, Table
from include.crashpoints import reached
from include.features import store
from include.files import hash_value, read_json, write_json
from include.loop import common
from include.loop.common import Job
from include.loop.run import Run, Skip, Stop
from include.models import registry
from include.release import ledger as book
from include.release import releases
from include.release.tables import versions as entered
from include.serving import collect as spool
from include.settings import Settings
from include.times import day, iso, parse
from include.training import data, track
from include.upkeep import inventory, page, policy, protect, remove, tables, unused
from include.upkeep.policy import Item, Standing
from include.upkeep.protect import Needs

_ROWS = 2_000  # on which a champion's features are tried
_UNKNOWN = "so no snapshot goes and no table is vacuumed, while it is eligible"
_TABLES: tuple[Table, ...] = (*ALL_TABLES, PREDICTIONS, SCORES, PERFORMANCE)


# -- who needs what ----------------------------------------------------------------------------------------------
def standings(engine: sa.Engine, now: datetime) -> list[Standing]:
    """Every packaged version of every model, as it stands at wall time `now`."""
    with book.reader(engine) as connection:
        rows = list(connection.execute(sa.select(entered.c.model, entered.c.version, entered.c.recorded_at)))
    found = []
    for model in sorted({row.model for row in rows}):
        deployed = book.deployed(engine, model)
        ends = [*(_utc(row["recorded_at"]) for row in deployed[1:]), now]
        until = {row["champion"]: end for row, end in zip(deployed, ends, strict=True)} if deployed else {}
        live = _live(engine, model)
        found += [
            Standing(model, row.version, _utc(row.recorded_at), until.get(row.version), live.get(row.version, ""))
            for row in rows
            if row.model == model
        ]
    return found


def _live(engine: sa.Engine, model: str) -> dict[int, str]:
    """Version -> what it is now."""
    live = book.current(engine, model)
    found: dict[int, str] = {}
    if live.release is not None:
        release = releases.get(engine, live.release)
        found = dict.fromkeys((release.version, release.champion), f"part of release {release.id}, which is open")
    for version, role in ((live.challenger, "challenger"), (live.champion, "champion")):
        if version is not None:
            found[version] = role
    return found


def needs(run: Run, engine: sa.Engine, now: datetime) -> list[Needs]:
    """What the eligible versions need. Raises when MLflow cannot say it: then nothing may go."""
    kept = policy.eligible(standings(engine, now), run.settings.retention, now)
    if kept:
        track.check_server(run.settings)
    return [_needs(run.settings, book.version(engine, *key), why) for key, why in sorted(kept.items())]


def _needs(settings: Settings, version: book.Version, why: str) -> Needs:
    who = f"{version.model} version {version.version} ({why})"
    made = _manifest(settings, version.mlflow_run)
    return Needs(
        who=who,
        frame=version.frame["hash"],
        bundle=version.bundle["hash"],
        bento=Path(version.bento["uri"]).name,
        mlflow_run=version.mlflow_run,
        snapshot=made["data"]["snapshot"]["hash"] if made else None,
        tables=made["data"]["versions"] if made else {},
    )


def _manifest(settings: Settings, run_id: str) -> Job | None:
    """The manifest of an MLflow run; None when MLflow says that it has none, which is not the same as no answer."""
    try:
        entries = track.client(settings).list_artifacts(run_id)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        return None
    if not any(entry.path == track.MANIFEST for entry in entries):
        return None
    with tempfile.TemporaryDirectory(prefix="ratchet-maintain-") as work:
        found: Job = read_json(track.fetch(settings, run_id, track.MANIFEST, Path(work)))
    return found


def _online(settings: Settings) -> set[str]:
    """Snapshots that the online store is filled from: by its note and by its link."""
    kept, link = store.state(settings), settings.feast / "offline"
    found = {kept["snapshot"]["hash"]} if kept else set()
    return found | ({link.resolve().name} if link.is_symlink() else set())


def _protected(run: Run, wanted: Iterable[Needs]) -> policy.Protected:
    return protect.protected(wanted, _online(run.settings))


# -- steps -------------------------------------------------------------------------------------------------------
def plan(run: Run) -> Job:
    """What would go by the policy, for whom the rest is kept, and whether it goes. Removes nothing."""
    settings, now = run.settings, _wall(run)
    wanted = needs(run, common.ledger(run), now)
    kept = _protected(run, wanted)
    remove.undo(settings.home)
    entries, passed = inventory.take(settings.home)
    items = policy.plan(entries, kept, settings.retention, now)
    described = _described(settings, protect.pins(wanted, lake.catalog(settings.lake)["versions"]))
    size = sum(i.bytes for i in items)
    dry = _dry(run)
    said = f"{len(items)} things of {page.size(size)} would go, of {len(entries)} of {page.size(_bytes(entries))}."
    missing = [f"{who}: MLflow has no manifest of it; {_UNKNOWN}" for who in protect.unknown(wanted)]
    own = [(n.who, _bytes(e for e in entries if (e.kind, e.key) in n.named()), ", ".join(_named(n))) for n in wanted]
    counted = page.kinds(entries, items, kept)
    file = write_json(run.page.parent / "plan.json", [{**asdict(i), "touched": i.touched.isoformat()} for i in items])
    reached("maintain.plan.file")
    lead = said + (" This run only says so." if dry else " It goes in the tasks after this one.")
    page.write_plan(run.page, lead, counted, items, own, described, [*passed, *missing])
    reached("maintain.plan.page")
    goes = {kind: n["goes"] for kind, n in counted.items() if n["goes"]}
    return {"file": str(file), "dry_run": dry, "things": len(items), "bytes": size, "kinds": goes}


def clean(run: Run, job: Job) -> Job:
    """Let go what was planned, if it is still as it was and still nobody needs it. Reports are packed first."""
    if job["dry_run"]:
        raise Skip(f"a dry run: {job['things']} things of {page.size(job['bytes'])} would go, nothing was touched")
    items = [Item(**{**i, "touched": datetime.fromisoformat(i["touched"])}) for i in read_json(Path(job["file"]))]

    def protected() -> policy.Protected:
        return _protected(run, needs(run, common.ledger(run), _wall(run)))

    done = remove.remove(run.settings.home, items, protected)
    said = f"{done.things} things of {page.size(done.bytes)} have gone, {done.archived} of them packed into archive/."
    page.write_done(run.page, said, done.kinds, done.stayed)
    reached("maintain.clean.page")
    return {"things": done.things, "bytes": done.bytes, "archived": done.archived, "stayed": len(done.stayed)}


def compact(run: Run, job: Job, cleaned: Job) -> Job:  # noqa: ARG001 — `cleaned` only orders the tasks
    """Tables: many small files become one, and files go that no young or pinned version refers to."""
    settings = run.settings
    keep, most = timedelta(days=settings.retention.vacuum), settings.retention.compact_files
    wanted = needs(run, common.ledger(run), _wall(run))
    pinned = protect.pins(wanted, lake.catalog(settings.lake)["versions"])
    unsure, done = protect.unknown(wanted), dict[str, Any]()
    for table in _present(settings):
        path = lake.path(settings.lake, table)
        tables.guard(path, keep)
        gone = _forget(run) if table is PREDICTIONS else 0
        # the collector's own way takes its lock: a commit of its must not lose against this
        count = spool.compact(settings) if table is PREDICTIONS else tables.compact(path, most)
        files, size = (0, 0) if unsure else tables.vacuum(path, pinned.get(table.name, ()), keep)
        done[table.name] = {"compacted": count, "files": files, "bytes": size, "forgotten": gone}
    total = {k: sum(d[k] for d in done.values()) for k in ("compacted", "files", "bytes", "forgotten")}
    said = f"{total['compacted']} days compacted; {total['files']} files of {page.size(total['bytes'])} have gone."
    page.write_tables(run.page, said, done)
    reached("maintain.compact.page")
    return total


def idle(run: Run) -> Job:
    """Features, views and models that nobody uses: a page, and a notice when it is others than last time."""
    engine, now = common.ledger(run), parse(run.now())
    specs = {name: registry.load(name) for name in registry.names()}
    measured, resting = {}, {}
    for name, spec in specs.items():
        live = common.champion(engine, name)
        if live is None:  # nobody can use it yet
            continue
        if why := _idle(run.settings, live, now):
            resting[name] = why
        model = bundle.load(live.bundle)
        rows = data.matrix(data.split(spec, data.read(run.settings, live.frame)).holdout, model.features)
        some = rows[np.linspace(0, len(rows) - 1, min(_ROWS, len(rows))).astype(int)]
        measured[name] = unused.effects(partial(bundle.predict, model), some, model.features)
    found = unused.report(VIEWS, {name: spec.features for name, spec in specs.items()}, measured, resting)
    page.write_unused(run.page, found, measured)
    reached("maintain.idle.page")
    said = unused.sentences(found)
    _tell(run, said)
    return {"unused": len(said), "first": said[:10]}


def _tell(run: Run, said: list[str]) -> None:
    if not said:
        alerts.resolve(run.settings, "unused", "Every feature and model is used by somebody", run.now())
        return
    alert = alerts.Alert(
        group="unused",
        state=hash_value(said)[:12],
        title=f"Used by nobody, of features, views and models: {len(said)}",
        cause="; ".join(said[:5]) + ("; …" if len(said) > 5 else ""),
        action="Nothing was changed. What nobody needs can be taken out of include/contracts.py or include/models.",
        time=run.now(),
        severity="notice",
        runbook="maintain",
        link=alerts.link(run.name, "idle"),
    )
    alerts.send(run.settings, alert)


def _idle(settings: Settings, live: book.Version, now: datetime) -> str | None:
    """Why a model counts as unused: nobody has asked it for so many days of data time, one by one or in a batch."""
    since = now - timedelta(days=settings.retention.unused_days)
    if parse(live.as_of) > since or _asked(settings, live.model, since):
        return None
    return f"its champion, version {live.version}, has predicted nothing since {iso(since)}"


def _asked(settings: Settings, model: str, since: datetime) -> bool:
    if spool.read(settings, model, since=since, columns=["at"]).num_rows:
        return True
    return _scored(settings, model, day(since))


def _scored(settings: Settings, model: str, first: str) -> bool:
    try:
        version = lake.version(settings.lake, SCORES)
    except lake.UnknownVersion:
        return False
    rows = lake.read(settings.lake, SCORES, version, days=(first, "9999"), columns=["model"])
    return model in rows["model"].unique().to_pylist()


# -- small things --------------------------------------------------------------------------------------------------
def _dry(run: Run) -> bool:
    """What the form says; without it a schedule cleans, and whoever triggers by hand is told only."""
    asked = run.params.get("dry_run")
    return not run.name.partition("/")[2].startswith("scheduled__") if asked is None else bool(asked)


def _wall(run: Run) -> datetime:
    looked = run.looked or run.wall
    if looked is None:
        raise Stop("nobody says what time it is: ages cannot be told. Nothing was touched")
    return parse(looked)


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _bytes(entries: Iterable[inventory.Entry]) -> int:
    return sum(e.bytes for e in entries)


def _named(need: Needs) -> list[str]:
    return [f"{kind} {key[:12]}" for kind, key in need.named()]


def _present(settings: Settings) -> list[Table]:
    """The tables that were ever written. A table that is a symlink is left alone."""
    paths = {table.name: lake.path(settings.lake, table) for table in _TABLES}
    return [t for t in _TABLES if (paths[t.name] / "_delta_log").is_dir() and not paths[t.name].is_symlink()]


def _described(settings: Settings, pinned: dict[str, list[int]]) -> dict[str, Any]:
    keep, most = timedelta(days=settings.retention.vacuum), settings.retention.compact_files
    return {
        t.name: tables.describe(lake.path(settings.lake, t), pinned.get(t.name, ()), keep, most)
        for t in _present(settings)
    }


def _forget(run: Run) -> int:
    days = run.settings.retention.predictions
    if days is None:
        return 0
    before = day(parse(run.now()) - timedelta(days=days))
    return tables.forget(lake.path(run.settings.lake, PREDICTIONS), before)
