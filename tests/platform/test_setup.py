"""`make setup`: clear words, and a stamp that is only written when all is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from include.settings import ROOT

# a Python that notes what it was asked to do, and fails at what the file `broken` names
PYTHON = """#!/bin/sh
echo "$*" >> "$LOG"
[ -f broken ] && case "$*" in *"$(cat broken)"*) exit 1 ;; esac
case "$*" in
  *"venv --clear"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
exit 0
"""
OLD = """#!/bin/sh
case "$*" in *version_info\\ \\<*) exit 1 ;; *print*) echo 3.9.2 ;; esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the locks and the script, and a PATH of its own."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "scripts" / "setup.sh", tmp_path / "scripts")
    for lock in ("requirements.txt", "requirements-dev.txt"):
        (tmp_path / lock).write_text("nothing==1\n")
    for tool in ("sh", "cat", "cut", "basename", "awk", "df", "sha256sum", "mkdir", "cp"):
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    return tmp_path


def tool(clone: Path, name: str, text: str) -> None:
    path = clone / "bin" / name
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def setup(clone: Path, lock: str = "requirements.txt") -> subprocess.CompletedProcess[str]:
    env = {"PATH": str(clone / "bin"), "LOG": str(clone / "log")}
    command = [str(shutil.which("sh")), "scripts/setup.sh", lock]
    return subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, timeout=60)


def asked(clone: Path) -> str:
    log = clone / "log"
    return log.read_text() if log.exists() else ""


def test_installs_once(clone: Path) -> None:
    tool(clone, "python3.12", PYTHON)
    first = setup(clone)
    assert first.returncode == 0, first.stderr
    assert "uv pip install" in asked(clone)
    assert "--no-deps" in asked(clone)
    (clone / "log").unlink()
    assert setup(clone).returncode == 0
    assert asked(clone) == ""


def test_installs_again_when_the_lock_changes(clone: Path) -> None:
    tool(clone, "python3.11", PYTHON)
    setup(clone)
    (clone / "requirements.txt").write_text("nothing==2\n")
    (clone / "log").unlink()
    setup(clone)
    assert "uv pip install" in asked(clone)
    assert "venv --clear" not in asked(clone)


def test_an_interrupted_install_is_done_again(clone: Path) -> None:
    tool(clone, "python3.11", PYTHON)
    (clone / "broken").write_text("uv pip install")
    broken = setup(clone)
    assert broken.returncode == 1
    assert "Run the same command again" in broken.stderr
    (clone / "broken").unlink()
    (clone / "log").unlink()
    assert setup(clone).returncode == 0
    assert "uv pip install" in asked(clone)


def test_a_half_made_environment_is_made_anew(clone: Path) -> None:
    tool(clone, "python3.11", PYTHON)
    (clone / ".venv" / "bin").mkdir(parents=True)
    assert setup(clone).returncode == 0
    assert "venv --clear" in asked(clone)


def test_the_development_lock_holds_the_other(clone: Path) -> None:
    tool(clone, "python3.11", PYTHON)
    setup(clone, "requirements-dev.txt")
    (clone / "log").unlink()
    assert setup(clone, "requirements.txt").returncode == 0
    assert asked(clone) == ""


def test_an_old_python_is_named(clone: Path) -> None:
    tool(clone, "python3", OLD)
    done = setup(clone)
    assert done.returncode == 1
    assert "Python 3.11 or newer" in done.stderr
    assert "python3 is 3.9.2, too old" in done.stderr
    assert not (clone / ".venv").exists()


def test_no_python_at_all(clone: Path) -> None:
    done = setup(clone)
    assert done.returncode == 1
    assert "none of python3.11" in done.stderr


def test_a_python_without_venv(clone: Path) -> None:
    tool(clone, "python3.11", PYTHON)
    (clone / "broken").write_text("ensurepip")
    done = setup(clone)
    assert done.returncode == 1
    assert "python3-venv" in done.stderr


def test_a_full_disk(clone: Path) -> None:
    tool(clone, "python3.11", PYTHON)
    tool(clone, "df", "#!/bin/sh\necho Filesystem blocks used available\necho disk 1 1 1048576\n")
    done = setup(clone)
    assert done.returncode == 1
    assert "1024 MB free" in done.stderr
    assert "Nothing was changed" in done.stderr
    assert asked(clone) == ""


def test_help_is_what_make_says_alone() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "make <target>" in done.stdout
    assert "  demo  " in done.stdout
