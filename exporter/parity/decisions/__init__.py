"""Which elements of a discrete output may differ from the reference: those whose deciding float values are near a tie.

An output of labels, masks, indices or rounded numbers is a decision on float values, and a correct float32 program may
decide otherwise where these values are within their allowed error of a tie. `trace` follows an output of an ONNX graph
back to these values, and describes what is between as a tree of the nodes of `nodes` and `choices`. With the float
values of one input (`Run`) the tree returns for every element the range of decisions that the allowed error permits.
"""

from exporter.parity.decisions.nodes import Bounds, Node, Run
from exporter.parity.decisions.trace import DecisionGraph

__all__ = ["Bounds", "DecisionGraph", "Node", "Run"]
