"""Where a model version comes from and why it is where it is: `make why VERSION=3`."""

from __future__ import annotations

import argparse
import sys

from include.loop import why
from include.release import ledger
from include.settings import settings
from include.training import track


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", type=int, help="version of the model, e.g. 3")
    version = parser.parse_args().version
    try:
        track.check_server(settings())
        print(why.text(why.why(settings(), version)), end="")
    except (ledger.UnknownVersion, track.Missing) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
