from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from include.packaging import leash

# with a child in a session and a folder of its own, as BentoML's supervisor has; `deaf` to requests to end
PAIR = (
    "import os, signal, subprocess, sys, time\n"
    "if 'deaf' in sys.argv:\n"
    "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "if 'child' not in sys.argv:\n"
    "    os.mkdir('below')\n"
    "    code = os.path.abspath(sys.argv[0])\n"
    "    subprocess.Popen([sys.executable, code, *sys.argv[1:], 'child'], cwd='below', start_new_session=True)\n"
    "open(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), f'pid-{os.getpid()}'), 'w').close()\n"
    "time.sleep(60)\n"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(leash, "_PATIENCE", 0.2)
    home = tmp_path / "home"
    home.mkdir()
    (home / "pair.py").write_text(PAIR)
    return home


def start(home: Path, *commands: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", leash.__file__, str(home), json.dumps(commands)], stdin=subprocess.PIPE, cwd="/"
    )


def both(home: Path) -> list[psutil.Process]:
    """The process and its child, once both run."""
    finder = [sys.executable, "-c", "import glob, time\nwhile len(glob.glob('pid-*')) < 2: time.sleep(0.01)"]
    subprocess.run(finder, cwd=home, timeout=20, check=True)
    return [psutil.Process(int(p.name.removeprefix("pid-"))) for p in home.glob("pid-*")]


def test_when_the_parent_is_gone_all_processes_and_files_go(home: Path) -> None:
    holder = start(home, [sys.executable, "pair.py", "deaf"])
    processes = both(home)
    assert len(processes) == 2
    assert holder.stdin
    holder.stdin.close()  # what the kernel does to the pipe of a killed parent
    holder.wait(timeout=20)
    assert psutil.wait_procs(processes, timeout=5)[1] == []
    assert not home.exists()


def test_an_orderly_end_leaves_the_files_to_the_parent(home: Path) -> None:
    holder = start(home, [sys.executable, "pair.py"])
    processes = both(home)
    holder.communicate(leash.ORDERLY, timeout=20)
    assert psutil.wait_procs(processes, timeout=5)[1] == []
    assert (home / "service.log").exists()


def test_a_retry_finds_what_a_killed_leash_left(home: Path) -> None:
    holder = start(home, [sys.executable, "pair.py", "deaf"])
    processes = both(home)
    holder.kill()
    holder.wait()
    assert all(p.is_running() for p in processes)
    assert leash.stop(home) == 2
    assert psutil.wait_procs(processes, timeout=5)[1] == []


def test_only_processes_inside_of_the_home_are_ended(home: Path) -> None:
    neighbour = home.with_name("home-2")
    neighbour.mkdir()
    other = subprocess.Popen([sys.executable, "-c", "input()"], cwd=neighbour, stdin=subprocess.PIPE)
    assert leash.stop(home) == 0
    assert other.poll() is None
    other.communicate(b"\n", timeout=10)


def test_commands_run_in_order_and_the_first_failure_ends_them(home: Path) -> None:
    say = [sys.executable, "-c", "print('one', flush=True)"]
    holder = start(home, say, [sys.executable, "-c", "raise SystemExit(3)"], say)
    assert holder.wait(timeout=20) == 3
    assert (home / "service.log").read_text() == "one\n"
