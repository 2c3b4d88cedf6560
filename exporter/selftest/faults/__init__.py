"""The table of faults. A new kind is a row in one of its parts."""

from exporter.selftest.faults.activations import ACTIVATIONS
from exporter.selftest.faults.base import Kind, Place
from exporter.selftest.faults.batches import BATCHES
from exporter.selftest.faults.biases import BIASES
from exporter.selftest.faults.geometry import GEOMETRY
from exporter.selftest.faults.inputs import INPUTS
from exporter.selftest.faults.layout import LAYOUT
from exporter.selftest.faults.outputs import OUTPUTS
from exporter.selftest.faults.weights import WEIGHTS

__all__ = ["FAULTS", "Kind", "Place"]

FAULTS: tuple[Kind, ...] = (*WEIGHTS, *LAYOUT, *BIASES, *ACTIVATIONS, *GEOMETRY, *INPUTS, *BATCHES, *OUTPUTS)
"""Every kind, in the order they are tried."""
