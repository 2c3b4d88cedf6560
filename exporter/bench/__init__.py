"""Latency, throughput, load time and memory of model files, and of other engines on the same network.

* `bench.types`: what is asked for and what was found, frozen dataclasses.
* `bench.runner`: runs a plan: load, measure in interleaved rounds, summarise. `workflows.bench.benchmark()` calls it.
* `bench.targets`: a model in an engine (`exporter.engines`); `bench.plan`, `bench.engine_setup`: all that take part.
* `bench.worker_main`: a target's own process; `bench.worker_client`: this end of the pipe.
* `bench.inputs`, `bench.rounds`: the inputs, and the order in which targets run.
* `bench.statistics`: paired ratios and their interval; `bench.roofline`: the lower bound of direct convolution.
"""
