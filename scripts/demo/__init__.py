"""`make demo`: the story of one model, told by real runs of a real Airflow, and a report of what came out."""
