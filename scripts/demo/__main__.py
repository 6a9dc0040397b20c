"""`make demo`: start the stack, play the story, start the clock, print the report."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

import httpx

from include import clock
from include.files import write_json
from scripts.demo import airflow, drive, report
from scripts.demo.story import chapters
from scripts.stack import control
from scripts.stack.config import BadPort, Stack, from_environment

_LIVE = ("ingest", "monitor", "train")


def main() -> int:
    begin = time.monotonic()
    try:
        stack = control.up(from_environment(), _say)
        with airflow.connect(stack) as client:
            played = _play(client, stack)
            _go_live(client, stack)
            found = report.build(client, stack, played, time.monotonic() - begin)
    except (control.StackError, BadPort, drive.DemoFailed) as error:
        print(f"\nThe demo stopped.\n{error}", file=sys.stderr)
        return 1
    except httpx.HTTPError as error:
        print(f"\nThe demo stopped: Airflow did not answer as it should ({error}).", file=sys.stderr)
        print("`make status` and `make logs NAME=api-server` say more; `make demo` again goes on.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nInterrupted. Runs go on; `make demo` again follows them, `make down` stops the stack.", file=sys.stderr
        )
        return 130
    path = write_json(stack.home / "demo" / "report.json", found)
    path.chmod(0o600)
    print(report.text(found))
    return 0


def _play(client: httpx.Client, stack: Stack) -> list[drive.Played]:
    story = chapters(stack.settings)
    drive.wait_for_dags(client, {chapter.dag for chapter in story}, _say)
    played: list[drive.Played] = []
    for chapter in story:
        played.append(drive.play(client, stack, chapter, played[-1] if played else None, _say))
    return played


def _go_live(client: httpx.Client, stack: Stack) -> None:
    """From here on the schedules run: data time goes on from the anchor, with the wall clock."""
    settings = stack.settings
    clock.start(settings.home / "clock.json", datetime.now(UTC), settings.anchor, settings.speed)
    for dag in _LIVE:
        airflow.unpause(client, dag)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
