"""Ratchet's library: plain Python that never imports Airflow. docs/architecture.md says who may import whom."""
