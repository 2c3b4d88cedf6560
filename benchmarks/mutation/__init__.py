"""Mutation testing: `benchmarks/mutate.py` runs it."""
