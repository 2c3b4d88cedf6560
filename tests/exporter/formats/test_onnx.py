"""The ONNX file: named like the network, standard operators, its manifest inside, free batch, the same bytes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ExportedByCommand
from helpers.built import c3d
from onnx import numpy_helper

from exporter.artifacts.manifest import read_manifest, sha256_file
from exporter.formats import FORMATS
from exporter.types import DEFAULT_OPSET, MAX_OPSET, ExportRequest
from exporter.workflows.export import export
from models import build
from models.builder import BuiltModel
from models.options import BuildOptions


@pytest.fixture(scope="module")
def graph(exported: ExportedByCommand) -> onnx.ModelProto:
    return onnx.load(exported.onnx)


def test_names_are_the_networks(graph: onnx.ModelProto) -> None:
    names = [node.name for node in graph.graph.node]
    assert names[:6] == ["conv1", "conv1.relu", "pool1", "conv2", "conv2.relu", "pool2"]
    assert names[-7:] == ["pool5", "pool5.reshape", "fc6", "fc6.relu", "fc7", "fc7.relu", "fc8"]
    assert len(set(names)) == len(names)
    assert {node.domain for node in graph.graph.node} == {""}


def test_weights_are_the_networks_bit_for_bit(graph: onnx.ModelProto, built: BuiltModel) -> None:
    inside = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    for name, value in built.network.state_dict().items():
        assert np.array_equal(inside[name], value.numpy()), name
    assert set(inside) - set(built.network.state_dict()) == {"pool5.reshape.input1"}


def test_signature_and_opset(graph: onnx.ModelProto) -> None:
    (clip,), (logits,) = graph.graph.input, graph.graph.output
    assert (clip.name, logits.name) == ("clip", "logits")
    dims = clip.type.tensor_type.shape.dim
    assert dims[0].dim_param == "batch"
    assert [dim.dim_value for dim in dims][1:] == [3, 16, 112, 112]
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", DEFAULT_OPSET)]


def test_the_whole_file_passes_the_full_check(exported: ExportedByCommand) -> None:
    onnx.checker.check_model(str(exported.onnx), full_check=True)


def test_the_maximal_opset_is_the_newest_that_this_onnxruntime_knows() -> None:
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


def test_nothing_of_this_machine_is_inside(exported: ExportedByCommand) -> None:
    content = exported.onnx.read_bytes()
    for word in (b"stack_trace", b"site-packages", b"pkg.torch", b"pkg.onnxscript", str(Path.home()).encode() + b"/"):
        assert word not in content
    assert len(content) < 313_638_292 + 20_000  # the weights and little more


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
    assert sha256_file(onnx_file.path) == sha256_file(exported.onnx)
    assert sha256_file(torchscript.path) == sha256_file(exported.torchscript)


def test_external_data_fixed_batch_batch_norm_features_and_an_older_opset(tmp_path: Path) -> None:
    request = ExportRequest(
        ("onnx",),
        output_dir=tmp_path,
        verify=False,
        external_data=True,
        batch=2,
        model=BuildOptions(batch_norm=True),
        opset=20,
        outputs=("fc7", "fc6"),
        name="features",
    )
    (artifact,) = export(request).artifacts
    model, data = (tmp_path / entry.path for entry in artifact.manifest.files)
    assert model.stat().st_size < 20_000
    assert data.name == f"features.onnx.{sha256_file(data)[:16]}.data"
    loaded = onnx.load(model)
    assert loaded.opset_import[0].version == 20
    operators = {node.op_type for node in loaded.graph.node}
    assert operators == {"Conv", "Relu", "MaxPool", "Reshape", "Gemm"}, "no BatchNormalization is left"
    assert not any(tensor.name.startswith("fc8") for tensor in loaded.graph.initializer), "fc8 is dead code here"

    session = onnxruntime.InferenceSession(model)
    assert [output.name for output in session.get_outputs()] == ["fc7", "fc6"]
    assert session.get_inputs()[0].shape == [2, 3, 16, 112, 112]
    clips = np.random.default_rng(0).standard_normal((2, 3, 16, 112, 112), dtype=np.float32)
    fc7, fc6 = session.run(None, {"clip": clips})
    with torch.inference_mode():
        expected = c3d(build(BuildOptions(batch_norm=True))).forward_features(torch.from_numpy(clips))
    for answer, wanted in ((fc6, expected[0].numpy()), (fc7, expected[1].numpy())):
        assert isinstance(answer, np.ndarray)
        assert np.abs(answer - wanted).max() <= 1e-5 * np.abs(wanted).max()
