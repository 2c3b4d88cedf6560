"""The table of engines that take part: one for each artifact format, and the engines that `--engines` adds."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from exporter.bench.types import BenchEngineName
from exporter.types import Device, FormatName

THIS_PYTHON = Path(sys.executable)
"""The interpreter that runs targets, unless the user names another for an engine."""

Material = Literal["plain", "mnn", "network"]
"""What an engine runs: the plain ONNX graph, what MNN's converter makes of it, or the network in torch."""


@dataclass(frozen=True)
class EngineSpec:
    """Another engine for the same network.

    Attributes:
        name: what `--engine-python` calls it.
        title: what the tables call it.
        engine: its file in `exporter/bench/engines`.
        runs: its material.
        job: what its engine also gets.
        devices: where it can run.
        install: what to do where its library is missing.
    """

    name: BenchEngineName
    title: str
    engine: str
    runs: Material
    job: Mapping[str, Any]
    devices: tuple[Device, ...]
    install: str


ENGINE_SPECS: tuple[EngineSpec, ...] = (
    EngineSpec(
        "torch", "torch eager", "torch_network", "network", {"compile": False}, ("cpu", "cuda"), "pip install torch"
    ),
    EngineSpec(
        "inductor",
        "torch inductor",
        "torch_network",
        "network",
        {"compile": True},
        ("cpu", "cuda"),
        "pip install torch",
    ),
    EngineSpec(
        "onnxruntime", "onnxruntime plain", "onnx_runtime", "plain", {}, ("cpu", "cuda"), "pip install onnxruntime"
    ),
    EngineSpec("openvino", "OpenVINO", "open_vino", "plain", {}, ("cpu",), "pip install openvino"),
    EngineSpec("mnn", "MNN", "mnn", "mnn", {}, ("cpu",), "pip install MNN"),
)

ENGINES: dict[FormatName, str] = {"onnx": "onnx_runtime", "torchscript": "torch_script"}
"""The engine that runs an artifact of each format."""

LIBRARIES: dict[BenchEngineName, str] = {"openvino": "openvino", "mnn": "MNN"}
"""The modules by which engines that need not be installed are found, before anything is written for them."""


@dataclass(frozen=True)
class BenchTarget:
    """Something to be measured.

    Attributes:
        name: in the tables.
        file: its model file, for people.
        engine: its file in `exporter/bench/engines`.
        job: what its engine gets, except for the threads and the first batch's sizes.
        interpreter: that runs it.
        added: whether `--engines` added it, so that it may be absent.
        install: what to do where its library is missing.
        environment: variables of its process.
    """

    name: str
    file: str
    engine: str
    job: Mapping[str, Any]
    interpreter: Path
    added: bool = False
    install: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
