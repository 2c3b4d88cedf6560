"""Does the parity checker work? Faults planted in copies of an artifact, one at a time, and held to the same verdict.

`apart` reads an artifact into the `graph` that faults are planted in, `faults` is the table of their kinds, `tail` cuts
a faulty copy in front of its fault, `bench` runs it and asks the judge of `verify parity`, `runner` goes through them.
docs/reference/parity.md has the figures.
"""
