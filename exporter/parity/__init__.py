"""Does an artifact answer as the network does? Inputs, float64 truth, tolerance, comparison, verdict.

`inputs` draws the clips, `truth` runs the network on them in float64 and float32, `compare` judges one answer,
`verify` runs the artifact and collects the report. docs/parity.md explains the rule and why.
"""
