"""`make demo`: start the stack, play the story, start the clock, print the report."""

from __future__ import annotations

import sys
import time

import httpx

from include.files import write_json
from scripts.demo import airflow, drive, follow, release, report
from scripts.demo.story import chapters
from scripts.stack import control
from scripts.stack.config import BadPort, Stack, from_environment

_LIVE = ("ingest", "monitor", "train", "release", "collect", "score", "sweep", "maintain")


def main() -> int:
    begin = time.monotonic()
    try:
        stack = control.up(from_environment(), _say)
        with airflow.connect(stack) as client:
            played = _play(client, stack)
            found = report.build(client, stack, played, time.monotonic() - begin)
    except (control.StackError, BadPort, follow.DemoFailed) as error:
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


def _play(client: httpx.Client, stack: Stack) -> list[follow.Played]:
    story = chapters(stack.settings)
    drive.wait_for_dags(client, {chapter.dag for chapter in story} | set(_LIVE), _say)
    for dag in _LIVE:  # before the clock has started, what a schedule starts ends at once
        airflow.unpause(client, dag)
    played: list[follow.Played] = []
    for chapter in story:
        before = [one for one in played if one.state != release.NOT_NEEDED]
        played.append(drive.play(client, stack, chapter, before[-1] if before else None, _say))
    return played


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
