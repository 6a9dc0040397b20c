"""A folder packed into one file: archive/<month>/<…>.tar.gz, the same bytes for the same content."""

from __future__ import annotations

import gzip
import os
import tarfile
from datetime import datetime
from pathlib import Path

from include.files import hash_text, replacing

FOLDER = "archive"
_LONGEST = 200  # characters of a name; file systems take 255 bytes


def place(path: str, touched: datetime) -> str:
    """Where the folder at `path` (below home, e.g. reports/train/<run>) is packed to: a month's folder, the DAG's name,
    the run's."""
    parts = Path(path).parts
    name = parts[-1] if len(parts[-1]) <= _LONGEST else f"{parts[-1][:_LONGEST]}-{hash_text(parts[-1])[:12]}"
    return f"{FOLDER}/{touched:%Y-%m}/{parts[-2]}/{name}.tar.gz"


def pack(home: Path, path: str, touched: datetime) -> Path:
    """Pack a folder; packing it again makes the same file. Symlinks are kept as such. The file is as old as what is in
    it, so that it ages on."""
    source, target = home / path, home / place(path, touched)
    with replacing(target) as part:
        with (
            part.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for file in sorted(source.rglob("*")):
                entry = tar.gettarinfo(file, (Path(path) / file.relative_to(source)).as_posix())
                if entry is None:  # a socket
                    continue
                entry.mtime = int(entry.mtime)
                if entry.isreg():
                    with file.open("rb") as content:
                        tar.addfile(entry, content)
                else:
                    tar.addfile(entry)
        os.utime(part, (touched.timestamp(), touched.timestamp()))
    return target
