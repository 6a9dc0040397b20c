"""What serves: the files that a Bento packs, the lock beside them, and one hash that says which code it is."""

from __future__ import annotations

from functools import cache

from include.files import hash_file, hash_value
from include.settings import ROOT

SERVICE = "include.loop.serve:Ratchet"
LOCK = "include/serving/requirements.txt"
CODE = (
    "feature_repo/definitions.py",
    "feature_repo/feature_store.yaml",
    "include/__init__.py",
    "include/bundle.py",
    "include/clock.py",
    "include/contracts.py",
    "include/crashpoints.py",
    "include/features/__init__.py",
    "include/features/online.py",
    "include/files.py",
    "include/loop/__init__.py",
    "include/loop/serve.py",
    "include/models/__init__.py",
    "include/models/flights_on_time/__init__.py",
    "include/models/flights_on_time/spec.py",
    "include/models/registry.py",
    "include/models/spec.py",
    "include/packed.py",
    "include/release/__init__.py",
    "include/release/ledger.py",
    "include/release/migrations/__init__.py",
    "include/release/tables.py",
    "include/serving/__init__.py",
    "include/serving/app.py",
    "include/serving/explain.py",
    "include/serving/memory.py",
    "include/serving/metrics.py",
    "include/serving/openapi.py",
    "include/serving/plan.py",
    "include/serving/predict.py",
    "include/serving/recorder.py",
    "include/serving/requests.py",
    "include/serving/router.py",
    "include/serving/score.py",
    "include/serving/spool.py",
    "include/settings.py",
)


@cache
def code_hash() -> str:
    """Identity of what serves: code and lock. A service takes a challenger only if it was rehearsed with this code."""
    return hash_value({name: hash_file(ROOT / name) for name in (*CODE, LOCK)})
