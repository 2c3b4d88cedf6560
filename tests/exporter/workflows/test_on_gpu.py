"""Every format and precision on an NVIDIA GPU, from the network to a verified artifact."""

from pathlib import Path

import pytest
from helpers.small_video_model import NARROW

from exporter.engines import find_engine
from exporter.errors import UnavailableError
from exporter.formats import FORMATS
from exporter.requests import ExportRequest
from exporter.types import ComputePrecision, Device, FormatName, ParityOptions, PrecisionOptions
from exporter.workflows.export import check_request, export

DEVICES: tuple[Device, ...] = ("cuda", "tensorrt")


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("name", "precision", "device"),
    [
        (name, precision, device)
        for name, known in FORMATS.items()
        for precision, fault in known.precisions.items()
        for device in DEVICES
        if not fault and device in find_engine(name).devices
    ],
)
def test_an_artifact_passes_parity_on_a_gpu(
    name: FormatName, precision: ComputePrecision, device: Device, tmp_path: Path
) -> None:
    request = ExportRequest(
        (name,),
        NARROW,
        output_dir=tmp_path,
        precision=PrecisionOptions(precision),
        parity=ParityOptions(device=device, input_types=("random",)),
    )
    try:
        check_request(request)
        (report,) = export(request).reports
    except UnavailableError as error:  # TensorRT's provider shows only in a session that its libraries are missing
        pytest.skip(str(error))
    assert (report.passed, report.placement.device, report.placement.fallback_nodes) == (True, device, ())
