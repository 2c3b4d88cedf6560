"""The ONNX file: standard operators, its manifest inside, dynamic batch, the same bytes; its variants and fall-backs."""

import filecmp
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.built import c3d
from helpers.exported import NARROW, ExportedByCommand
from helpers.manifests import MANIFEST
from helpers.reports import report
from onnx import numpy_helper
from torch import nn

from exporter.artifacts.files import read_manifest, sha256_file
from exporter.artifacts.manifest import Manifest, describe_network
from exporter.formats import FORMATS, onnx_graph
from exporter.formats.base import Attempt, WriteRequest, WriteResult
from exporter.requests import ExportRequest
from exporter.results import ParityReport
from exporter.types import DEFAULT_OPSET, MAX_OPSET, OptimizeOptions, WeightDtype
from exporter.workflows.candidates import ParityFailedError, first_accepted
from exporter.workflows.export import ExportResult, export
from models import build
from models.built_model import BuiltModel
from models.config import MANIFEST_KEY
from models.specs import OutputSpec, TensorSpec


@pytest.fixture(scope="module")
def graph(exported: ExportedByCommand) -> onnx.ModelProto:
    return onnx.load(exported.onnx)


def test_weights_are_the_networks_bit_for_bit(graph: onnx.ModelProto, built: BuiltModel) -> None:
    inside = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    for name, value in built.network.state_dict().items():
        assert np.array_equal(inside[name], value.numpy()), name
    assert set(inside) - set(built.network.state_dict()) == {"pool5.reshape.input1"}


def test_signature_opset_and_ir_version(graph: onnx.ModelProto) -> None:
    (clip,), (logits,) = graph.graph.input, graph.graph.output
    assert (clip.name, logits.name) == ("clip", "logits")
    dims = clip.type.tensor_type.shape.dim
    assert dims[0].dim_param == "batch"
    assert [dim.dim_value for dim in dims][1:] == [3, 16, 112, 112]
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", DEFAULT_OPSET)]
    assert graph.ir_version == 8
    assert {node.domain for node in graph.graph.node} == {""}


def test_the_whole_file_passes_the_full_check(exported: ExportedByCommand) -> None:
    onnx.checker.check_model(str(exported.onnx), full_check=True)


def test_the_newest_opset_is_the_newest_that_this_onnxruntime_knows() -> None:
    # get_all_operator_schema and get_all_opkernel_def are how onnxruntime's own documentation lists its kernels
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # pyright: ignore

    newest = max(schema.since_version for schema in state.get_all_operator_schema() if schema.domain == "")
    assert newest == MAX_OPSET
    kernels: dict[str, list[tuple[int, int]]] = {}
    for kernel in state.get_all_opkernel_def():
        if kernel.domain == "" and kernel.provider == "CPUExecutionProvider":
            kernels.setdefault(kernel.op_name, []).append(kernel.version_range)
    for schema in onnx.defs.get_all_schemas():
        function = schema.has_function or schema.has_context_dependent_function  # pyright: ignore
        folded = schema.name == "Constant" or function
        if schema.domain == "" and schema.since_version > 22 and not folded:
            spans = kernels.get(schema.name, [])
            assert any(low <= schema.since_version <= high for low, high in spans), schema.name


def test_nothing_of_this_machine_is_inside(narrow_artifacts: ExportResult, narrow: BuiltModel) -> None:
    content = narrow_artifacts.artifacts[0].path.read_bytes()
    for word in (b"stack_trace", b"site-packages", b"pkg.torch", b"pkg.onnxscript", str(Path.home()).encode() + b"/"):
        assert word not in content
    assert len(content) < 4 * narrow.parameters + 20_000  # the weights and little more


def test_the_manifest_inside_is_the_one_beside_it(exported: ExportedByCommand) -> None:
    beside = read_manifest(exported.onnx.with_name("c3d.onnx.json"))
    assert FORMATS["onnx"].read_embedded(exported.onnx) == beside.embedded()
    assert beside.files[0].sha256 == sha256_file(exported.onnx)
    assert beside.parity is not None
    assert beside.parity.passed


def test_a_second_export_has_the_same_bytes(exported: ExportedByCommand, tmp_path: Path) -> None:
    """One was made by the command in a process of its own, this one here, with all else that ran before."""
    again = export(ExportRequest(("torchscript", "onnx"), output_dir=tmp_path, verify=False))
    torchscript, onnx_file = again.artifacts
    assert filecmp.cmp(onnx_file.path, exported.onnx, shallow=False)
    assert filecmp.cmp(torchscript.path, exported.torchscript, shallow=False)


