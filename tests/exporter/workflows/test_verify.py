"""Artifacts compared with their networks and with other model files; engines, tolerances and precisions."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import small_models
from onnx import TensorProto, helper, numpy_helper

from exporter.artifacts.manifest import manifest_path, read_manifest, sha256_file
from exporter.errors import ArtifactError, BadInputError, OutputError, UsageError
from exporter.parity.input_types import INPUT_TYPES
from exporter.results import ParityReport
from exporter.types import EngineReference, InputOptions, ParityOptions, ValueRange
from exporter.workflows.export import ExportResult
from exporter.workflows.verify import verify_parity
from models.built_model import BuiltModel
from models.options import BuildOptions

RENAMED = {"x": "input.1", "conv1": "a", "relu1": "b", "pool1": "c", "conv2": "d", "relu2": "e", "scores": "1234"}
DATA = Path(__file__).parents[2] / "data"
FEW = ("random", "uniform", "sparse")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return small_models.network(tmp_path / "theirs.onnx")


def verify(
    mine: Path,
    theirs: Path,
    shapes: dict[str, tuple[int, ...]] | None = None,
    feeds: dict[str, Path | ValueRange] | None = None,
    arrays: tuple[Path, ...] = (),
    **options: object,
) -> ParityReport:
    inputs = InputOptions(shapes or {}, feeds or {}, arrays)
    (report,) = verify_parity([mine], ParityOptions(against=theirs, inputs=inputs, **options))  # pyright: ignore
    return report


def test_the_same_function_under_other_names_and_another_opset_passes(theirs: Path, tmp_path: Path) -> None:
    mine = small_models.network(tmp_path / "mine.onnx", names=RENAMED, opset=13)
    report = verify(mine, theirs)
    assert report.passed
    assert {row.output for row in report.comparisons} == {"scores"}
    assert [row.input for row in report.comparisons if row.batch == 1] == [*INPUT_TYPES[:-2]]
    assert {row.batch for row in report.comparisons} == {1, 2, 3}
    assert report.float64_name == "theirs.onnx in float64"
    assert report.tolerance == "within 8 times float32 theirs.onnx's own error"
    assert [*report.hashes] == ["mine.onnx"]
    assert {"onnxruntime", "system", "processor"} <= {*report.environment}


@pytest.mark.parametrize("layer", ["w1", "b2", "w3"])
def test_a_layer_scaled_by_a_thousandth_fails(layer: str, theirs: Path, tmp_path: Path) -> None:
    mine = small_models.network(tmp_path / "mine.onnx", change=small_models.scaled(layer, 1.001))
    report = verify(mine, theirs, input_types=FEW)
    assert not report.passed
    assert all(not row.passed for row in report.comparisons if row.input == "uniform")


@pytest.mark.parametrize(("mine", "other"), [(2, "n"), ("n", 2), (3, 2), (1, "n")])
def test_fixed_batches_on_either_side(mine: int | str, other: int | str, tmp_path: Path) -> None:
    first = small_models.network(tmp_path / "mine.onnx", batch=mine)
    second = small_models.network(tmp_path / "theirs.onnx", batch=other)
    report = verify(first, second, input_types=FEW, determinism=True)
    assert report.passed
    assert {row.batch for row in report.comparisons} == ({1, 2, 3} if mine == "n" else {mine})
    assert all(found.identical for found in report.determinism)


def test_free_sizes_are_the_users_or_the_first_default_that_the_model_accepts(theirs: Path, tmp_path: Path) -> None:
    dynamic = small_models.network(tmp_path / "dynamic.onnx", sizes=("h", "w"))
    report = verify(dynamic, dynamic, input_types=FEW)  # its linear layer accepts 8x8 only
    assert report.passed
    assert "x float32 (n, 3, h, w): shape 1x3x8x8 (--shape changes it)" in report.notes[1]
    assert verify(theirs, dynamic, {"x": (1, 3, 8, 8)}, input_types=FEW).passed
    assert verify(dynamic, theirs, input_types=FEW).passed
    with pytest.raises(UsageError, match="--shape y: no such input; there are x"):
        verify(dynamic, theirs, {"y": (1, 3, 8, 8)})
    with pytest.raises(UsageError, match=r"--shape x=1x3x9x9 does not fit x float32 \(n, 3, 8, 8\)"):
        verify(dynamic, theirs, {"x": (1, 3, 9, 9)})


def lookup(path: Path, factor: float = 1.0) -> Path:
    """Two inputs, one of them of integers, and two outputs, one of them of integers."""
    generator = np.random.default_rng(1)
    table, matrix = (generator.standard_normal(shape).astype(np.float32) for shape in ((50, 6), (6, 5)))
    nodes = [
        helper.make_node("Gather", ["table", "words"], ["rows"]),
        helper.make_node("ReduceMean", ["rows", "axes"], ["mean"], keepdims=0),
        helper.make_node("Add", ["mean", "bias"], ["sum"]),
        helper.make_node("MatMul", ["sum", "matrix"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
    ]
    value = helper.make_tensor_value_info
    return small_models.save(
        path,
        nodes,
        [value("words", TensorProto.INT64, ["n", "length"]), value("bias", TensorProto.FLOAT, ["n", 6])],
        [value("scores", TensorProto.FLOAT, ["n", 5]), value("best", TensorProto.INT64, ["n"])],
        {"table": table, "matrix": matrix * np.float32(factor), "axes": np.array([1])},
    )


def test_arrays_for_several_inputs(tmp_path: Path) -> None:
    mine, theirs, fault = lookup(tmp_path / "a.onnx"), lookup(tmp_path / "b.onnx"), lookup(tmp_path / "c.onnx", 1.001)
    generator = np.random.default_rng(2)
    arrays = (tmp_path / "in.npz",)
    np.savez(arrays[0], words=generator.integers(0, 50, (3, 4)), bias=generator.standard_normal((3, 6)))
    report = verify(mine, theirs, arrays=arrays, localize=True)
    assert report.passed
    assert [(row.input, row.output) for row in report.comparisons if row.batch == 1] == [
        (f"in.npz row {row}", output) for row in range(3) for output in ("scores", "best")
    ]
    assert not verify(fault, theirs, arrays=arrays).passed
    np.savez(tmp_path / "short.npz", words=np.zeros((3, 4)))
    np.savez(tmp_path / "ragged.npz", words=np.zeros((3, 4)), bias=np.zeros((2, 6)))
    np.savez(tmp_path / "wide.npz", words=np.zeros((3, 4)), bias=np.zeros((3, 7)))
    for name, reported in {
        "short": "has no array called bias; it has words",
        "ragged": r"different numbers of rows, or none: \[2, 3\]",
        "wide": r"bias has shape \(3, 7\); expected \(rows, 6\)",
        "none": "no such file",
    }.items():
        with pytest.raises(BadInputError, match=reported):
            verify(mine, theirs, arrays=(tmp_path / f"{name}.npz",))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04torn"])
def test_a_file_that_is_no_npz_is_refused(content: bytes, theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "in.npz").write_bytes(content)
    with pytest.raises(BadInputError, match=r"in.npz: not an .npz file of arrays$"):
        verify(theirs, theirs, arrays=(tmp_path / "in.npz",))


class Small(torch.nn.Module):
    """The same network as `small_models.network`, in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Conv2d(6, 8, 3, padding=1)
        self.linear = torch.nn.Linear(128, 7)
        for module, number in ((self.conv1, 1), (self.conv2, 2), (self.linear, 3)):
            weights = small_models.weights()
            module.weight.data = torch.from_numpy(weights[f"w{number}"])
            module.get_parameter("bias").data = torch.from_numpy(weights[f"b{number}"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 8, 8) -> (N, 7)."""
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        return self.linear(torch.flatten(torch.relu(self.conv2(x)), 1))


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_torchscript_is_compared_with_onnx_and_onnx_with_torchscript(theirs: Path, tmp_path: Path) -> None:
    archive, fault = (
        tmp_path / "mine.pt",
        small_models.network(tmp_path / "f.onnx", change=small_models.scaled("w2", 1.001)),
    )
    torch.jit.save(torch.jit.script(Small().eval()), str(archive))  # pyright: ignore
    assert verify(archive, theirs, input_types=FEW).passed
    assert verify(theirs, archive, {"x": (1, 3, 8, 8)}, input_types=FEW, localize=True).passed
    assert verify(theirs, archive, input_types=FEW).passed  # with the shapes that theirs.onnx states
    with pytest.raises(UsageError, match="x float32 .*its rank is not stated; give its shape as --shape x="):
        verify(archive, archive)
    report = verify(archive, fault, input_types=FEW, localize=True)
    assert not report.passed
    assert report.localization is not None
    assert report.localization.first == "conv2"
    backwards = verify(fault, archive, {"x": (1, 3, 8, 8)}, input_types=FEW, localize=True)
    assert backwards.localization is not None
    assert "agrees up to" in backwards.localization.summary
    half = tmp_path / "half.pt"
    torch.jit.save(torch.jit.script(Small().eval().bfloat16()), str(half))  # pyright: ignore
    assert verify(half, theirs, input_types=FEW, localize=True).tolerance.startswith(
        "bfloat16: signal to noise at least 28 dB"
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_has_its_own_tolerance(dtype: str, theirs: Path, tmp_path: Path) -> None:
    code, engine = getattr(TensorProto, dtype.upper()), None if dtype == "float16" else "onnx-reference"
    half = small_models.narrowed(theirs, tmp_path / "half.onnx", code)
    report = verify(half, theirs, engine=engine, localize=True)
    assert report.passed
    assert report.tolerance.startswith(f"{dtype}: signal to noise at least ")
    assert f"the weights are {dtype}: compared as an approximation" in " ".join(report.notes)
    assert not {"nan", "large", "denormal"} & {row.input for row in report.comparisons}
    assert report.localization is not None
    assert report.localization.first is None
    assert 40 < min(row.snr_db for row in report.comparisons) < 80
    fault = small_models.network(tmp_path / "fault.onnx", change=small_models.scaled("w2", 1.1))
    assert not verify(small_models.narrowed(fault, tmp_path / "f.onnx", code), theirs, engine=engine).passed


def test_a_reference_in_half_precision_does_not_widen_the_tolerance(theirs: Path, tmp_path: Path) -> None:
    half = small_models.narrowed(theirs, tmp_path / "half.onnx", TensorProto.FLOAT16)

    def rounded(values: small_models.Weights) -> None:
        values |= {name: value.astype(np.float16).astype(np.float32) for name, value in values.items()}

    same = small_models.network(tmp_path / "same.onnx", change=rounded)
    assert verify(same, half, input_types=FEW).passed
    assert not verify(theirs, half, input_types=FEW).passed  # its weights are not rounded


def test_eight_bits(theirs: Path, tmp_path: Path) -> None:
    """8-bit weights with one scale for each output channel."""

    def quantize(bits: float) -> Path:
        model = onnx.load(theirs)
        nodes: list[onnx.NodeProto] = []
        for tensor in [tensor for tensor in model.graph.initializer if tensor.name.startswith("w")]:
            name, value = tensor.name, numpy_helper.to_array(tensor)
            scale = np.abs(value).max(axis=tuple(range(1, value.ndim))) / np.float32(2 ** (bits - 1) - 1)
            whole = np.round(value / scale.reshape(-1, *[1] * (value.ndim - 1))).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(whole, f"{name}.int8"))
            model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.scale"], [name], axis=0))
        nodes += model.graph.node
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        onnx.save(model, tmp_path / f"{bits}.onnx")
        return tmp_path / f"{bits}.onnx"

    report = verify(quantize(8), theirs)
    assert report.passed
    assert report.tolerance.startswith("int8: signal to noise at least 15 dB")
    assert report.top1_agreement is not None
    assert not verify(quantize(2), theirs).passed
    assert not verify(quantize(8), theirs, rtol=1e-5).passed


def test_unused_weights_do_not_decide_the_precision(theirs: Path, tmp_path: Path) -> None:
    model = onnx.load(small_models.network(tmp_path / "mine.onnx", change=small_models.scaled("w2", 1.001)))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((2, 2), np.float16), "unused"))
    onnx.save(model, tmp_path / "mine.onnx")
    report = verify(tmp_path / "mine.onnx", theirs, input_types=FEW)
    assert report.tolerance.startswith("within 8 times")
    assert not report.passed


def test_fail_fast_stops_at_the_first_failure(theirs: Path, tmp_path: Path) -> None:
    mine = small_models.network(tmp_path / "mine.onnx", change=small_models.scaled("w1", 1.001))
    report = verify(mine, theirs, fail_fast=True, localize=True)
    assert [row.input for row in report.comparisons] == ["random"]
    assert "--fail-fast: the inputs after the first failure were not run" in report.notes
    assert report.localization is not None
    assert report.localization.first == "conv1"
    assert len(verify(theirs, theirs, fail_fast=True, input_types=FEW).comparisons) == 5


def test_rtol_and_atol_take_precedence(theirs: Path, tmp_path: Path) -> None:
    mine = small_models.network(tmp_path / "mine.onnx", change=small_models.scaled("w3", 1.001))
    assert verify(mine, theirs, input_types=FEW, rtol=2e-3, atol=1e-3).passed
    assert (
        verify(mine, theirs, input_types=FEW, rtol=2e-3, atol=1e-3).tolerance
        == "within 0.001 + 0.002 |reference|, as asked for"
    )
    assert not verify(mine, theirs, input_types=FEW, rtol=1e-4).passed
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="--rtol and --atol must be finite and not negative"):
            verify(mine, theirs, input_types=FEW, rtol=wrong)


def test_a_near_tie_is_reported_as_a_tie(theirs: Path, tmp_path: Path) -> None:
    def tied(first: float, second: float) -> Path:
        def change(values: small_models.Weights) -> None:
            values["w3"][:] = 0
            values["b3"][:] = np.array([first, second, 0, 0, 0, 0, 0], np.float32)

        return small_models.network(tmp_path / f"{first}.onnx", change=change)

    above = float(np.nextafter(np.float32(1), np.float32(2)))
    report = verify(tied(1, above), tied(above, 1), input_types=("random",))
    assert [(row.top1, row.passed) for row in report.comparisons] == [("tie", True)]


def test_a_baseline_with_large_errors_proves_nothing(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Add", ["x", "far"], ["away"]), helper.make_node("Sub", ["away", "far"], ["y"])]
    path = small_models.save(
        tmp_path / "lossy.onnx",
        nodes,
        [value("x", TensorProto.FLOAT, ["n", 4])],
        [value("y", TensorProto.FLOAT, ["n", 4])],
        {"far": np.array(1e9, np.float32)},
    )
    report = verify(path, path, input_types=("random", "uniform"))
    assert not report.passed
    assert all(row.passed for row in report.comparisons)
    notes = "; ".join(report.notes)
    assert "float32 lossy.onnx itself errs by more than 1% of the output on random, uniform" in notes
    assert "no input gives a meaningful budget for y" in notes


def test_an_output_without_a_batch_axis_runs_in_batches_of_one(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    paths = [
        small_models.save(
            tmp_path / f"{name}.onnx",
            [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)],
            [value("x", TensorProto.FLOAT, ["n", 4])],
            [value("y", TensorProto.FLOAT, [])],
            {},
        )
        for name in "ab"
    ]
    report = verify(paths[0], paths[1], input_types=FEW, determinism=True)
    assert report.passed
    assert {row.batch for row in report.comparisons} == {1}


def test_strings_are_compared(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    paths = [
        small_models.save(
            tmp_path / f"{''.join(words)}.onnx",
            [
                helper.make_node("ArgMax", ["x"], ["index"], axis=1, keepdims=0),
                helper.make_node("Gather", ["words", "index"], ["y"]),
            ],
            [value("x", TensorProto.FLOAT, ["n", 2])],
            [value("y", TensorProto.STRING, ["n"])],
            {"words": np.array([word.encode() for word in words], dtype=object)},
        )
        for words in (("cat", "dog"), ("dog", "cat"))
    ]
    assert verify(paths[0], paths[0], input_types=FEW).passed
    report = verify(paths[1], paths[0], input_types=FEW)
    assert [row.equal for row in report.comparisons if row.input == "random"] == [0]


def test_invalid_options_are_refused_before_anything_runs(theirs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--weights and its like"):
        verify_parity([theirs], ParityOptions(against=theirs), BuildOptions(weights="c3d.pth"))
    with pytest.raises(UsageError, match="--shape needs --against FILE"):
        verify_parity([theirs], ParityOptions(inputs=InputOptions({"x": (1, 2)})))
    with pytest.raises(UsageError, match="--clip needs a network that takes video"):
        verify(theirs, theirs, clips=(tmp_path,))
    with pytest.raises(
        UsageError, match="torchscript does not run onnx files; onnxruntime, openvino, onnx-reference can"
    ):
        verify(theirs, theirs, engine="torchscript")
    with pytest.raises(ArtifactError, match="no such artifact"):
        verify(theirs, tmp_path / "none.onnx")
    with pytest.raises(ArtifactError, match="does not fit the other's: words int64.*the other has x float32"):
        verify(lookup(tmp_path / "b.onnx"), theirs)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="--cache .*file: cannot be written to: File exists"):
        verify(theirs, theirs, cache=tmp_path / "file")


def test_external_weights_are_part_of_the_cache_key(tmp_path: Path) -> None:
    """Two files with equal graphs and different weights in a file beside them."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        factor = 1.0 if folder == "one" else 2.0
        source = small_models.network(tmp_path / "s.onnx", change=small_models.scaled("w3", factor))
        onnx.save(
            onnx.load(source),
            tmp_path / folder / "m.onnx",
            save_as_external_data=True,
            location="weights.bin",
            size_threshold=0,
        )
    assert (tmp_path / "one" / "m.onnx").read_bytes() == (tmp_path / "two" / "m.onnx").read_bytes()
    for folder in ("one", "two"):
        path = tmp_path / folder / "m.onnx"
        assert verify(path, path, input_types=("random",), cache=tmp_path / "cache").passed
    assert len([*(tmp_path / "cache").glob("*.npz")]) == 2


def test_seed_and_samples_decide_the_inputs(theirs: Path) -> None:
    options = ParityOptions(against=theirs, input_types=("random", "zeros"), samples=2)
    first, again, other = (verify_parity([theirs], replace(options, seed=seed))[0] for seed in (0, 0, 1))
    assert first.comparisons == again.comparisons
    assert [row.input for row in first.comparisons[:3]] == ["random", "random", "zeros"]
    assert first.comparisons[0].scale != first.comparisons[1].scale != other.comparisons[0].scale


def test_the_callers_network_is_unchanged(narrow: BuiltModel, narrow_artifacts: ExportResult) -> None:
    network = narrow.network
    before = {name: (value, value.clone()) for name, value in network.state_dict().items()}
    options = ParityOptions(input_types=("random", "video"), localize=True, determinism=True)
    reports = verify_parity([artifact.path for artifact in narrow_artifacts.artifacts], options, narrow)
    assert all(report.passed for report in reports)
    assert all(report.localization is not None and report.localization.first is None for report in reports)
    for name, value in network.state_dict().items():
        tensor, values = before[name]
        assert value.data_ptr() == tensor.data_ptr()
        assert (value.dtype, value.device.type) == (torch.float32, "cpu")
        assert torch.equal(value, values)


@pytest.mark.parametrize("against", ["torch", "onnx-reference"])
def test_a_second_engine_runs_the_same_batches(
    against: str, narrow: BuiltModel, narrow_artifacts: ExportResult
) -> None:
    options = ParityOptions(input_types=("random",), against=EngineReference(against))
    (report,) = verify_parity([narrow_artifacts.artifacts[0].path], options, narrow)
    assert report.passed
    assert [row.input for row in report.against_comparisons] == [row.input for row in report.comparisons]
    assert all(row.max_abs_diff is not None and row.max_abs_diff < 1e-3 for row in report.comparisons)


def test_artifacts_of_one_network_share_its_reference(narrow_artifacts: ExportResult) -> None:
    steps: list[str] = []
    paths = [artifact.path for artifact in narrow_artifacts.artifacts]
    reports = verify_parity(paths, ParityOptions(input_types=("random",)), progress=steps.append)
    assert [Path(report.artifact) for report in reports] == paths
    assert steps.count("reference in float64, input 1 of 1: random") == 1


def write_version_1(source: Path, folder: Path) -> Path:
    """Copy the narrow ONNX artifact with manifests of version 1 beside and inside it, as release 0.1.0 wrote them."""
    target = folder / "c3d.onnx"
    now = read_manifest(manifest_path(source))
    old = json.loads((DATA / "manifest_v1.json").read_text("utf-8"))
    old["state_sha256"], old["parameters"] = now.network.state_sha256, now.network.parameters
    old["network"] |= {"num_classes": 5, "base_channels": 8, "feature_dim": 32}  # a width that release 0.1.0 lacked
    old["signature"]["outputs"][0]["shape"] = ["batch", 5]
    model = onnx.load(source)
    for entry in model.metadata_props:
        entry.value = json.dumps(old | {"files": []})
    onnx.save(model, target)
    old["files"] = [{"path": target.name, "bytes": target.stat().st_size, "sha256": sha256_file(target)}]
    manifest_path(target).write_text(json.dumps(old), "utf-8")
    return target


@pytest.mark.parametrize("manifest", ["beside", "inside"])
def test_an_artifact_with_a_manifest_of_version_1(
    manifest: str, narrow_artifacts: ExportResult, tmp_path: Path
) -> None:
    path = write_version_1(narrow_artifacts.artifacts[0].path, tmp_path)
    if manifest == "inside":
        manifest_path(path).unlink()
    (report,) = verify_parity([path], ParityOptions(input_types=("random",), localize=True))
    assert report.passed
    assert any("the one inside it is used" in note for note in report.notes) is (manifest == "inside")


def test_a_model_that_draws_random_numbers_has_no_result(theirs: Path, tmp_path: Path) -> None:
    model = onnx.load(theirs)
    (output,) = model.graph.output
    model.graph.node[-1].output[0] = "clean"
    noise = helper.make_node("RandomNormalLike", ["clean"], ["noise"], "source")
    model.graph.node.extend([noise, helper.make_node("Add", ["clean", "noise"], [output.name])])
    onnx.save(model, noisy := tmp_path / "noisy.onnx")
    for mine, other in ((noisy, theirs), (theirs, noisy)):
        with pytest.raises(ArtifactError, match=r"draws random numbers at source \(RandomNormalLike\).*eval\(\)"):
            verify(mine, other, input_types=FEW)
