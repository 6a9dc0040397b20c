"""The notifier: failed tasks and missed deadlines become alerts, and what is pending is delivered.

Channels are the webhook of the settings, and every address of the Airflow connections of the type Apprise that the
settings name: one for everything, one for pages alone. docs/alerts.md says how to add them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseNotifier

from include import alerts, clock, delivery, times
from include.alerts import Alert
from include.delivery import Channel, Message
from include.settings import Settings, settings

_ANY = re.compile(r"[0-9a-f]{8,}|\d+")  # what differs between two times of the same error: numbers, hashes
_BULLET = re.compile(r"^- (.*(?:\n  .*)*)", re.M)
_log = logging.getLogger("ratchet.alerts")


class RatchetNotifier(BaseNotifier):
    """As a callback of a failed task or a missed deadline: raise the alert for it, then deliver what is pending."""

    def notify(self, context: Any) -> None:
        tell(settings(), context)
        deliver(settings())

    async def async_notify(self, context: Any) -> None:
        """In the triggerer, where deadlines call: off its event loop, which other waits share."""
        from asgiref.sync import sync_to_async

        await sync_to_async(self.notify)(context)


# -- raise -------------------------------------------------------------------------------------------------------
def tell(state: Settings, context: Mapping[str, Any]) -> bool:
    """Raise the alert that a callback's context asks for. Returns whether one was raised."""
    wall = datetime.now(UTC)
    if "deadline" in context:
        return alerts.send(state, late(context["dag_run"], data_time(state, wall)))
    if "ti" not in context:
        return False
    alert = failed(context, data_time(state, wall))
    told = alerts.unresolved(state)
    if any(_is_same(alert, other) for other in told):
        return False
    return alerts.send(state, alert)


def failed(context: Mapping[str, Any], time: str) -> Alert:
    """A task that failed for good. The same error again, in this run or a later one, is no news until the task has
    succeeded; of a mapped task all instances of one try are one matter."""
    ti, run, error = context["ti"], context["dag_run"], context.get("exception")
    index = -1 if ti.map_index is None else ti.map_index
    said = _first_line(error)
    cause = said or "Its process ended without a word: killed, out of memory, or the machine was stopped."
    state = f"{ti.run_id} try {ti.try_number}" if index >= 0 else f"{type(error).__name__} {_ANY.sub('#', said)}"
    return Alert(
        group=f"failed/{ti.dag_id}/{ti.task_id}",
        state=state[:300],
        title=f"{ti.dag_id}: {ti.task_id} failed",
        cause=cause,
        action=advice(context["dag"].doc_md or "", ti.task_id),
        time=time,
        # who triggered a run by hand sits in front of it
        severity=alerts.NOTICE if _value(run.run_type) == "manual" else alerts.PAGE,
        runbook=ti.dag_id,
        link=alerts.link(f"{ti.dag_id}/{ti.run_id}", ti.task_id, index),
    )


def late(run: Mapping[str, Any], time: str) -> Alert:
    """A run that has not ended at its deadline. Each late run is told once."""
    dag_id, run_id = run["dag_id"], run["dag_run_id"]
    return Alert(
        group=f"late/{dag_id}",
        state=run_id,
        title=f"{dag_id}: a run is late",
        cause=f"It was queued at {run['queued_at']} and is {run['state']} after its deadline.",
        action="Nothing was stopped. See which task it stands at: one that waits for a slot, a pool or a retry, or one "
        "that takes longer than usual. Nothing runs at all? Look at `make status`.",
        time=time,
        runbook=dag_id,
        link=alerts.link(f"{dag_id}/{run_id}"),
    )


def recovered(state: Settings, context: Mapping[str, Any]) -> None:
    """A task has succeeded: what was told of its failure, or of an earlier run that was late, is over. Never raises."""
    try:
        for group, title in _over(alerts.unresolved(state), context["ti"]):
            alerts.resolve(state, group, title, data_time(state, datetime.now(UTC)))
    except Exception as error:
        _log.error("an alert may be open that is over: %s", error)


def _over(told: Sequence[Mapping[str, Any]], ti: Any) -> Iterator[tuple[str, str]]:
    run = alerts.link(f"{ti.dag_id}/{ti.run_id}")
    mapped = ti.map_index is not None and ti.map_index >= 0
    for alert in told:
        here = alert["link"] == run or alert["link"].startswith(f"{run}/")
        # one instance of a mapped task says nothing of the others, and no task how late its own run will be
        if alert["group"] == f"failed/{ti.dag_id}/{ti.task_id}" and not (mapped and here):
            yield alert["group"], f"{ti.dag_id}: {ti.task_id} succeeded"
        elif alert["group"] == f"late/{ti.dag_id}" and not here:
            yield alert["group"], f"{ti.dag_id}: a later run goes on"


