"""A year of retraining policies on one frame: what bench/bench_replay.py measures with."""
