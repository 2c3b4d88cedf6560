"""Small networks that end in decisions, and ones without a result: faults are injected into them as well.

An artifact of a classifier has neither labels nor masks, so faults in these would not be tried on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporter.artifacts.loading import LoadedArtifact
from exporter.errors import ArtifactError, CheckFailedError
from exporter.fault_injection.faults import FaultType
from exporter.fault_injection.harness import OPTIONS, set_up
from exporter.fault_injection.low_precision import HIDDEN_BY_ROUNDING, LowPrecision, write_low
from exporter.fault_injection.results import SampleResult, SelfTestOptions
from exporter.fault_injection.runner import list_faults, run_faults
from exporter.onnx_io.signature import read_signature
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_plan import make_plans
from exporter.parity.inputs import draw_inputs
from exporter.parity.run_specs import make_file_run_spec
from exporter.parity.sources import FileSource
from exporter.types import InputOptions, ParityOptions
from models.progress import Progress, no_progress

SIZE, CHANNELS, WIDTH, CLASSES = 12, 3, 8, 5
OPSET, IR_VERSION = 17, 8
INPUT_TYPES = ("random", "uniform", "saturated", "zeros")
LOW_INPUT_TYPES = ("random", "uniform")
"""Those that are in the range of a quantised input."""


@dataclass(frozen=True)
class Sample:
    """A small network.

    Attributes:
        name: for reports.
        heads: the nodes after the scores `s` (N, 5, 12, 12).
        outputs: {output: its element type}.
        repeatable: whether it returns the same twice; else the check must refuse it.
        stored: the weights that the artifact stores in float16, and its reference does not.
        low: what the artifact computes in, where its reference computes in float32.
    """

    name: str
    heads: Sequence[onnx.NodeProto]
    outputs: Mapping[str, int]
    repeatable: bool = True
    stored: tuple[str, ...] = ()
    low: LowPrecision | None = None

    def build(self, seed: int) -> onnx.ModelProto:
        """Return the network: two convolutions with biases, and the heads; weights are random."""
        random = np.random.default_rng(seed)

        def weight(name: str, *shape: int) -> onnx.TensorProto:
            scale = np.sqrt(2 / max(1, np.prod(shape[1:])))
            return numpy_helper.from_array((scale * random.standard_normal(shape)).astype(np.float32), name)

        weights = [
            weight("conv1.weight", WIDTH, CHANNELS, 3, 3),
            weight("conv1.bias", WIDTH),
            weight("conv2.weight", CLASSES, WIDTH, 3, 3),
            weight("conv2.bias", CLASSES),
            numpy_helper.from_array(np.array(0.5, np.float32), "threshold"),
            numpy_helper.from_array(np.array([3], np.int64), "k"),
            numpy_helper.from_array(np.array(True), "training"),
        ]
        nodes = [
            helper.make_node("Conv", ["x", "conv1.weight", "conv1.bias"], ["conv1"], "conv1", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["conv1"], ["relu1"], "relu1"),
            helper.make_node("Conv", ["relu1", "conv2.weight", "conv2.bias"], ["s"], "conv2", pads=[1, 1, 1, 1]),
            *self.heads,
        ]
        read = {name for node in nodes for name in node.input}
        shape = ["batch", CHANNELS, SIZE, SIZE]
        graph = helper.make_graph(
            nodes,
            self.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, dtype, None) for name, dtype in self.outputs.items()],
            [tensor for tensor in weights if tensor.name in read],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        return onnx.shape_inference.infer_shapes(model)

    def store(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return the artifact for a network that `build` returned: it stores some weights in float16."""
        artifact = onnx.ModelProto.FromString(model.SerializeToString())
        for tensor in artifact.graph.initializer:
            if tensor.name in self.stored:
                half = numpy_helper.to_array(tensor).astype(np.float16)
                cast = helper.make_node(
                    "Cast", [f"{tensor.name}.half"], [tensor.name], tensor.name, to=TensorProto.FLOAT
                )
                artifact.graph.node.insert(0, cast)
                tensor.CopyFrom(numpy_helper.from_array(half, f"{tensor.name}.half"))
        return artifact


