"""ONNX models written node by node, and checks of a pass that use only onnx and onnxruntime."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from exporter.engines.base import RuntimeOptions
from exporter.engines.onnx_reference import FloatGraph
from exporter.passes.base import GraphPass
from exporter.passes.graph import infer_shapes

Shape = Sequence[int | str] | None
Arrays = Mapping[str, NDArray[Any]]


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """Return a node; names are separated by spaces, and `-` is an input that is absent. Its name is `<output>.node`."""
    names = ["" if name == "-" else name for name in inputs.split()]
    made = outputs.split()
    return helper.make_node(operator, names, made, name=f"{made[0]}.node", **attributes)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape],
    weights: Arrays,
    opset: int = 18,
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """Return a model with inputs and outputs of one dtype; strings in a shape are dynamic sizes, None is an unknown rank."""
    ports = [
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    ]
    return make_model(nodes, ports[0], ports[1], weights, opset)


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Arrays,
    opset: int,
) -> onnx.ModelProto:
    """Return a model of any inputs and outputs, which imports each domain of its nodes."""
    held = [numpy_helper.from_array(np.asarray(values, order="C"), name) for name, values in weights.items()]
    made = helper.make_graph(list(nodes), "small", list(inputs), list(outputs), held)
    domains = sorted({node.domain for node in nodes} - {""})
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    oldest = helper.find_min_ir_version_for(imports, ignore_unknown=True)
    return helper.make_model(made, opset_imports=imports, ir_version=oldest)


def save(path: Path, model: onnx.ModelProto, data: str | None = None) -> Path:
    """Check a model and write it, with its weights in the file `data` beside it if that is given."""
    onnx.checker.check_model(model)
    onnx.save(model, path, save_as_external_data=data is not None, location=data, size_threshold=0)
    return path


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Standard normal numbers."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


def positive(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Numbers from 0.5 to 2: a variance."""
    return np.random.default_rng([seed, *shape]).uniform(0.5, 2, shape).astype(np.float32)


def run_float64(model: onnx.ModelProto, feeds: Arrays, folder: Path) -> dict[str, NDArray[Any]]:
    """Return the outputs of a model in float64."""
    path = folder / "exact.onnx"
    onnx.save(model, path)
    with FloatGraph(path, RuntimeOptions()) as runtime:
        return runtime.run(feeds)


def run_onnxruntime(model: onnx.ModelProto, feeds: Arrays) -> dict[str, NDArray[Any]]:
    """Return the outputs of a model in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    results: Any = session.run(names, dict(feeds))
    return dict(zip(names, results, strict=True))


@dataclass(frozen=True)
class Rewritten:
    """The result of a pass."""

    modified: bool
    model: onnx.ModelProto
    step: GraphPass

    @property
    def operators(self) -> list[str]:
        """Operators, in the order of the graph."""
        return [made.op_type for made in self.model.graph.node]

    @property
    def reasons(self) -> list[str]:
        """Reasons for the nodes that are left unchanged."""
        return [row.reason for row in self.step.decisions if row.action.startswith("left")]

    def weight(self, name: str) -> NDArray[Any]:
        """Return the values of an initialiser."""
        return next(numpy_helper.to_array(held) for held in self.model.graph.initializer if held.name == name)


def rewrite(step: GraphPass, model: onnx.ModelProto) -> Rewritten:
    """Run a pass on a copy, and check everything that a pass promises except the values.

    onnx's full check; inputs and outputs as they were; `modified` is right; a second run finds nothing to do.
    """
    held = ir.from_proto(onnx.ModelProto.FromString(model.SerializeToString()))
    infer_shapes(held)
    before = ir.to_proto(held).graph
    modified = step(held).modified
    decisions = list(step.decisions)
    after = ir.to_proto(held)
    onnx.checker.check_model(after, full_check=True)
    for ports in ("input", "output"):
        assert list(getattr(after.graph, ports)) == list(getattr(model.graph, ports))
    same = list(before.node) == list(after.graph.node) and list(before.initializer) == list(after.graph.initializer)
    assert modified == (not same)
    infer_shapes(held)
    assert not step(held).modified, "the second run changed something"
    step.decisions[:] = decisions
    return Rewritten(modified, after, step)


def check_pass(step: GraphPass, model: onnx.ModelProto, feeds: Arrays, folder: Path, tolerance: float) -> Rewritten:
    """Rewrite, and compare every output in onnxruntime with the original in float64.

    Args:
        step: the pass.
        model: what it rewrites.
        feeds: inputs.
        folder: for the original.
        tolerance: of the largest error, relative to the largest number.
    """
    done = rewrite(step, model)
    golden, results = run_float64(model, feeds, folder), run_onnxruntime(done.model, feeds)
    for name, values in golden.items():
        assert results[name].shape == values.shape
        error = np.abs(results[name] - values).max() / np.abs(values).max()
        assert error <= tolerance, f"{name}: {error:.1e}"
    return done
