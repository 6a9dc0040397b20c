"""Train a registered model version once more from its manifest: `make reproduce VERSION=3`.

Exit status: 0 identical, 1 different, 2 not possible (a version, the frame or MLflow is missing).
"""

from __future__ import annotations

import argparse
import sys

from include.settings import settings
from include.training import reproduce, track


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="version of the registered model, e.g. 3")
    parser.add_argument("--model", default=None, help="name of the model (default: RATCHET_MODEL)")
    arguments = parser.parse_args()
    try:
        track.check_server(settings())
        report = reproduce.reproduce(settings(), arguments.version, arguments.model)
    except track.Missing as error:
        print(error, file=sys.stderr)
        return 2
    print(reproduce.text(report), end="")
    return {True: 0, False: 1, None: 2}[report["identical"]]


if __name__ == "__main__":
    sys.exit(main())
