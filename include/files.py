"""Files that are never seen half-written, and hashes of content."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from include.contracts import Ref


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to the yielded path; it takes the place of `path` only when the block ends well. A folder must be new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    part = work / path.name
    try:
        yield part
        if part.is_dir() and path.is_dir():
            raise FileExistsError(f"{path}: a folder cannot be swapped in one step; give each content its own name")
        if part.is_file():
            with part.open("rb") as written:
                os.fsync(written.fileno())
        part.replace(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a file, which is made, for the block; whether it is held, without `wait` it may be another's.
    A process that is killed lets go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def used_again(path: Path) -> bool:
    """Whether a file or folder that is named by its content is there already. It counts as young from now on, so that
    upkeep, which goes by age, does not take it away from whoever is about to use it."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except PermissionError:  # another user's: whoever may not touch it may not remove it either
        return True
    return True


def write_text(path: Path, text: str) -> Path:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    return write_text(path, canonical_json(value, indent=2) + "\n")


def keep(folder: Path, suffix: str, write: Callable[[Path], object]) -> Ref:
    """What `write` writes to the path it is given, kept as <folder>/<SHA-256><suffix>: equal content, equal file."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as work:
        part = Path(work) / f"new{suffix}"
        write(part)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        digest = hash_file(part)
        target = folder / f"{digest}{suffix}"
        part.replace(target)
    return Ref(uri=str(target), version=digest[:12], hash=digest)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def canonical_json(value: Any, indent: int | None = None) -> str:
    """The one JSON text of a value: keys sorted, NaN refused, so that equal values have equal hashes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent, default=str)


def hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def hash_value(value: Any) -> str:
    return hash_text(canonical_json(value))


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_folder(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below a folder."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return hash_value({p.relative_to(folder).as_posix(): hash_file(p) for p in files})
