"""What docs/how-to/triton.md shows: tritonclient's schema takes the configurations, and its client's request fits them.

tritonclient needs another protobuf than onnx, so it is installed in an environment of its own. A stand-in for the server
reads the request as the protocol says, checks it against config.pbtxt, and answers with classes.
"""

import json
import re
import shutil
import struct
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.framed import small
from helpers.pbtxt import parse

from exporter.requests import ExportRequest
from exporter.triton.types import TritonRequest
from exporter.types import FormatName, PrecisionOptions
from exporter.workflows.export import export
from exporter.workflows.triton import triton_repository
from models.preprocessing.profiles import PROFILES

REPOSITORY = Path(__file__).parents[3]
PROFILE = next(profile for profile in PROFILES if profile.name == "mmaction2")
NAMES = ("archery", "bowling", "café", "diving", "a class: with a colon")

SCHEMA = """
import sys
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
for path in sys.argv[1:]:
    config = text_format.Parse(open(path).read(), model_config_pb2.ModelConfig())
    print(config.name, config.max_batch_size, len(config.input), len(config.output), len(config.model_warmup))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with tritonclient."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = ("tritonclient[grpc,http]==2.73.0", "av")
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *packages], check=True)
    return python


def exported(folder: Path, kind: FormatName = "onnx", **options: Any) -> Path:
    model = replace(small(PROFILE), class_names=NAMES)
    request = ExportRequest((kind,), model, output_dir=folder, name="c3d", verify=False, **options)
    return export(request).artifacts[0].path


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_the_published_schema_accepts_every_configuration(python: Path, tmp_path: Path) -> None:
    models, dynamic = tmp_path / "models", exported(tmp_path / "dynamic")
    requests = [
        TritonRequest(dynamic, models, preferred_batches=(2, 4), threads=2),
        TritonRequest(exported(tmp_path / "fixed", batch=3), models, name="fixed"),
        TritonRequest(exported(tmp_path / "frames", with_preprocess=True), models, name="frames", backend="openvino"),
        TritonRequest(dynamic, models, name="padded", backend="openvino", max_batch=2),
        TritonRequest(exported(tmp_path / "script", "torchscript"), models, name="script", kind="gpu"),
        TritonRequest(
            exported(tmp_path / "ir", "openvino", precision=PrecisionOptions("bf16")), models, name="ir", max_batch=4
        ),
    ]
    configs = [triton_repository(request).folder / "config.pbtxt" for request in requests]
    done = subprocess.run([python, "-c", SCHEMA, *configs], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "c3d 8 1 2 3",
        "fixed 0 1 2 1",
        "frames 0 1 2 1",
        "padded 2 1 2 1",
        "script 8 1 2 1",
        "ir 4 1 2 1",
    ]


class StandIn(BaseHTTPRequestHandler):
    """Answers one request for inference, in the protocol's binary form."""

    config: dict[str, Any]
    requests: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        length = int(self.headers["Inference-Header-Content-Length"])
        request = json.loads(body[:length])
        (given,), (wanted,) = request["inputs"], request["outputs"]
        array = np.frombuffer(body[length:], np.dtype(given["datatype"].lower())).reshape(given["shape"])
        self.requests.append({"path": self.path, "input": given, "output": wanted, "sum": int(array.sum())})
        classes = [f"{0.9 - n / 10:f}:{n}:{name}".encode() for n, name in enumerate(NAMES)]
        classes = classes[: wanted["parameters"]["classification"]]
        data = b"".join(struct.pack("<I", len(text)) + text for text in classes)
        output = {"name": wanted["name"], "datatype": "BYTES", "shape": [1, len(classes)]}
        header = json.dumps({"outputs": [output | {"parameters": {"binary_data_size": len(data)}}]}).encode()
        self.send_response(200)
        self.send_header("Inference-Header-Content-Length", str(len(header)))
        self.send_header("Content-Length", str(len(header) + len(data)))
        self.end_headers()
        self.wfile.write(header + data)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - the name in the base class


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_the_documented_client_sends_what_the_configuration_takes(python: Path, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "how-to" / "triton.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    result = triton_repository(TritonRequest(exported(tmp_path / "a", with_preprocess=True), tmp_path / "models"))
    (takes,) = parse(result.config)["input"]
    StandIn.requests = []
    server = HTTPServer(("127.0.0.1", 0), StandIn)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shutil.copy(REPOSITORY / "tests" / "data" / "bikes.mp4", tmp_path)
    code = code.replace("localhost:8000", f"127.0.0.1:{server.server_port}")
    done = subprocess.run([python, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    server.shutdown()
    server.server_close()
    assert done.stdout.splitlines() == [f"{0.9 - n / 10:.3f}  {name}" for n, name in enumerate(NAMES)]
    (request,) = StandIn.requests
    assert request["path"] == "/v2/models/c3d/infer"
    assert [request["input"]["name"]] == takes["name"]
    assert [f"TYPE_{request['input']['datatype']}"] == takes["data_type"]
    batch, frames, _, _, colours = request["input"]["shape"]
    assert (batch, frames, colours) == (1, 16, 3)
    assert takes["dims"] == [[2, -1, -1, 3]]  # the small network's clips have 2 frames, C3D's 16
    assert request["sum"] > 0