def _node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), outputs.split(), outputs.split(maxsplit=1)[0], **attributes)


SAMPLES = (
    Sample("labels", (_node("ArgMax", "s", "labels", axis=1, keepdims=0),), {"labels": TensorProto.INT64}),
    Sample(
        "several outputs",
        (
            _node("Greater", "s threshold", "mask"),
            _node("Round", "s", "rounded"),
            _node("Cast", "rounded", "integers", to=TensorProto.INT32),
            _node("Sigmoid", "s", "probabilities"),
            _node("Identity", "s", "scores"),
        ),
        {
            "mask": TensorProto.BOOL,
            "integers": TensorProto.INT32,
            "probabilities": TensorProto.FLOAT,
            "scores": TensorProto.FLOAT,
        },
    ),
    Sample("indices", (_node("TopK", "s k", "values indices", axis=1),), {"indices": TensorProto.INT64}),
    Sample(
        "weights stored in float16",
        (_node("Identity", "s", "scores"),),
        {"scores": TensorProto.FLOAT},
        stored=("conv1.weight",),
    ),
    Sample("float16", (_node("Identity", "s", "scores"),), {"scores": TensorProto.FLOAT}, low="float16"),
    Sample("int8", (_node("Identity", "s", "scores"),), {"scores": TensorProto.FLOAT}, low="int8"),
    Sample(
        "random numbers",
        (_node("RandomNormalLike", "s", "noise"), _node("Add", "s noise", "y")),
        {"y": TensorProto.FLOAT},
        repeatable=False,
    ),
    Sample(
        "dropout in training mode",
        (helper.make_node("Dropout", ["s", "", "training"], ["y"], "drop"),),
        {"y": TensorProto.FLOAT},
        repeatable=False,
    ),
)
"""The networks of the self-test."""


def run_samples(
    fault_types: Sequence[FaultType],
    options: SelfTestOptions,
    folder: Path,
    progress: Progress = no_progress,
    samples: Sequence[Sample] = SAMPLES,
) -> tuple[SampleResult, ...]:
    """Inject every fault that applies into each of the small networks.

    Args:
        fault_types: rows of the table.
        options: `quick` and `seed`; layers are not located.
        folder: an empty folder.
        progress: called at each step.
        samples: the networks.
    """
    return tuple(_run_sample(sample, fault_types, options, folder / sample.name, progress) for sample in samples)


def _run_sample(
    sample: Sample, fault_types: Sequence[FaultType], options: SelfTestOptions, folder: Path, progress: Progress
) -> SampleResult:
    folder.mkdir()
    path = folder / "sample.onnx"
    reference = folder / "reference.onnx"
    model = sample.build(options.seed)
    onnx.save(model, reference)
    onnx.save(sample.store(model), path)
    if sample.low is not None:
        write_low(reference, sample.low, path)
    artifact = LoadedArtifact(path, "onnx", None, ())
    signature = read_signature(path)
    plan = next(make_plans(signature, InputOptions(), batched=True))
    types = INPUT_TYPES if sample.low is None else LOW_INPUT_TYPES
    inputs = draw_inputs(plan, ParityOptions(seed=options.seed, input_types=types))
    golden = GoldenOutputs(FileSource(reference, "onnx"), inputs)
    try:
        spec = make_file_run_spec(artifact, OPTIONS, signature)
        harness = set_up(artifact, golden, spec, folder, progress, sample.low and (sample.low, reference))
    except ArtifactError as error:
        return SampleResult(sample.name, sample.repeatable, False, str(error))
    except CheckFailedError:
        return SampleResult(sample.name, sample.repeatable, False, None)
    hidden = HIDDEN_BY_ROUNDING if sample.low is not None else frozenset[str]()
    kept = [fault_type for fault_type in fault_types if fault_type.name not in hidden]
    faults = list_faults(harness.graph, kept, quick=options.quick or sample.low is not None)  # they take longer
    found = run_faults(harness, faults, SelfTestOptions(seed=options.seed), progress)
    return SampleResult(sample.name, sample.repeatable, True, None, found)
