"""One file per engine, run by `exporter/bench/worker_main.py` under the interpreter that has the engine.

Each has two functions and imports nothing of this project at its top:

* `library()` imports the engine and returns its name and version.
* `load(job)` returns a call: {input name: array} -> list of arrays, in host memory on both sides, as a user has them.

Both raise ImportError, with a sentence, for whatever is missing here: the library, the device, a compiler. The jobs'
keys: `path` (model file), `inputs` and `outputs` (names), `shapes` ({input: sizes} of the first batch), `device`,
`threads`, and what `exporter.bench.targets` adds for one engine. They are not `exporter.engines`, because these
must run where this project is not installed, and because what is timed should be the engine's own call and no more.
"""
