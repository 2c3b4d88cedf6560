"""Every format and precision on an NVIDIA GPU, from the network to a verified artifact."""

from pathlib import Path

import pytest
from helpers.small_video_model import NARROW

from exporter.engines import find_engine
from exporter.errors import UnavailableError
from exporter.formats import FORMATS
from exporter.requests import ExportRequest
from exporter.types import (
    FASTEST_TARGET,
    ComputePrecision,
    Device,
    FormatName,
    OptimizeOptions,
    ParityOptions,
    PrecisionOptions,
    Target,
)
from exporter.workflows.export import export
from exporter.workflows.export_checks import check_request

DEVICES: tuple[Device, ...] = ("cuda", "tensorrt")


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("name", "precision", "target", "device"),
    [
        (name, precision, target, device)
        for name, known in FORMATS.items()
        for precision, fault in known.precisions.items()
        for device in DEVICES
        for target in dict.fromkeys(("portable", FASTEST_TARGET[device]))
        if not fault and device in find_engine(name).devices
        if target == "portable" or target in known.rewriting_targets.get(precision, ())
    ],
)
def test_an_artifact_passes_parity_on_a_gpu(
    name: FormatName, precision: ComputePrecision, target: Target, device: Device, tmp_path: Path
) -> None:
    request = ExportRequest(
        (name,),
        NARROW,
        output_dir=tmp_path,
        optimize=OptimizeOptions(target),
        precision=PrecisionOptions(precision),
        parity=ParityOptions(device=device, input_types=("random",)),
    )
    try:
        check_request(request)
        (report,) = export(request).reports
    except UnavailableError as error:  # TensorRT's provider shows only in a session that its libraries are missing
        pytest.skip(str(error))
    assert (report.passed, report.placement.device, report.placement.fallback_nodes) == (True, device, ())
