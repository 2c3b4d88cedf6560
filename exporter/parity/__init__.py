"""Parity: does an artifact return what the network returns?

Two steps. Run: `inputs` makes the inputs, `golden` runs the reference in float64 and float32, `execution` runs the
artifact. Compare: `compare` and `evaluate` turn outputs, reference and tolerance into a report, and run nothing.
docs/reference/parity.md explains the tolerance.
"""
