"""From a network to an artifact that is verified to return what the network returns.

* `exporter.workflows`: one module per verb, such as `export()`: build, write, verify, publish.
* `exporter.formats`: one module per artifact format.
* `exporter.passes`: rewrites of ONNX models that keep the function and make it faster.
* `exporter.onnx_io`: opens, edits and writes ONNX files.
* `exporter.engines`: one adapter per engine that can run an artifact.
* `exporter.parity`: inputs, float64 reference, tolerance, comparison.
* `exporter.fault_injection`: injects faults into artifacts, to check that `verify parity` detects them.
* `exporter.artifacts`: the manifest, publishing, and loading.
* `exporter.bench`: latency, throughput, load time and memory, measured side by side with other engines.
* `exporter.triton`: models for NVIDIA's Triton Inference Server.
* `exporter.reports`, `exporter.cli`: results for people and programs, and the command line.

`__init__.pyi` lists the public names. They are imported on first use, so that importing the package takes no time.
"""

import os

import lazy_loader

__version__ = "0.1.0"

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""onnxruntime's wheels send usage data from 1.32 on, and leave a file `.ses` in the folder for temporary files."""

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
