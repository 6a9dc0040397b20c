"""The local stack: Airflow's four components and the MLflow server under one supervisor, on 127.0.0.1 only."""