def _is_same(alert: Alert, other: Mapping[str, Any]) -> bool:
    """Whether a step has told this already, in words of its own: same run, same cause."""
    run = alert.link.split("/tasks/")[0]
    return bool(alert.cause) and other["link"].startswith(f"{run}/") and alert.cause in other["cause"]


def advice(doc: str, task: str) -> str:
    """What a DAG's docs, its runbook, say to do when this task is red."""
    _, _, after = doc.partition("**When it fails")
    found = [" ".join(bullet.split()) for bullet in _BULLET.findall(after)]
    own = [text for text in found if re.match(rf"(`\w+` (or|and) )*`{re.escape(task)}`", text)]
    rest = [text for text in found if text.startswith("any ")]
    return (own or rest or ["Look at its log, then clear it."])[0]


def data_time(state: Settings, wall: datetime) -> str:
    """A wall time as the data's; before the clock has started, where it will start."""
    try:
        return times.iso(clock.load(state.home / "clock.json").at(wall))
    except clock.ClockNotStarted:
        return times.iso(state.anchor)


def _first_line(error: Any) -> str:
    lines = str(error).strip().splitlines() if error is not None else []
    name = "" if isinstance(error, str) or type(error).__module__.startswith("airflow.") else type(error).__name__
    return ": ".join(part for part in (name if error is not None else "", lines[0] if lines else "") if part)[:500]


def _value(run_type: Any) -> str:
    return str(getattr(run_type, "value", run_type))


# -- deliver -----------------------------------------------------------------------------------------------------
def deliver(state: Settings) -> int:
    """Deliver what is pending; returns how many messages were taken. Never raises: no task fails by its alerts."""
    try:
        return delivery.deliver(state, lambda: channels(state), datetime.now(UTC), base_url())
    except Exception as error:
        _log.error("alerts wait in %s, they could not be delivered: %s", state.alerts, type(error).__name__)
        return 0


def channels(state: Settings) -> dict[str, Channel]:
    """All ways to somebody that this installation has."""
    found = {"webhook": delivery.webhook(state.alert_webhook)} if state.alert_webhook else {}
    for name, only_pages in ((state.alert_connection, False), (state.page_connection, True)):
        try:
            addresses = _addresses(name)
        except Exception as error:  # a connection that cannot be read holds up no other channel
            addresses, found[f"{name}.0"] = [], Channel(_unreadable(name, type(error).__name__), only_pages)
        # each address on its own: one that is down is told later, the others not twice
        for i, address in enumerate(addresses):
            found[f"{name}.{i}"] = Channel(_apprise(address), only_pages)
    return found


def base_url() -> str:
    """Airflow's own address, as its configuration says it; empty where nobody said."""
    from airflow.configuration import conf

    return str(conf.get("api", "base_url", fallback="") or "")


def _addresses(connection: str) -> list[str]:
    """Apprise's addresses in a connection; none where there is no such connection."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    if not connection:
        return []
    try:
        found = BaseHook.get_connection(connection)
    except AirflowNotFoundException:
        return []
    from airflow.providers.apprise.hooks.apprise import AppriseHook

    config = AppriseHook(connection).get_config_from_conn(found)
    return [one["path"] for one in (config if isinstance(config, list) else [config])]


def _unreadable(name: str, why: str) -> Callable[[Message], None]:
    def post(_: Message) -> None:
        raise ConnectionError(f"the connection {name} cannot be read ({why}); see docs/alerts.md for its form")

    return post


def _apprise(address: str) -> Callable[[Message], None]:
    """The provider's hook does not say whether anybody took the message: Apprise itself does."""

    def post(message: Message) -> None:
        import apprise

        kinds = {alerts.PAGE: apprise.NotifyType.FAILURE, alerts.NOTICE: apprise.NotifyType.WARNING}
        # only the end of all that is open is a success: by it PagerDuty closes its incident
        kinds[delivery.GOOD] = apprise.NotifyType.INFO
        kind = kinds.get(message.kind, apprise.NotifyType.SUCCESS)
        service = apprise.Apprise()
        if not service.add(address):
            raise ValueError("the connection's path is no address that Apprise knows")
        if not service.notify(body=message.text, title=message.title, notify_type=kind, body_format="text"):
            raise ConnectionError("the service did not take the message")

    return post
