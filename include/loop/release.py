"""Steps of the `release` DAG: a challenger's way to champion, or out: shadow -> approval -> canary steps -> promoted.

What is judged is pure (include/release/rollout.py); here it is fed and carried out. Every move is one compare-and-set
in the ledger, so a look that is repeated, late or killed half-way moves nothing twice, and a release whose challenger
was superseded ends by itself.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

import pandas as pd
import sqlalchemy as sa

from include import alerts, lake, times
from include.contracts import ENTITY, OUTCOME, TARGET
from include.crashpoints import reached
from include.files import read_json, write_json
from include.loop import common
from include.loop.common import Job
from include.loop.run import Run, Skip, Stop
from include.models import registry
from include.models.spec import Rollout
from include.packed import code_hash
from include.release import ledger as book
from include.release import observe, page, releases, rollout
from include.release.ledger import Deployment
from include.serving import collect as spool

log = logging.getLogger(__name__)
_RED = {  # kinds of decisions after which the run is red: what happened, what to do
    "rollback": ("was rolled back", "Read the task's Report; mend, and train anew."),
    "expired": ("got no answer in time", "Trigger `release` with its version to ask again."),
}
_REJECTED = "Reject"  # Airflow's word
_COLUMNS = (
    *("prediction_id", "role", "version", "generation", "stage", ENTITY, "sched_dep", "probability", "error", "stale"),
    *("latency_us", "model_us", "weight", "at"),
)
_REPLAYED = timedelta(days=30)  # how far back of the release the times of replayed requests may lie


# -- begin -------------------------------------------------------------------------------------------------------
def plan(run: Run) -> Job:
    """Which challenger is released against which champion; it begins in shadow. Nothing to do without a challenger."""
    ledger, name = common.ledger(run), run.settings.model
    live = book.current(ledger, name)
    begun = releases.of_run(ledger, run.name)
    if begun is None:
        version, against = _sides(run, ledger, live)
        policy = registry.load(name).rollout.model_dump(mode="json")
        begun = releases.begin(ledger, name, version, against, policy, run.now(), run.actor or "release", run.name)
    job: Job = {
        "model": name,
        "version": begun.version,
        "champion": begun.champion,
        "release": begun.id,
        "as_of": begun.as_of,
    }
    if not any(row["release"] == begun.id for row in book.deployed(ledger, name)):
        if live.champion != begun.champion or (live.challenger not in (None, begun.version) and not _asked(run)):
            raise Skip(f"release {begun.id} of version {begun.version} was superseded before it began")
        reason = f"Release {begun.id}: version {begun.version} is scored beside champion {begun.champion}."
        if live.challenger not in (None, begun.version):
            reason += f" It supersedes version {live.challenger}, which waited."
        _deploy(run, job, live, book.SHADOW, reason)
    _mirror(run, job)
    return job


def _asked(run: Run) -> int | None:
    """The version that the form names."""
    asked: int | None = run.params.get("version")
    return asked


def _sides(run: Run, ledger: sa.Engine, live: Deployment) -> tuple[int, int]:
    """The version to release and the champion to release it against."""
    version = _asked(run) or live.challenger
    if live.champion is None:
        raise Skip("there is no champion yet: the first model that passes its gate becomes it, without a release")
    if version is None:
        raise Skip("no challenger waits for its release")
    if version == live.champion:
        raise Stop(f"version: {version} is the champion already; nothing was changed")
    try:
        found = book.version(ledger, live.model, version)
    except book.UnknownVersion as error:
        raise Stop(f"version: {error}; nothing was changed") from error
    _check_code(run, found)
    return version, live.champion


def _check_code(run: Run, found: book.Version) -> None:
    """A challenger is served by the code that it was rehearsed with, or not at all."""
    if found.code_hash is None:
        return
    if found.code_hash != code_hash():
        raise Stop(
            f"version {found.version} was packaged and rehearsed with other code of the service, which does not load "
            "it: train it again. Nothing was changed"
        )
    running = {s.get("code_hash") for s in _service(run)}
    if running and found.code_hash not in running:
        raise Stop(
            "the running service is older than its code, with which this version was rehearsed: start it anew "
            "(`make up` does), then clear this task. Nothing was changed"
        )


def _service(run: Run) -> list[Job]:
    """What the workers of the service say of themselves (include/loop/serve.py); a killed one's word does not count,
    once its log has been collected."""
    said = [read_json(file) for file in sorted((run.settings.home / "service").glob("*.json"))]
    return [state for state in said if (run.settings.predictions / state["worker"]).exists()]


# -- stages ------------------------------------------------------------------------------------------------------
def shadow(run: Run, job: Job) -> Job | None:
    """One look at the shadow: None while there is too little to say."""
    if _mine(run, job).stage != book.SHADOW:  # a retry of a look that has moved it on
        return {"reason": "the shadow was complete before", "text": ""}
    return _look(run, job)


def ask(run: Run, job: Job, shadowed: Job) -> Job:
    """What a person is asked, with the evidence. Skipped where the spec lets releases pass without one."""
    if not _policy(run, job).approval:
        raise Skip("this model's releases need no approval")
    live = _mine(run, job)
    if not shadowed:
        raise Stop("the shadow has shown nothing yet: clear the task `shadow`")
    if live.stage == book.SHADOW:
        _deploy(run, job, live, book.APPROVAL, "the shadow is complete: waits for an approval")
    hours = _policy(run, job).approval_hours
    what = f"Approve or reject it within {hours:g} hours: Required Actions, in Airflow. Unanswered, it expires."
    _alert(run, job, "asked", "waits for an approval", shadowed["text"].split("\n")[0], what, alerts.NOTICE)
    return {"subject": f"Release {job['model']} version {job['version']}?", "text": shadowed["text"]}


def answered(run: Run, job: Job, answer: Job | None) -> Job:
    """Enter the answer in the ledger. A rejection ends the release; so does an answer that did not come in time."""
    live = _mine(run, job)
    if not _policy(run, job).approval:
        return {"answer": "not needed"}
    if answer is None:
        raise Stop("the approval gave no answer: clear the task `approval`")
    who = (answer.get("responded_by_user") or {}).get("name") or ""
    chosen = (answer.get("chosen_options") or [_REJECTED])[0]
    given = releases.EXPIRED if not who else releases.REJECTED if chosen == _REJECTED else releases.APPROVED
    note = str((answer.get("params_input") or {}).get("reason") or "").strip()
    said = releases.answer(common.ledger(run), job["release"], given, who or "nobody", note or "no reason given")
    entry = common.decision(run, {**job, "as_of": run.now()}, said.answer, said.reason, job["version"], {})
    book.record(common.ledger(run), replace(entry, actor=said.actor))  # in the name of who answered, not of the run
    if said.answer != releases.EXPIRED:
        _over(run, job, f"was {said.answer} by {said.actor}")
    if said.answer == releases.APPROVED:
        return {"answer": said.answer, "actor": said.actor, "reason": said.reason}
    reason = f"release {job['release']} of version {job['version']} was {said.answer} ({said.actor}: {said.reason})"
    _deploy(run, job, live, "", reason, kind=said.answer)
    if said.answer == releases.REJECTED:
        raise Skip(reason)
    _alert_red(run, job, "expired", reason)
    raise Stop(reason)


def canary(run: Run, job: Job) -> Job | None:
    """One look at the canary; the first one after an approval lets it begin. None while a step is not complete."""
    if _mine(run, job).stage not in (book.APPROVAL, book.CANARY):
        raise Stop("the shadow is not complete: clear the task `shadow`; nothing was moved")
    return _look(run, job)


def promote(run: Run, job: Job) -> Job:
    """The challenger becomes champion, on a look of its own: whatever was marked, cleared or waited for before, nothing
    is promoted whose evidence does not hold now."""
    ledger = common.ledger(run)
    live = book.current(ledger, job["model"])
    if live.champion != job["version"]:
        live = _mine(run, job)
        if live.stage != book.CANARY:
            raise Stop("its canary has not begun: clear the task `canary`; nothing was promoted")
        move, seen, _ = _judge(run, job, live)
        if move.kind != "promote":
            _carry_out(run, job, live, move, seen, "")
            raise Stop(f"{move.reason} Nothing was promoted: clear the task `canary`, which goes on.")
        now = {**job, "as_of": run.now()}
        decision = common.decision(run, now, "promotion", move.reason, job["version"], seen.model_dump(mode="json"))
        try:
            live = book.deploy(ledger, live, decision, champion=job["version"], challenger=None, release=job["release"])
        except book.Frozen as error:
            raise Stop(f"{error}. Lift it with `freeze`, then clear the task `canary`, which goes on") from error
    _mirror(run, job)
    _over(run, job, "is champion")
    return {"model": job["model"], "version": job["version"], "before": job["champion"], "generation": live.generation}


# -- one look ----------------------------------------------------------------------------------------------------
def _look(run: Run, job: Job) -> Job | None:
    """Collect, observe, decide, carry out. Returns what later tasks need once this one's stages are passed."""
    live = _mine(run, job)
    move, seen, text = _judge(run, job, live)
    return _carry_out(run, job, live, move, seen, text)


