"""The loop's steps, one function a task: what each task does, without Airflow.

Only this folder joins the areas of the library; the DAG files wire its functions, tests and benchmarks call them.
Every function takes and returns small JSON-able values, may be run twice, late or after being killed half-way, and
leaves the same state.
"""