def test_external_data_fixed_batch_batch_norm_features_and_another_opset(tmp_path: Path) -> None:
    network = replace(NARROW, batch_norm=True)
    (artifact,) = export(
        ExportRequest(
            ("onnx",),
            output_dir=tmp_path,
            verify=False,
            external_data=True,
            batch=2,
            model=network,
            opset=20,
            outputs=("fc7", "fc6"),
            name="features",
        )
    ).artifacts
    model, data = (tmp_path / entry.path for entry in artifact.manifest.files)
    assert model.stat().st_size < 20_000
    assert data.name == f"features.onnx.{sha256_file(data)[:16]}.data"
    loaded = onnx.load(model)
    assert (loaded.opset_import[0].version, loaded.ir_version) == (20, 9)
    operators = {node.op_type for node in loaded.graph.node}
    assert operators == {"Conv", "Relu", "MaxPool", "Reshape", "Gemm"}, "no BatchNormalization is left"
    assert not any(tensor.name.startswith("fc8") for tensor in loaded.graph.initializer), "fc8 is dead code here"

    session = onnxruntime.InferenceSession(model)
    assert [output.name for output in session.get_outputs()] == ["fc7", "fc6"]
    assert session.get_inputs()[0].shape == [2, 3, 16, 48, 48]
    clips = np.random.default_rng(0).standard_normal((2, 3, 16, 48, 48), dtype=np.float32)
    fc7, fc6 = session.run(None, {"clip": clips})
    with torch.inference_mode():
        expected = c3d(build(network)).forward_layers(torch.from_numpy(clips))[2:]
    for output, wanted in ((fc6, expected[0].numpy()), (fc7, expected[1].numpy())):
        assert np.abs(np.asarray(output) - wanted).max() <= 1e-5 * np.abs(wanted).max()


class Small(nn.Module):
    """A convolution that Winograd makes faster, a mean, which is a Reduce operator, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(128, 128, 3, padding=1)
        self.linear = nn.Linear(128, 128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.conv(x)).mean((2, 3, 4)))


SMALL = BuiltModel(
    network=Small().eval(),
    input=TensorSpec("volume", "float32", ("batch", 128, 4, 16, 16)),
    outputs=(OutputSpec("scores", (128,)),),
)
DRAFT = replace(
    MANIFEST, name="m", network=describe_network(SMALL, ""), signature=SMALL.signature(), preprocessing=None
)


class Attention(nn.Module):
    """Self-attention over time, for which torch takes a batch of one in its example for a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


def test_the_batch_of_a_network_with_attention_stays_dynamic(tmp_path: Path) -> None:
    steps = BuiltModel(
        Attention().eval(), TensorSpec("steps", "float32", ("batch", 4, 8)), (OutputSpec("mixed", (4, 8), "features"),)
    )
    (artifact,) = export(ExportRequest(("onnx",), model=steps, output_dir=tmp_path, verify=False)).artifacts
    session = onnxruntime.InferenceSession(artifact.path)
    assert session.get_outputs()[0].shape == ["batch", 4, 8]
    assert np.asarray(session.run(None, {"steps": np.zeros((3, 4, 8), np.float32)})[0]).shape == (3, 4, 8)


def write(folder: Path, optimize: OptimizeOptions, opset: int = DEFAULT_OPSET) -> WriteResult:
    """Write the first candidate."""
    folder.mkdir()
    return next(FORMATS["onnx"].candidates(SMALL, WriteRequest("m", DRAFT, opset, optimize))).write(Attempt(folder))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> WriteResult:
    return write(tmp_path_factory.mktemp("plain") / "p", OptimizeOptions())


def outputs(result: WriteResult) -> np.ndarray:
    volume = np.random.default_rng(1).standard_normal((2, 128, 4, 16, 16), dtype=np.float32)
    return np.asarray(onnxruntime.InferenceSession(result.files[0]).run(None, {"volume": volume})[0])


def test_the_portable_graph_records_no_passes(plain: WriteResult) -> None:
    assert plain.manifest.options == {"target": "portable", "opset": DEFAULT_OPSET, "external_data": False}
    assert plain.notes == ()


