"""The model of `mlflow models serve`: the joblib pipeline in a pyfunc that reads the features itself."""

from types import SimpleNamespace
from typing import Any

import joblib
import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from bench.serving.common import Features, named


class Flights(PythonModel):
    def load_context(self, context: Any) -> None:
        self.pipeline = joblib.load(context.artifacts["pipeline"])
        self.features = Features()

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> list[float]:  # noqa: ARG002
        rows = []
        for record in model_input.to_dict("records"):
            times = {name: pd.Timestamp(record[name]).to_pydatetime() for name in ("sched_dep", "sched_arr")}
            rows.append(named(self.features.row(SimpleNamespace(**{**record, **times}))))
        found: list[float] = self.pipeline.predict_proba(pd.DataFrame(rows))[:, 1].tolist()
        return found


mlflow.models.set_model(Flights())
