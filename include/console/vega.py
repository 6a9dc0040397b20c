"""Vega, Vega-Lite and vega-embed as one script: made once from the wheel vl-convert-python, nothing from the network.

The wheel carries V8 to make it, so this happens in a process of its own: the api-server never loads it. The script
sets `window.vegaEmbed`.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from include import files
from include.settings import Settings

_WHEEL = "vl-convert-python"
_MAKE = "import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle(sys.argv[1]).encode())"
_SNIPPET = "window.vegaEmbed = vegaEmbed;"
_PATIENCE = 120  # seconds; it takes about 4


class Unmade(RuntimeError):
    """The script could not be made: the pages show their tables instead of charts."""


@cache
def tag() -> str:
    """What changes with the script's content."""
    return version(_WHEEL)


def script(settings: Settings) -> Path:
    """The script's file, made if it is missing. Raises Unmade, which says why."""
    path = settings.home / "console" / f"vega-{tag()}.js"
    if not path.is_file():
        with files.locked(path.with_suffix(".lock")):  # one process makes it, the others wait for that
            if not path.is_file():
                files.write_text(path, _make())
    return path


def _make() -> str:
    command = [sys.executable, "-c", _MAKE, _SNIPPET]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", b"") or b""
        last = told.decode(errors="replace").strip().rpartition("\n")[2]
        raise Unmade(f"{_WHEEL} gave no script ({last or error}): install the locked requirements") from error
    return done.stdout.decode()
