"""`--with-preprocess`: artifacts that take decoded frames, verified end to end, with everything else as without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.exported import NARROW
from helpers.framed import small
from helpers.manifests import MANIFEST
from helpers.profile_origins import ORIGINS

from exporter.artifacts.files import read_manifest, sha256_file
from exporter.artifacts.manifest import Manifest
from exporter.errors import ArtifactError, BadInputError, UsageError
from exporter.formats import torchscript_variants
from exporter.formats.onnx_preprocess.nodes import CLIP_VALUE
from exporter.requests import ExportRequest, OptimizeRequest
from exporter.timing import RoundOptions
from exporter.types import FormatName, OptimizeOptions, ParityOptions
from exporter.workflows.export import export
from exporter.workflows.inspect import inspect
from exporter.workflows.optimize import optimize
from exporter.workflows.verify import verify_parity
from models.builder import build
from models.preprocessing.profiles import JFZHANG95, UNKNOWN
from models.specs import frames_input

BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")
FEW = ParityOptions(input_types=("random", "ties"))


def request(folder: Path, *formats: FormatName, **fields: Any) -> ExportRequest:
    settings: dict[str, Any] = {"with_preprocess": True, "model": small(JFZHANG95), "name": "small", "parity": FEW}
    return ExportRequest(formats, output_dir=folder, **(settings | fields))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both formats of a small network, verified at export."""
    made = tmp_path_factory.mktemp("framed")
    result = export(request(made, "onnx", "torchscript"))
    assert [report.passed for report in result.reports] == [True, True]
    return made


@pytest.mark.parametrize("suffix", [".onnx", ".pt"])
def test_frames_of_a_real_video_at_three_sizes_give_the_origins_outputs(folder: Path, suffix: str) -> None:
    import av
    import cv2

    with av.open(str(BIKES)) as container:
        whole = np.stack(
            [frame.to_ndarray(format="rgb24") for frame, _ in zip(container.decode(video=0), range(2), strict=False)]
        )
    origin = next(row[1] for row in ORIGINS if row[0] == JFZHANG95)
    network = small(JFZHANG95).network.double()
    for width, height in ((whole.shape[2], whole.shape[1]), (320, 240), (111, 200)):
        frames = np.stack([cv2.resize(frame, (width, height)) for frame in whole])
        clip = torch.from_numpy(np.ascontiguousarray(origin(frames).transpose(3, 0, 1, 2)))[None]
        (expected, _), found = network(clip), run(folder / f"small{suffix}", frames[None])
        assert np.abs(found - expected.numpy()).max() <= 1e-5 * float(expected.abs().max())


def run(path: Path, frames: Any) -> Any:
    if path.suffix == ".onnx":
        return onnxruntime.InferenceSession(path).run(None, {"frames": frames})[0]
    return torch.jit.load(path)(torch.from_numpy(frames))[0].numpy()


def test_the_manifest_says_that_it_takes_frames(folder: Path) -> None:
    for name in ("small.onnx", "small.pt"):
        manifest = read_manifest(folder / f"{name}.json")
        assert str(manifest.signature.inputs[0]) == "frames uint8 (batch, 2, height, width, 3)"
        assert manifest.options["with_preprocess"] is True
        assert manifest.clip_size == (2, 112, 112)
        assert inspect(folder / name).facts["option with_preprocess"] == "yes"


def test_verify_finds_it_right_on_frames_and_videos_of_their_own_size(folder: Path) -> None:
    options = replace(FEW, clips=(BIKES,), localize=True, determinism=True)
    reports = verify_parity([folder / "small.onnx", folder / "small.pt"], options, small(JFZHANG95))
    assert [report.passed for report in reports] == [True, True]
    for report in reports:
        assert {"random", "ties", "bikes.mp4"} <= {row.input for row in report.comparisons}
        assert report.localization is not None
        assert "preprocess.normalize" in {layer.layer for layer in report.localization.layers if layer.value}
        assert {row.identical for row in report.determinism if "3 runs" in row.condition} == {True}


@pytest.mark.parametrize(("artifact", "other"), [("small.onnx", "small.pt"), ("small.pt", "small.onnx")])
def test_each_format_is_a_float64_reference_of_the_other(folder: Path, artifact: str, other: str) -> None:
    options = ParityOptions(input_types=("random",), against=folder / other)
    (report,) = verify_parity([folder / artifact], options)
    assert report.passed
    assert max(row.max_error for row in report.comparisons) < 1e-3


def test_openvino_computes_the_same_pixels(folder: Path) -> None:
    pytest.importorskip("openvino", reason="an extra: pip install 'c3d-export[openvino]'")
    options = ParityOptions(input_types=("random", "ties", "video"), engine="openvino")
    (report,) = verify_parity([folder / "small.onnx"], options, small(JFZHANG95))
    assert report.passed


def test_optimize_takes_the_artifact_and_keeps_its_interface(tmp_path: Path) -> None:
    profiled = replace(build(NARROW), preprocessing=JFZHANG95)
    export(request(tmp_path, "onnx", model=profiled, name="c3d", verify=False))
    wanted = OptimizeRequest(tmp_path / "c3d.onnx", tmp_path / "fast.onnx", measure=False)
    result = optimize(wanted)
    assert result.report is not None
    assert result.report.passed
    assert "winograd" in result.passes
    manifest = read_manifest(tmp_path / "fast.onnx.json")
    assert manifest.with_preprocess
    assert manifest.clip_size == (16, 48, 48)


