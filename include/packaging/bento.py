"""Pack one model as a Bento: the service's code, one bundle, a small lock, and labels that lead back to its training.

The archive is a pure function of its inputs, down to the byte, so a retry after a kill makes the same file. BentoML
itself runs in a process of its own (`compose.py`): it changes the working directory, reads its home once at import
and keeps configuration in globals, none of which a task's process should carry.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path

from include import crashpoints
from include.contracts import Ref
from include.files import hash_file, hash_folder, hash_value, read_json, replacing, used_again, write_json
from include.packed import CODE, LOCK, SERVICE, code_hash
from include.settings import ROOT, Settings


class PackagingFailed(RuntimeError):
    """BentoML did not build the Bento; the message ends with what it said."""


def build(settings: Settings, bundle: Ref, model: str, version: str, labels: Mapping[str, str]) -> Ref:
    """Make settings.bentos/<model>-<version>-<hash of all inputs>.bento.

    The reference's version is the Bento's tag, its hash the file's.

    The tag's version is `<model version>-<hash of all inputs>`. An archive with that tag is reused, one of other
    inputs (other code, say) is replaced. Raises ValueError when the bundle was altered, PackagingFailed.
    """
    version = str(version)
    if (content := hash_folder(Path(bundle["uri"]))) != bundle["hash"]:
        raise ValueError(f"bundle {bundle['uri']} has hash {content[:12]}, its reference says {bundle['hash'][:12]}")
    ours = {"model_name": model, "model_version": version, "bundle_hash": bundle["hash"], "code_hash": code_hash()}
    labelled = {**{k: str(v) for k, v in labels.items()}, **ours}
    inputs = {"labels": labelled, "bentoml": installed("bentoml"), "python": sys.version_info[:2]}
    tag = f"{model}:{version}-{hash_value(inputs)[:12]}".lower()
    archive = settings.bentos / f"{tag.replace(':', '-')}.bento"  # other code makes another file, none is overwritten
    if not used_again(archive) or tag_of(archive) != tag:
        with replacing(archive) as part:
            _compose(part.parent, Path(bundle["uri"]), tag, labelled)
            _archive(part.parent / "bento", part)
        crashpoints.reached("train.package.bento")
    return Ref(uri=str(archive), version=tag, hash=hash_file(archive))


def tag_of(archive: Path) -> str | None:
    """The tag written inside an archive; None when it is no Bento."""
    try:
        with tarfile.open(archive, "r:xz") as tar:
            file = tar.extractfile("bento.yaml")
            lines = file.read().decode().splitlines() if file else []
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, KeyError):
        return None
    found = {key: value for key, _, value in (line.partition(": ") for line in lines)}
    return f"{found.get('name')}:{found.get('version')}"


def _compose(work: Path, bundle: Path, tag: str, labels: dict[str, str]) -> None:
    """Lay out the build context in work/context and let BentoML turn it into work/bento."""
    context = work / "context"
    for name in (*CODE, LOCK):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, context / name)
    shutil.copytree(bundle, context / "bundle")
    write_json(context / "identity.json", {"tag": tag, "labels": labels})
    name, _, version = tag.partition(":")
    options = {
        "service": SERVICE,
        "name": name,
        "version": version,
        "labels": labels,
        "lock": [line for line in (ROOT / LOCK).read_text().splitlines() if line and not line.startswith("#")],
        "context": str(context),
        "out": str(work / "bento"),
        "created": read_json(bundle / "schema.json")["as_of"],
        "description": f"# {tag}\n\nPOST /predict with a flight; `GET /openapi.json` says how. Without an installation "
        "(RATCHET_HOME) the flight's features must be given: they and their bounds are in `src/bundle/schema.json`.\n",
    }
    command = [sys.executable, "-I", str(Path(__file__).with_name("compose.py")), json.dumps(options)]
    done = subprocess.run(command, cwd=work, env=environment(work / "home"), capture_output=True, text=True)
    if done.returncode:
        raise PackagingFailed(
            f"building {tag} failed, nothing was changed: {done.stderr[-2000:] or done.stdout[-2000:]}"
        )


def environment(home: Path) -> dict[str, str]:
    """Environment of a BentoML process: its own home, nothing of this process's Python path, nothing sent anywhere."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("BENTOML", "PYTHON", "OTEL", "AIRFLOW", "RATCHET"))
    }
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    ours = {"BENTOML_HOME": str(home), "TMPDIR": str(home / "tmp"), "BENTOML_DO_NOT_TRACK": "True", "NO_COLOR": "1"}
    return {**kept, **ours, "OMP_NUM_THREADS": "1"}


def _archive(folder: Path, out: Path) -> None:
    """What `bentoml export` writes (a tar, compressed by xz), but the same bytes for the same content."""
    with tarfile.open(out, "w:xz", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            entry = tar.gettarinfo(path, path.relative_to(folder).as_posix())
            entry.mtime = entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mode = 0o755 if path.is_dir() or entry.mode & 0o100 else 0o644
            if path.is_file():
                with path.open("rb") as file:
                    tar.addfile(entry, file)
            else:
                tar.addfile(entry)