@pytest.mark.usefixtures("exported_anew")
def test_the_rewritten_graph_records_passes_and_decisions_and_has_the_same_bytes_again(tmp_path: Path) -> None:
    options = OptimizeOptions("cpu", weight_dtype="int8")
    first, second = (write(tmp_path / name, options) for name in ("first", "second"))
    recorded = first.manifest.options
    assert recorded["passes"] == ["winograd", "mean-before-transpose", "compress-weights"]
    assert (recorded["autotune"], recorded["optimize_for"]) == (False, "size")
    assert any(str(decision).startswith("conv (Conv): winograd") for decision in recorded["decisions"])  # pyright: ignore
    assert first.files[0].read_bytes() == second.files[0].read_bytes()


@pytest.mark.parametrize(
    ("dtype", "size", "opset", "ir_version"), [("fp16", 0.55, 17, 8), ("int8", 0.35, 21, 10), ("fp32", 1.01, 28, 14)]
)
def test_weight_dtypes_and_opsets(
    dtype: WeightDtype, size: float, opset: int, ir_version: int, plain: WriteResult, tmp_path: Path
) -> None:
    """int8 weights raise the opset, and say so; a newer one is taken as it is."""
    asked = DEFAULT_OPSET if dtype == "int8" else opset
    result = write(tmp_path / "s", OptimizeOptions(weight_dtype=dtype), asked)
    model = onnx.load(result.files[0])
    assert (model.opset_import[0].version, model.ir_version) == (opset, ir_version)
    assert result.manifest.options["opset"] == opset
    assert any("opset" in note for note in result.notes) == (asked != opset)
    assert result.files[0].stat().st_size < size * plain.files[0].stat().st_size
    assert abs(outputs(plain) - outputs(result)).max() < 0.03 * abs(outputs(plain)).max()
    assert {entry.key for entry in model.metadata_props} == {MANIFEST_KEY}


CANDIDATES = ["Winograd tiles up to 4", "Winograd tiles up to 2", "the portable graph"]


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_smaller_tiles_and_then_the_portable_graph_where_parity_fails(failures: int, tmp_path: Path) -> None:
    manifests: list[Manifest] = []

    def verify(result: WriteResult) -> ParityReport:
        manifests.append(result.manifest)
        return replace(report(), passed=len(manifests) > failures)

    candidates = FORMATS["onnx"].candidates(SMALL, WriteRequest("m", DRAFT, DEFAULT_OPSET, OptimizeOptions("cpu")))

    def accept() -> WriteResult:
        return first_accepted(
            candidates,
            lambda candidate, rejected: candidate.write(Attempt(tmp_path, tuple(failed.name for failed in rejected))),
            verify,
        )[0]

    if failures == len(CANDIDATES):
        with pytest.raises(ParityFailedError):
            accept()
        return
    result = accept()
    options = result.manifest.options
    operators = [node.op_type for node in onnx.load(result.files[0]).graph.node]
    assert options["target"] == ("portable" if failures == 2 else "cpu")
    assert ("MatMul" in operators) == (failures < 2), "Winograd multiplies its tiles by MatMul"
    assert options.get("failed_parity", "") == ", ".join(CANDIDATES[:failures])
    assert [name for name in CANDIDATES if any(name in note for note in result.notes)] == CANDIDATES[:failures]
    assert FORMATS["onnx"].read_embedded(result.files[0]) == result.manifest.embedded()
    assert sorted(tmp_path.iterdir()) == list(result.files)


def test_the_network_is_exported_once_for_all_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None changes what the next one begins with: the last has the bytes that it has alone."""
    exports: list[object] = []
    export_network = onnx_graph._export  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(onnx_graph, "_export", lambda *given: exports.append(given) or export_network(*given))
    request = WriteRequest("m", DRAFT, DEFAULT_OPSET, OptimizeOptions("cpu"))
    candidates = [list(FORMATS["onnx"].candidates(SMALL, request)) for _ in range(2)]
    assert [candidate.name for candidate in candidates[0]] == CANDIDATES
    after_others = [candidate.write(Attempt(tmp_path)).files[0].read_bytes() for candidate in candidates[0]]
    assert len(exports) == 1
    assert candidates[1][-1].write(Attempt(tmp_path)).files[0].read_bytes() == after_others[-1]
    assert len(set(after_others)) == len(CANDIDATES)
