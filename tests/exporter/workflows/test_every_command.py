"""Every format in every precision, with and without preprocessing inside, through the commands that take an artifact."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.extras import needs_cxx_compiler
from helpers.small_video_model import NARROW, PROFILE, SmallVideoModel, softmax

from exporter.bench.types import BenchRequest
from exporter.errors import UsageError
from exporter.fault_injection.results import SelfTestOptions
from exporter.formats import FORMATS
from exporter.inference.features.types import FeatureRequest, VideoFeatures
from exporter.inference.predictions import PredictRequest
from exporter.inference.types import ClipOptions
from exporter.requests import ExportRequest
from exporter.triton.types import TritonRequest
from exporter.types import ComputePrecision, FormatName, ParityOptions, PrecisionOptions
from exporter.workflows.bench import benchmark
from exporter.workflows.export import export
from exporter.workflows.features import features
from exporter.workflows.inspect import inspect
from exporter.workflows.integrity import verify_integrity
from exporter.workflows.predict import predict
from exporter.workflows.self_test import self_test
from exporter.workflows.triton import triton_repository
from exporter.workflows.verify import verify_parity

MIN_DB: dict[ComputePrecision, float] = {"fp32": 80.0, "fp16": 40.0, "bf16": 25.0, "int8": 15.0}
"""Of the logits of clips that nothing was measured on; the exports are accepted from 20 dB on."""
STARTS = [0, 16]
"""Where clips of 16 frames begin in a video of 40."""
CELLS: list[tuple[FormatName, ComputePrecision]] = [
    (name, precision)
    for name, known in FORMATS.items()
    for precision, fault in known.precisions.items()
    if not fault and name != "tensorrt"
]
QUICK = ParityOptions(input_types=("video",))


def require_libraries(name: FormatName, precision: ComputePrecision) -> None:
    libraries = {"openvino": ("openvino", "nncf") if precision == "int8" else ("openvino",)}.get(name, ())
    if missing := [library for library in libraries if importlib.util.find_spec(library) is None]:
        pytest.skip(f"{', '.join(missing)} not installed")


@pytest.mark.heavy
@pytest.mark.timeout(900)  # AOTInductor compiles two variants
@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("name", "precision"),
    [pytest.param(*cell, marks=needs_cxx_compiler) if cell[0] == "pt2-aoti" else cell for cell in CELLS],
)
def test_every_command_takes_the_artifact_or_says_what_to_take(
    name: FormatName,
    precision: ComputePrecision,
    inside: bool,
    small_video_model: SmallVideoModel,
    short_videos: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    require_libraries(name, precision)
    lower = PrecisionOptions(precision, min_snr=20.0) if precision != "fp32" else PrecisionOptions()
    wanted = ExportRequest(
        (name,), replace(NARROW, preprocess=PROFILE), output_dir=tmp_path, with_preprocess=inside, precision=lower
    )
    path = export(replace(wanted, parity=QUICK)).artifacts[0].path

    assert inspect(path).bytes == path.stat().st_size
    assert [report.passed for report in verify_integrity([path])] == [True]
    assert [report.passed for report in verify_parity([path], QUICK)] == [True]

    video, clips = short_videos[0], ClipOptions(16, 16)
    expected = small_video_model.logits(video, STARTS)
    (found,) = features(FeatureRequest(path, (video,), ("logits",), clips=clips))
    assert isinstance(found, VideoFeatures)
    error = np.abs(found.features["logits"] - expected).max() / np.abs(expected).max()
    assert -20 * np.log10(error) > MIN_DB[precision]
    (predicted,) = predict(PredictRequest(path, (video,), clips=clips)).videos
    assert predicted.top[0].index == int(softmax(expected).mean(axis=0).argmax())

    speeds = benchmark(BenchRequest((path,), batches=(1,), rounds=1, seconds=0.1, load_rounds=1)).measurements
    assert len(speeds) == 1

    if name in ("onnx", "openvino", "torchscript"):
        assert triton_repository(TritonRequest(path, tmp_path / "models")).files
    else:
        with pytest.raises(UsageError, match="take the same network as onnx"):
            triton_repository(TritonRequest(path, tmp_path / "models"))
    if name != "onnx" or precision != "fp32":
        with pytest.raises(UsageError, match="export the same network with --(format onnx|precision fp32)"):
            self_test(path, SelfTestOptions(quick=True))
