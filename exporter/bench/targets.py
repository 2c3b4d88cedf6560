"""What is measured: one model in one engine, in a process of its own."""

import base64
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from exporter.engines import Engine
from exporter.engines.base import RuntimeOptions

THIS_PYTHON = Path(sys.executable)
"""The interpreter that runs targets, unless the user names another for an engine."""


@dataclass(frozen=True)
class BenchTarget:
    """A model in an engine.

    Attributes:
        name: its name in tables.
        file: its model file, in reports.
        engine: the engine that runs it.
        path: the file that the engine opens.
        options: how it is opened, except for threads and input shapes.
        inputs: its input names, in the order of the first artifact's.
        outputs: the names of the outputs that are compared with the first's; empty for all.
        interpreter: the Python that runs it.
        added: whether `--engines` added it, so that it may be absent.
        environment: variables of its process.
    """

    name: str
    file: str
    engine: Engine
    path: Path
    options: RuntimeOptions
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    interpreter: Path = THIS_PYTHON
    added: bool = False
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    def job(self, threads: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """Return what its process is asked to load, for `shapes` of its inputs."""
        options = replace(self.options, threads=threads, input_shapes=shapes)
        pickled = base64.b64encode(pickle.dumps(options)).decode()
        return {"path": str(self.path), "runtime": self.engine.runtime, "options": pickled}