def _judge(run: Run, job: Job, live: Deployment) -> tuple[rollout.Move, observe.Observation, str]:
    """The move to make now, what was seen, and both in words; its page and its numbers are written."""
    policy, state = _policy(run, job), _state(run, job, live)
    seen = _observe(run, job, live, times.parse(run.now()))
    move = rollout.decide(policy, seen, state, releases.approval(common.ledger(run), job["release"]))
    if move.kind == "promote" and (ice := book.frozen(common.ledger(run), job["model"])):
        reason = f"On hold: every stage is complete, and {job['model']} is frozen by {ice.actor}: {ice.reason}."
        move = move.model_copy(update={"kind": "hold", "reason": reason})
    about = f"{job['model']} version {job['version']} against champion {job['champion']}"
    page.write(policy, seen, state, move, run.page, about)
    write_json(run.page.parent / "observation.json", seen.model_dump(mode="json"))
    reached("release.look.page")
    return move, seen, page.evidence_text(policy, seen, move)


def _carry_out(
    run: Run, job: Job, live: Deployment, move: rollout.Move, seen: observe.Observation, text: str
) -> Job | None:
    numbers = seen.model_dump(mode="json")
    done = {"reason": move.reason, "text": text, "numbers": numbers}
    if move.kind == "roll_back":
        _deploy(run, job, live, "", move.reason, kind="rollback", evidence=numbers)
        _alert_red(run, job, "rollback", move.reason)
        raise Stop(move.reason)
    if move.kind == "hold":
        _alert(
            run, job, f"held/{live.generation}", "is on hold", move.reason, "It goes on by itself when that changes."
        )
    elif move.kind == "ask":
        return done  # the stage changes when the question is put
    elif move.kind == "advance":
        _deploy(run, job, live, book.CANARY, move.reason, share=move.share, evidence=numbers)
        return done if live.stage == book.SHADOW else None
    elif move.kind == "promote":
        return done
    return None


