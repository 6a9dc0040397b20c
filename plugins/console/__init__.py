"""The console's web side: FastAPI apps that only Airflow's api-server builds, at the first request to them.

This module itself is imported by every process of Airflow, and holds names only.
"""

from __future__ import annotations

PREFIX = "/ratchet/console"
ACT = "/ratchet/act"
AIRFLOW = "ratchet.airflow"  # in a request's scope: the app that Airflow itself is
DAGS = ("ingest", "score", "collect", "monitor", "train", "release", "rollback", "freeze", "maintain", "sweep")
