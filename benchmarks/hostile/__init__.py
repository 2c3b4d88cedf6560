"""Hostile inputs for every reader: what `benchmarks/hostile_inputs.py` runs."""