def _observe(run: Run, job: Job, live: Deployment, now: datetime) -> observe.Observation:
    """What the log and the labels known by `now` say of this release."""
    ledger, name = common.ledger(run), job["model"]
    common.collect(run)
    mine = [row for row in book.deployed(ledger, name) if row["release"] == job["release"]]
    rows = spool.read(
        run.settings,
        name,
        since=times.parse(job["as_of"]) - _REPLAYED,
        versions=(job["champion"], job["version"]),
        columns=_COLUMNS,
    ).to_pandas()
    rows = rows[rows["generation"] >= mine[0]["generation"]]
    seen_by = [book.version(ledger, name, v).trained_until for v in (job["champion"], job["version"])]
    return observe.observe(
        rows,
        _labels(run, rows, now),
        champion=job["champion"],
        challenger=job["version"],
        stage=live.stage,
        stage_since=times.parse(mine[-1]["as_of"]),
        release_since=times.parse(mine[0]["as_of"]),
        now=now,
        unseen_after=max(seen_by),
        maturity=registry.load(name).label_maturity,
        generation=live.generation,
        broken=_broken(run, live),
    )


def _broken(run: Run, live: Deployment) -> str | None:
    """Why no worker of the service that follows this deployment can load the challenger; None if one can."""
    following = [s for s in _service(run) if s["generation"] >= live.generation]
    reasons = [s["broken"].get(str(live.challenger)) for s in following]
    return str(reasons[0]) if reasons and all(reasons) else None


