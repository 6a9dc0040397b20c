"""Run by include/packaging/bento.py in a process of its own: let BentoML turn a build context into a Bento folder."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml


def compose(options: dict[str, Any]) -> None:
    import bentoml

    bento = bentoml.build(
        options["service"],
        name=options["name"],
        version=options["version"],
        labels=options["labels"],
        description=options["description"],
        build_ctx=options["context"],
        include=["include/**", "feature_repo/*", "bundle/*", "identity.json"],
        exclude=["**/__pycache__/**"],
        # the lock is a lock already: BentoML's own locking would ask the network. Given as lines, for it refuses to
        # read a requirements file below a hidden folder
        python={"packages": options["lock"], "lock_packages": False},
    )
    # the time of building would make each archive another one; the model's as-of says more
    described = Path(bento.path_of("bento.yaml"))
    content = yaml.safe_load(described.read_text(encoding="utf-8"))
    content["creation_time"] = options["created"]
    described.write_text(yaml.safe_dump(content, sort_keys=True), encoding="utf-8")
    shutil.copytree(bento.path, options["out"])


if __name__ == "__main__":
    compose(json.loads(sys.argv[1]))
