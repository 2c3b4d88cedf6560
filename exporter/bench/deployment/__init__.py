"""What `bench --all` compares: every way to export a network, with its accuracy, speed, size and memory.

* `bench.deployment.types`: what is asked for and what was found, frozen dataclasses.
* `bench.deployment.variants`: the formats, precisions and targets that are tried, in order.
* `bench.deployment.choice`: the Pareto front and the recommendation.
* `bench.deployment.accuracy`: signal-to-noise ratio and agreement of the highest class on held-out clips.

`workflows.deployment_table.benchmark_all()` exports, verifies and measures them.
"""
