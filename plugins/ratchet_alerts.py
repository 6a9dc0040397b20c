"""The notifier: failed tasks and missed deadlines become alerts, and what is pending is delivered.

Channels are the webhook of the settings, and every address of the Airflow connections of the type Apprise that the
settings name: one for everything, one for pages alone. docs/alerts.md says how to add them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseNotifier

from include import alerts, clock, delivery, failures, times
from include.delivery import Channel, Message
from include.failures import Task
from include.settings import Settings, settings

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
    time = data_time(state, datetime.now(UTC))
    if "deadline" in context:
        run = context["dag_run"]
        queued, manual = str(run["queued_at"]), run["run_type"] == "manual"
        missed = failures.late(run["dag_id"], run["dag_run_id"], queued, run["state"], time, manual)
        return missed is not None and alerts.send(state, missed)
    if "ti" not in context:
        return False
    alert = failures.failed(_task(context), _said(context.get("exception")), time)
    if failures.is_told(alert, alerts.unresolved(state), of_the_run="reason" in context):
        return False
    return alerts.send(state, alert)


def recovered(state: Settings, context: Mapping[str, Any]) -> None:
    """A task has succeeded: what was told of its failure, or of an earlier run that was late, is over. Never raises."""
    try:
        task = _task(context)
        if not alerts.mentions(state, (task.group, task.run_group)):
            return
        for group, title in failures.over(task, alerts.unresolved(state)):
            alerts.resolve(state, group, title, data_time(state, datetime.now(UTC)))
    except Exception as error:
        _log.error("an alert may be open that is over: %s", error)


def _task(context: Mapping[str, Any]) -> Task:
    ti, kind = context["ti"], context["dag_run"].run_type
    return Task(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        index=-1 if ti.map_index is None else ti.map_index,
        attempt=ti.try_number,
        manual=str(getattr(kind, "value", kind)) == "manual",
        doc=context["dag"].doc_md or "",
    )


def _said(error: Any) -> str:
    """An error in one line: with its kind, unless it is one of Airflow's, which only carry our words."""
    if error is None or isinstance(error, str) or type(error).__module__.startswith("airflow."):
        return str(error or "")
    return f"{type(error).__name__}: {error}"


def data_time(state: Settings, wall: datetime) -> str:
    """A wall time as the data's; before the clock has started, where it will start."""
    try:
        return times.iso(clock.load(state.home / "clock.json").at(wall))
    except clock.ClockNotStarted:
        return times.iso(state.anchor)


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

        logging.getLogger("apprise").setLevel(logging.INFO)  # at DEBUG it logs addresses, which hold tokens
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
