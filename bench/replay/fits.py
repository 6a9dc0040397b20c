"""Models of the year, each fitted once and kept: what a policy costs is then array work.

A model is named by the number of rows that it learnt from, since rows are ordered by departure. Kept are its trees and
its log odds of every row of the year (a policy only looks at those that were asked about after its cut-off; the
monitor also at those that it was trained on).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from bench import planted
from bench.replay.year import Array, Year, load
from include.files import hash_value, read_json, replacing, write_text
from include.models.flights_on_time.spec import SPEC
from include.training import boosted

# those of the gate's bench: chosen before this one, never tuned on what is reported here
PARAMS: dict[str, Any] = {
    **{k: v for k, v in planted.PARAMS.items() if k not in ("objective", "tree_method", "nthread")},
    "n_estimators": planted.ROUNDS,
}


class Fits:
    """The models of one year with one set of parameters and one seed, under a folder."""

    def __init__(self, year: Year, folder: Path, params: Mapping[str, Any] = PARAMS, seed: int = SPEC.seed):
        self.year, self.params, self.seed = year, dict(params), seed
        self.folder = folder / hash_value({"params": self.params, "seed": seed, "rows": len(year.rows)})[:12]
        self._margin = lru_cache(maxsize=400)(self._read)

    def margin(self, rows: int) -> Array:
        """Log odds, float32 [n], of every row of the year by the model that learnt from the first `rows`."""
        return self._margin(int(rows))

    def model(self, rows: int) -> boosted.Model:
        """The model itself, as include.training.boosted has it."""
        self._make(rows)
        return read_json(self._path(rows, "json"))

    def p(self, rows: int, part: slice | Array) -> Array:
        """Probabilities, float64, of a part of the year's rows."""
        return sigmoid(self.margin(rows)[part])

    def missing(self, wanted: Iterable[int]) -> list[int]:
        return [n for n in sorted(set(map(int, wanted))) if not self._path(n, "npy").exists()]

    def _path(self, rows: int, kind: str) -> Path:
        return self.folder / f"{int(rows):06d}.{kind}"

    def _read(self, rows: int) -> Array:
        self._make(rows)
        return np.asarray(np.load(self._path(rows, "npy"), mmap_mode="r"))

    def _make(self, rows: int) -> None:
        if self._path(rows, "npy").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        model = boosted.fit(self.year.x[:rows], self.year.y[:rows], SPEC.features, self.params, self.seed)
        write_text(self._path(rows, "json"), json.dumps(model))
        with replacing(self._path(rows, "npy")) as part, part.open("wb") as file:
            np.save(file, boosted.margin(model, self.year.x).astype(np.float32))


def sigmoid(margin: Array) -> Array:
    """Probabilities, float64."""
    values: Array = np.exp(-np.logaddexp(0.0, -np.asarray(margin, dtype=np.float64)))
    return values


# -- many at once --------------------------------------------------------------------------------------------------
_OWN: list[Fits] = []  # of a worker process


def prepare(fits: Fits, home: Path, wanted: Iterable[int], jobs: int) -> int:
    """Fit what is missing, in `jobs` processes of one thread; returns how many that were."""
    missing = fits.missing(wanted)
    if not missing:
        return 0
    os.environ["OMP_NUM_THREADS"] = "1"
    # the long ones first, so that no process is left with one at the end
    with get_context("spawn").Pool(jobs, _open, (home, fits.folder.parent, fits.params, fits.seed)) as pool:
        for count, _ in enumerate(pool.imap_unordered(_one, missing[::-1]), 1):
            if count % 50 == 0:
                print(f"{count} of {len(missing)} models", flush=True)
    return len(missing)


def _open(home: Path, folder: Path, params: dict[str, Any], seed: int) -> None:
    _OWN[:] = [Fits(load(home), folder, params, seed)]


def _one(rows: int) -> None:
    _OWN[0]._make(rows)
