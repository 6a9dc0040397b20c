"""What is open, and which channel waits for what: `make alerts`. A test through every channel: `make alert-test`.

Exit status of the test: 0 all channels took it, 1 one did not; it is told why in the line before.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from datetime import UTC, datetime

from include import alerts, delivery
from include.alerts import Alert
from include.settings import Settings, settings

GROUP = "test"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make alerts", usage="make alerts, or make alert-test")
    parser.add_argument("--test", action="store_true", help="send a test through every channel")
    if parser.parse_args().test:
        logging.basicConfig(format="%(message)s")
        return test(settings())
    print(text(settings()), end="")
    return 0


def text(state: Settings) -> str:
    """Each open alert, newest first, as a channel is told of it."""
    told = alerts.unresolved(state)
    head = f"{len(told)} open; all {len(alerts.sent(state))} that were raised: {state.alerts}"
    base = os.environ.get("AIRFLOW__API__BASE_URL", "")  # set in the stack's environment: paths become links
    return "\n\n".join([head, *(f"{t['time']} {t['severity']}\n{alerts.text(t, base)}" for t in reversed(told))]) + "\n"


def test(state: Settings) -> int:
    """Raise an alert and end it, each delivered at once, and say which channels took both."""
    # as Airflow's own commands do: connections are read from its database, not asked of a task's supervisor
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    from plugins import ratchet_alerts

    now = datetime.now(UTC)
    time = ratchet_alerts.data_time(state, now)
    words = "Somebody asked for it: make alert-test.", "Nothing is to be done."
    alerts.send(state, Alert(GROUP, now.isoformat(), "Test: alerts arrive here", *words, time, link="/"))
    ratchet_alerts.deliver(state)
    alerts.resolve(state, GROUP, "the test is over", time)
    ratchet_alerts.deliver(state)
    found = ratchet_alerts.channels(state)
    behind = {name for name, channel in found.items() if delivery.pending(state, name, channel.only_pages)}
    print(f"file: {state.alerts}")
    for name in found:
        print(f"{name}: {'did not take it; it waits' if name in behind else 'took it'}")
    if not found:
        print("there is no other channel: see docs/alerts.md")
    return 1 if behind else 0


if __name__ == "__main__":
    sys.exit(main())
