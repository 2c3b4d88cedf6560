"""The table of fault types. A new one is a row in one of its parts."""

from exporter.fault_injection.faults.activations import ACTIVATIONS
from exporter.fault_injection.faults.base import FaultSite, FaultType
from exporter.fault_injection.faults.decisions import DECISIONS
from exporter.fault_injection.faults.geometry import GEOMETRY
from exporter.fault_injection.faults.inputs import BATCHES, INPUTS
from exporter.fault_injection.faults.layout import LAYOUT
from exporter.fault_injection.faults.outputs import OUTPUTS
from exporter.fault_injection.faults.preprocessing import PREPROCESSING
from exporter.fault_injection.faults.weights import BIASES, WEIGHTS

__all__ = ["FAULTS", "FaultSite", "FaultType"]

FAULTS: tuple[FaultType, ...] = (
    *(*WEIGHTS, *LAYOUT, *BIASES, *ACTIVATIONS, *GEOMETRY, *INPUTS, *PREPROCESSING, *BATCHES, *OUTPUTS, *DECISIONS),
)
"""Every fault type, in the order in which they are run."""
