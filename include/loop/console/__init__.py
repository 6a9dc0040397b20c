"""What the console's pages show, gathered from the ledger, the lake, the alerts, the pages of tasks and MLflow.

It runs inside Airflow's api-server: nothing here imports pandas, pyarrow, mlflow or airflow. What cannot be read
becomes a `Gap` on the page, never an error, so that one broken part hides no other. What never changes (an entry of the
ledger, an artifact, a day's statements) is read once a process.
"""

from __future__ import annotations


class Unknown(LookupError):
    """There is no such model, version or run."""
