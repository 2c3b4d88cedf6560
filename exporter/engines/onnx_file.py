"""What every engine of ONNX files reads from the file itself."""

from __future__ import annotations

from exporter.engines.base import Runtime
from exporter.results import Precision


class OnnxFileRuntime(Runtime):
    """An ONNX file in an engine. onnx is imported only by the properties, which `bench` does not use."""

    @property
    def precision(self) -> Precision:
        """Return the precision of the file's weights."""
        from exporter.onnx_io.precision import detect_precision

        return detect_precision(self.path)

    @property
    def random_node(self) -> str | None:
        """Return the file's node that draws random numbers; None without one."""
        from exporter.onnx_io.random_nodes import find_random_node

        return find_random_node(self.path)
