"""Coverage-guided fuzzing of this project's own parsers: `benchmarks/fuzz.py` runs it."""

from reliability_cases import HELPERS

__all__ = ["HELPERS"]