def _labels(run: Run, rows: pd.DataFrame, now: datetime) -> pd.DataFrame:
    """The outcomes, known by `now`, of the flights that were asked for."""
    version = lake.catalog(run.settings.lake)["versions"].get(OUTCOME.name)
    if version is None or rows.empty:
        return pd.DataFrame({ENTITY: pd.Series(dtype=str), TARGET: pd.Series(dtype="int64")})
    departures = rows["sched_dep"]
    days = (times.day(departures.min().to_pydatetime()), times.day(departures.max().to_pydatetime()))
    known = lake.read(run.settings.lake, OUTCOME, version, days, now, [ENTITY, TARGET]).to_pandas()
    return known[known[ENTITY].isin(set(rows[ENTITY]))].reset_index(drop=True)


# -- the ledger --------------------------------------------------------------------------------------------------
def _mine(run: Run, job: Job) -> Deployment:
    """What is live, if it is still this release's to move. Raises Skip when it ended or was superseded."""
    _mirror(run, job)  # also what a step has moved that was killed right afterwards
    live = book.current(common.ledger(run), job["model"])
    if live.release == job["release"] and live.challenger == job["version"]:
        return live
    mine = [row for row in book.deployed(common.ledger(run), job["model"]) if row["run"] == run.name]
    if mine and mine[-1]["kind"] in _RED:  # a retry of the task that took it out, and died before it could say so
        _alert_red(run, job, mine[-1]["kind"], mine[-1]["reason"])
        raise Stop(mine[-1]["reason"])
    if live.champion == job["version"]:
        raise Skip(f"version {job['version']} is champion: release {job['release']} is over")
    now = f"version {live.challenger} is the challenger" if live.challenger else "there is no challenger"
    raise Skip(f"release {job['release']} of version {job['version']} is over or was superseded: {now} by now")


def _policy(run: Run, job: Job) -> Rollout:
    return Rollout(**releases.get(common.ledger(run), job["release"]).policy)


def _state(run: Run, job: Job, live: Deployment) -> rollout.State:
    if live.stage != book.CANARY:
        return rollout.State(stage="approval" if live.stage == book.APPROVAL else "shadow")
    return rollout.State(stage="canary", step=_policy(run, job).steps.index(live.share))


def _deploy(
    run: Run,
    job: Job,
    live: Deployment,
    stage: str,
    reason: str,
    kind: str = "",
    share: float = 0.0,
    evidence: Job | None = None,
) -> None:
    """Enter a move of this release: the challenger to another stage, or, without one, out."""
    challenger, release = (job["version"], job["release"]) if stage else (None, None)
    decision = common.decision(run, {**job, "as_of": run.now()}, kind or stage, reason, job["version"], evidence or {})
    decision = replace(decision, key=f"{run.name}/{kind or stage}/{live.generation}")  # one move a generation
    try:
        book.deploy(common.ledger(run), live, decision, live.champion, challenger, stage, share, release)
    except book.Superseded as error:
        raise Skip(f"{error}: another decision came first") from error
    _mirror(run, job)


def _mirror(run: Run, job: Job) -> None:
    """MLflow's aliases follow, now or at the next look: no release waits for MLflow, least of all one that is bad."""
    try:
        common.mirror(run, job["model"])
    except Exception as error:
        log.warning("MLflow's aliases do not say what the ledger says: %s", error)


def _alert_red(run: Run, job: Job, kind: str, reason: str) -> None:
    happened, todo = _RED[kind]
    _alert(run, job, kind, happened, reason, f"Champion {job['champion']} answers everything. {todo}")


def _alert(
    run: Run, job: Job, state: str, happened: str, cause: str, action: str, severity: Literal["page", "notice"] = "page"
) -> None:
    """One matter a model: how its newest release fares. The next promotion ends it."""
    title = f"Release {job['release']} of {job['model']} version {job['version']} {happened}"
    about: Job = {"runbook": "release", "link": common.link(run), "severity": severity}
    group, state = f"release/{job['model']}", f"{job['release']}/{state}"
    alerts.send(run.settings, alerts.Alert(group, state, title, cause, action, run.now(), **about))


def _over(run: Run, job: Job, happened: str) -> None:
    title = f"Release {job['release']} of {job['model']} version {job['version']} {happened}"
    alerts.resolve(run.settings, f"release/{job['model']}", title, run.now())
