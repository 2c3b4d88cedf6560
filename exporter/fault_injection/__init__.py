"""Does the parity check work? Faults are injected into copies of an artifact, one at a time, and the check must fail.

`split` separates an artifact's weights from its graph, `graph` holds the original and its faulty copies, `faults` is
the table of fault types, `harness` runs a copy and compares it with the network, `runner` goes through the faults.
docs/reference/faults.md lists them.
"""
