"""Where a version comes from and why it is where it is: `make why VERSION=3`. What was live when: `make why AT=…`."""

from __future__ import annotations

import argparse
import sys

from include import times
from include.loop import why
from include.release import ledger
from include.settings import settings
from include.training import track


def main() -> int:
    parser = argparse.ArgumentParser(prog="make why", usage="make why VERSION=3, or make why AT=2026-11-21T10:15:00Z")
    parser.add_argument("version", type=int, nargs="?", help="version of the model, e.g. 3")
    parser.add_argument("--at", help="a time, UTC unless it says otherwise")
    asked = parser.parse_args()
    if (asked.version is None) == (asked.at is None):
        parser.error("say VERSION=… or AT=…")
    try:
        if asked.at is not None:
            print(why.live_text(why.live(settings(), times.parse(asked.at))), end="")
        else:
            track.check_server(settings())
            print(why.text(why.why(settings(), asked.version)), end="")
    except (ledger.UnknownVersion, track.Missing, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
