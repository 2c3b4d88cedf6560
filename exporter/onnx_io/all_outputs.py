"""Models that return their intermediate values too."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import onnx

from exporter.errors import ArtifactError
from exporter.onnx_io.load import MAX_MESSAGE_BYTES, load_with_weights
from exporter.onnx_io.subgraphs import nested_nodes


def with_all_outputs(path: Path, *, external: bool = True, names: Sequence[str] | None = None) -> bytes:
    """Return a model that returns every value that depends on its inputs, in the order computed.

    Args:
        path: the model.
        names: the intermediate values to return instead of all.
        external: put the weights of its data files into the model; else it still refers to them, for an engine that
            knows their folder. Weights in the model file itself are always inside: nothing aligns them there, so no
            engine could map them.

    Raises:
        ArtifactError: unreadable, or larger than one message can be.
    """
    model = load_with_weights(path, external=external)
    values = intermediate_names(model.graph) if names is None else names
    set_outputs(model, [*values, *(output.name for output in model.graph.output)])
    if model.ByteSize() > MAX_MESSAGE_BYTES:
        raise ArtifactError(f"{path}: larger than 2 GB, so its intermediate values cannot be returned")
    return model.SerializeToString()


def set_outputs(model: onnx.ModelProto, names: Iterable[str]) -> None:
    """Make a model return these values; outputs that it has already keep their types."""
    declared = {output.name: output for output in model.graph.output}
    outputs = [declared.get(name, onnx.ValueInfoProto(name=name)) for name in dict.fromkeys(names)]
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def intermediate_names(graph: onnx.GraphProto) -> list[str]:
    """Return the values of a main graph that depend on its inputs, in the order computed: no constants, no shapes."""
    dependent = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    names: list[str] = []
    for node in graph.node:
        inner = {name for nested in nested_nodes([node]) for name in nested.input}
        if dependent.isdisjoint({*node.input, *inner}) or node.op_type in ("Shape", "Size"):
            continue
        names += [name for name in node.output if name]
        dependent |= {name for name in node.output if name}
    return names
