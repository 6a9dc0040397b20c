"""A model bundle: one folder with all that serving needs of a model, named by the hash of its content.

    bundles/<hash>/model.onnx    input "features" float32 [n, k], output "probability" [n]
    bundles/<hash>/schema.json   what the model is and what each feature may be (see `schema`)

Training writes it, packaging carries it, serving and rehearsal read it. There is no pickle in it, and this module
needs only numpy and ONNX Runtime, so that the service's own lock stays small.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from include.contracts import FEATURES, Ref
from include.files import canonical_json, hash_folder, hash_text, hash_value, read_json, replacing, used_again

if TYPE_CHECKING:
    from include.settings import Settings

MODEL = "model.onnx"
SCHEMA = "schema.json"
INPUT = "features"
OUTPUT = "probability"
FORMAT = 1  # of the schema; bundles without it were made before there were `reference` and `serving`


class BadInput(ValueError):
    """A request's row that the model must not see. `row` is its position, `field` the feature that is wrong."""

    def __init__(self, message: str, row: int | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.row = row
        self.field = field


class BadBundle(ValueError):
    """The folder is no bundle, or its content is not what its hash says."""


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle. `session` runs on one thread: two cost far more CPU than they save on small batches."""

    path: Path
    hash: str
    schema: dict[str, Any]
    session: ort.InferenceSession

    @property
    def features(self) -> list[str]:
        return [f["name"] for f in self.schema["features"]]


def schema(
    model: str,
    features: Iterable[str],
    configuration_hash: str,
    as_of: str,
    family: str,
    params: Mapping[str, Any],
    reference: Mapping[str, float | None] | None = None,
    serving: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The schema of a bundle: who the model is and, feature by feature, what include.contracts allows it to be.

    `reference`: each feature's median in training (None: it has no value there), against which contributions are
    taken; without it there are none. `serving`: the spec's policy (threshold, stale, log_rate).
    """
    known = [FEATURES[name] for name in features]
    return {
        "format": FORMAT,
        "model": model,
        "features": [{"name": f.name, "nullable": f.nullable, "low": f.low, "high": f.high} for f in known],
        "input": INPUT,
        "output": OUTPUT,
        "configuration_hash": configuration_hash,
        "as_of": as_of,
        "family": family,
        "params": dict(params),
        **({} if reference is None else {"reference": dict(reference)}),
        **({} if serving is None else {"serving": dict(serving)}),
    }


def save(settings: Settings, onnx_bytes: bytes, schema: Mapping[str, Any]) -> Ref:
    """Write a bundle under settings.bundles; the same content again changes nothing. Never seen half-written."""
    text = canonical_json(dict(schema), indent=2) + "\n"
    content = hash_value({MODEL: hashlib.sha256(onnx_bytes).hexdigest(), SCHEMA: hash_text(text)})  # = hash_folder
    target = settings.bundles / content
    if not used_again(target):
        with replacing(target) as part:
            part.mkdir()
            (part / MODEL).write_bytes(onnx_bytes)
            (part / SCHEMA).write_text(text, encoding="utf-8")
    return Ref(uri=str(target), version=content[:12], hash=content)


def load(source: Ref | Path | str, verify: bool = True) -> Bundle:
    """Load a bundle from a reference or a folder.

    Raises BadBundle when files are missing, when the content is not what the reference's hash says, or when the
    model's input does not fit the schema. `verify=False` skips only the hash of the content.
    """
    expected = source["hash"] if isinstance(source, dict) else None
    path = Path(source["uri"] if isinstance(source, dict) else source)
    missing = [name for name in (MODEL, SCHEMA) if not (path / name).is_file()]
    if missing:
        raise BadBundle(f"{path} is no bundle: {', '.join(missing)} missing")
    content = hash_folder(path) if verify or expected is None else expected
    if expected and content != expected:
        raise BadBundle(f"{path} has hash {content[:12]}, its reference says {expected[:12]}: it was altered")
    described = read_json(path / SCHEMA)
    if described.get("format", FORMAT) != FORMAT:
        raise BadBundle(f"{path} has format {described['format']}, this code reads format {FORMAT}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path / MODEL), options, providers=["CPUExecutionProvider"])
    width = session.get_inputs()[0].shape[1]
    if width != len(described["features"]):
        raise BadBundle(f"{path}: the model takes {width} features, its schema names {len(described['features'])}")
    return Bundle(path, content, described, session)


def predict(bundle: Bundle, rows: np.ndarray) -> np.ndarray:
    """Probabilities, float64 [n], of rows float32 [n, k] in the order of the schema. NaN is a missing value."""
    if rows.ndim != 2 or rows.shape[1] != len(bundle.schema["features"]):
        raise BadInput(f"expected rows of {len(bundle.schema['features'])} features, got shape {rows.shape}")
    feed = {INPUT: np.ascontiguousarray(rows, dtype=np.float32)}
    return np.asarray(bundle.session.run([OUTPUT], feed)[0], dtype=np.float64).reshape(-1)


def check_rows(schema: Mapping[str, Any], rows: Sequence[Any]) -> np.ndarray:
    """Turn a request's rows ({feature: number or null}, …) into float32 [n, k], or raise BadInput naming the field.

    Refused: no rows, a row that is no object, a missing or unknown feature, a value that is no number (a truth value
    is none), null or NaN where the feature may not be missing, infinity, a value outside of the feature's bounds.
    """
    if not isinstance(rows, (list, tuple)) or not rows:
        raise BadInput("rows: expected a list with at least one row", field="rows")
    names = [f["name"] for f in schema["features"]]
    wanted = set(names)
    values = [_values(names, wanted, row, position) for position, row in enumerate(rows)]
    table = np.array(values, dtype=np.float64)
    _check_values(schema["features"], table)
    return table.astype(np.float32)


def _values(names: list[str], wanted: set[str], row: Any, position: int) -> list[float]:
    if not isinstance(row, Mapping):
        raise BadInput(f"row {position}: expected an object of features, got {type(row).__name__}", position, "rows")
    if row.keys() != wanted:
        missing = [n for n in names if n not in row]
        unknown = sorted(str(n) for n in row.keys() - wanted)
        word, field = ("missing", missing[0]) if missing else ("unknown", unknown[0])
        raise BadInput(f"row {position}: {word} feature {field!r}", position, field)
    return [_number(row[name], position, name) for name in names]


def _number(value: Any, position: int, name: str) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise BadInput(f"row {position}: {name} must be a number, got {type(value).__name__}", position, name)
    try:
        return float(value)
    except OverflowError:
        raise BadInput(f"row {position}: {name} is too large a number", position, name) from None


def _check_values(features: Sequence[Mapping[str, Any]], table: np.ndarray) -> None:
    # bounds hold for float32 values: compare as float32, or a rate of 1 that was rounded up would be refused
    lows = np.array([-np.inf if f["low"] is None else f["low"] for f in features], dtype=np.float32)
    highs = np.array([np.inf if f["high"] is None else f["high"] for f in features], dtype=np.float32)
    forbidden = np.array([not f["nullable"] for f in features])
    with np.errstate(over="ignore"):
        narrow = table.astype(np.float32)
    null = np.isnan(narrow)
    wrong = (null & forbidden) | np.isinf(narrow) | (narrow < lows) | (narrow > highs)
    if not wrong.any():
        return
    row, column = (int(i) for i in np.argwhere(wrong)[0])
    feature, value = features[column], table[row, column]
    if null[row, column]:
        why = "must not be missing (null or NaN)"
    elif np.isinf(narrow[row, column]):
        why = "must be finite"
    else:
        why = f"must lie in [{feature['low']}, {feature['high']}], got {value:g}"
    raise BadInput(f"row {row}: {feature['name']} {why}", row, feature["name"])