def test_the_mean_file_is_inside_and_is_wanted_again_for_the_comparison(tmp_path: Path) -> None:
    cube = np.random.default_rng(0).uniform(80, 120, (3, 16, 128, 171)).astype(np.float32)
    np.save(tmp_path / "mean.npy", cube)
    options = replace(NARROW, input_size=None, preprocess="caffe-sports1m", mean=tmp_path / "mean.npy")
    random = ParityOptions(input_types=("random",))
    (artifact,) = export(request(tmp_path, "onnx", model=options, name="c3d", parity=random)).artifacts
    inside = {tensor.name: tensor for tensor in onnx.load(artifact.path).graph.initializer}["preprocess.mean"]
    assert np.array_equal(onnx.numpy_helper.to_array(inside)[0], cube[:, :, 8:120, 29:141])
    (report,) = verify_parity([artifact.path], random)
    assert report.passed
    (tmp_path / "mean.npy").unlink()
    with pytest.raises(BadInputError, match="mean"):
        verify_parity([artifact.path], random)


def test_verify_finds_another_profile(folder: Path) -> None:
    other = small(replace(JFZHANG95, crop=(8, 29)))
    manifest = read_manifest(folder / "small.onnx.json")
    assert other.preprocessing is not None
    (folder / "moved.onnx").write_bytes((folder / "small.onnx").read_bytes())
    graph = onnx.load(folder / "moved.onnx")
    del graph.metadata_props[:]
    graph.metadata_props.add(
        key="c3d_export.manifest", value=replace(manifest.embedded(), preprocessing=other.preprocessing).to_json()
    )
    onnx.save(graph, folder / "moved.onnx")
    (report,) = verify_parity([folder / "moved.onnx"], FEW, other)
    assert not report.passed


@pytest.mark.usefixtures("exported_anew")
def test_the_same_export_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    export(request(tmp_path, "onnx", "torchscript", verify=False))
    for name in ("small.onnx", "small.pt"):
        assert sha256_file(tmp_path / name) == sha256_file(folder / name)


def test_the_network_behind_it_is_the_one_without_it(folder: Path, tmp_path: Path) -> None:
    export(request(tmp_path, "onnx", with_preprocess=False, verify=False))
    bare, framed = onnx.load(tmp_path / "small.onnx"), onnx.load(folder / "small.onnx")
    for node in framed.graph.node:
        node.input[:] = ["clip" if name == CLIP_VALUE else name for name in node.input]
    assert [node for node in framed.graph.node if not node.name.startswith("preprocess.")] == [*bare.graph.node]
    held = {tensor.name: tensor for tensor in framed.graph.initializer}
    assert all(held[tensor.name] == tensor for tensor in bare.graph.initializer)


@pytest.mark.parametrize(
    "fields",
    [{"batch": 2}, {"outputs": ("features",)}, {"external_data": True}, {"opset": 23}],
    ids=lambda fields: next(iter(fields)),
)
def test_other_options_apply_as_without_it(tmp_path: Path, fields: dict[str, Any]) -> None:
    result = export(request(tmp_path, "onnx", **fields))
    signature = result.artifacts[0].manifest.signature
    assert signature.inputs[0].shape[0] == fields.get("batch", "batch")
    assert [output.name for output in signature.outputs] == list(fields.get("outputs", ("scores", "features")))
    assert result.reports[0].passed


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_the_target_cpu_rewrites_the_network_behind_it(
    tmp_path: Path, form: FormatName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchscript_variants, "ROUNDS", RoundOptions(min_rounds=1, max_rounds=1, budget_s=0, warm_up=0))
    profiled = replace(build(NARROW), preprocessing=JFZHANG95)
    made = request(tmp_path, form, model=profiled, optimize=OptimizeOptions(target="cpu"), name=None)
    result = export(replace(made, parity=ParityOptions(input_types=("random",))))
    assert result.reports[0].passed
    options = result.artifacts[0].manifest.options
    assert options["target"] == "cpu"
    if form == "onnx":
        assert isinstance(options["passes"], list)
        assert "winograd" in options["passes"]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 2, 240, 320, 3), np.float32),
        np.zeros((1, 3, 2, 112, 112), np.uint8),
        np.zeros((1, 4, 240, 320, 3), np.uint8),
    ],
    ids=["float", "channels first", "four frames"],
)
def test_another_input_is_refused_by_the_file_itself(folder: Path, wrong: Any) -> None:
    with pytest.raises(Exception, match=r"input: frames|expected: \(tensor\(uint8\)\)"):  # onnxruntime's own words
        run(folder / "small.onnx", wrong)
    with pytest.raises(Exception, match=r"frames"):
        run(folder / "small.pt", wrong)


def test_a_network_whose_preprocessing_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--preprocess NAME"):
        export(request(tmp_path, "onnx", model=small(UNKNOWN)))
    assert not [*tmp_path.iterdir()]


def test_a_manifest_that_contradicts_itself_is_refused() -> None:
    clip = MANIFEST.signature.inputs[0]
    framed = replace(
        MANIFEST,
        signature=replace(MANIFEST.signature, inputs=(frames_input(clip),)),
        options={"with_preprocess": True, "clip_size": "16x112x112"},
    )
    assert Manifest.from_json(framed.to_json()) == framed
    for broken in (
        replace(framed, options={}),
        replace(framed, preprocessing=None),
        replace(framed, options={"with_preprocess": True}),
        replace(framed, options=framed.options | {"clip_size": "16x100x100"}),
        replace(framed, options=framed.options | {"clip_size": "16x400x400"}),
        replace(framed, signature=MANIFEST.signature),
    ):
        with pytest.raises(ArtifactError, match="not a manifest of this tool"):
            Manifest.from_json(broken.to_json())
