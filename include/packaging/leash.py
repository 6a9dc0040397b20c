"""Keeps a service on a leash: it ends when whoever started it ends, however that happens.

`python leash.py <home> <commands>` runs the commands (JSON, a list of lists) one after the other inside of `home`, and
ends all processes there as soon as its standard input closes. A killed parent closes it too, so a rehearsal that dies
half-way leaves neither a server nor files. A process group would not do: BentoML's supervisor puts its worker into a
session of its own, so processes are found by their working directory instead.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

ORDERLY = b"."  # sent before closing: the parent lives, and removes the files itself
_PATIENCE = 2.0  # seconds for an orderly end; BentoML takes 0.4


def inside(home: Path) -> list[psutil.Process]:
    """Processes whose working directory is `home` or below it."""
    found = []
    for process in psutil.process_iter():
        try:
            cwd = Path(process.cwd())
        except (psutil.Error, OSError):
            continue  # gone, a zombie, or somebody else's
        if process.pid != os.getpid() and (cwd == home or home in cwd.parents):
            found.append(process)
    return found


def stop(home: Path) -> int:
    """End all processes inside of `home`, first politely. Returns how many there were."""
    count = 0
    home = home.resolve()
    for attempt in range(5):
        running = inside(home)
        if not running:
            break
        count = max(count, len(running))
        for process in running:
            try:
                process.terminate() if attempt == 0 else process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(running, timeout=_PATIENCE)
    return count


def _run(command: list[str], home: Path) -> tuple[int | None, bool]:
    """Run until the command ends or standard input closes: its exit code, and whether the parent is gone."""
    with (home / "service.log").open("ab") as log:
        child = subprocess.Popen(command, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    while child.poll() is None:
        if select.select([0], [], [], 0.1)[0]:
            orphaned = os.read(0, 1) != ORDERLY
            stop(home)
            child.wait()
            return None, orphaned
    return child.returncode, False


def main(home: Path, commands: list[list[str]]) -> int:
    code: int | None = 0
    for command in commands:
        code, orphaned = _run(command, home)
        if orphaned:
            shutil.rmtree(home, ignore_errors=True)
        if code != 0:
            break
    return code or 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
