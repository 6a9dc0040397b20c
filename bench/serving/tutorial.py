"""The usual way: FastAPI, pydantic in, a DataFrame of one row through a joblib pipeline. uvicorn, one worker."""

from datetime import datetime
from typing import Any

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

from bench.serving.common import PIPELINE, THRESHOLD, Features, named, variable

app = FastAPI()
features = Features()
pipeline: Any = joblib.load(variable(PIPELINE))


class Flight(BaseModel):
    carrier: str
    flight: int
    origin: str
    dest: str
    sched_dep: datetime
    sched_arr: datetime
    distance: float


class Request(BaseModel):
    flight: Flight


class Answer(BaseModel):
    probability: float
    not_on_time: bool


@app.get("/healthz")
def alive() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/predict")
async def predict(asked: Request) -> Answer:
    # `async def`: in FastAPI's pool of threads, as with `def`, it answers fewer requests a second
    probability = float(pipeline.predict_proba(pd.DataFrame([named(features.row(asked.flight))]))[0, 1])
    return Answer(probability=probability, not_on_time=probability >= THRESHOLD)
