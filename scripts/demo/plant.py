"""Plant a bad challenger, on purpose: the champion, made to say too much. No gate has seen it; the release must.

A gate cannot catch everything: what it passed may be packaged wrongly, or meet traffic that the holdout did not hold.
This model is the champion with the log odds of its answers shifted, a real package in the registry and
the ledger, entered by `demo` with what was done to it. Run it through the stack: `make demo` does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from include import bundle, clock, times
from include.files import canonical_json, read_json
from include.packaging import bento
from include.packed import code_hash
from include.release import ledger as book
from include.release.ledger import Decision, Version
from include.settings import Settings
from include.training import track

SLOPE, OFFSET = 1.0, 1.2  # of the log odds: 20 % becomes 45 %, 50 % becomes 77 %
RUN = "demo/plant"


def plant(settings: Settings, wall: str) -> int:
    """Make the bad version the challenger that waits; returns its number. Planted once: it is found again."""
    ledger, name = book.connect(settings.ledger_url), settings.model
    done = [row["version"] for row in book.history(ledger, name) if row["run"] == RUN]
    if done:
        return int(done[-1])
    live = book.current(ledger, name)
    if live.champion is None:
        raise SystemExit("there is no champion to make a bad challenger of: run `make demo`")
    good = book.version(ledger, name, live.champion)
    spoilt = bundle.save(settings, _spoil(Path(good.bundle["uri"]) / bundle.MODEL), _schema(good))
    number = _registered(settings, name, good)
    archive = bento.build(settings, spoilt, name, str(number), {"mlflow_run_id": good.mlflow_run, "run": RUN})
    entry = {**vars(good), "version": number, "bundle": spoilt, "bento": archive, "code_hash": code_hash()}
    book.add_version(ledger, Version(**entry))
    reason = f"planted by the demo: version {good.version}, log odds times {SLOPE} plus {OFFSET}; no gate saw it"
    as_of = times.iso(clock.load(settings.home / "clock.json").at(times.parse(wall)))
    decision = Decision(f"{RUN}/{number}", name, "challenger", "demo", reason, as_of, number, RUN)
    book.deploy(ledger, live, decision, live.champion, number, stage=book.WAITING)
    return number


def _spoil(path: Path) -> bytes:
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name in ("slope", "offset"):
            value = SLOPE if tensor.name == "slope" else OFFSET
            tensor.CopyFrom(numpy_helper.from_array(np.array(value), tensor.name))
    return bytes(model.SerializeToString(deterministic=True))


def _schema(good: Version) -> dict[str, object]:
    kept: dict[str, object] = read_json(Path(good.bundle["uri"]) / bundle.SCHEMA)
    return {**kept, "params": {"planted": True}}


def _registered(settings: Settings, name: str, good: Version) -> int:
    """A model version of its own in MLflow, marked; a second try finds the first one's."""
    api = track.client(settings)
    for found in api.search_model_versions(f"name = '{name}'"):
        if found.tags.get("planted") == RUN:
            return int(found.version)
    source = f"runs:/{good.mlflow_run}/{track.MODEL_FOLDER}"
    tags = {"planted": RUN, "verdict": "planted by the demo; it passed no gate"}
    return int(api.create_model_version(name, source, good.mlflow_run, tags=tags, await_creation_for=0).version)


if __name__ == "__main__":
    print(canonical_json({"version": plant(Settings(), sys.argv[1])}))
