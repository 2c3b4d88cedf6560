"""TensorRT's package and the GPU: what is missing, and that the tests' stand-in has the real package's interface."""

import json
import sys
from pathlib import Path

import pytest
from helpers import fake_tensorrt, tensorrt_api

from exporter.engines import ENGINES
from exporter.engines.tensorrt_library import Platform, construct, make_logger, this_platform
from exporter.errors import UnavailableError

API = json.loads((Path(__file__).parents[2] / "data" / "tensorrt_api.json").read_text())


@pytest.mark.parametrize("version", API)
def test_the_stand_in_has_the_interface_of_the_real_package(version: str) -> None:
    mine, real = tensorrt_api.describe(fake_tensorrt), API[version]
    assert mine.keys() == real.keys()
    for name, ((*parameters,),) in mine.items():
        if name in tensorrt_api.ENUMERATIONS or name == "ILogger.Severity":
            assert {*parameters} <= {*real[name][0]}, name
        else:
            assert [*parameters] in real[name], name


@pytest.mark.cuda
def test_the_installed_package_has_the_interface_that_is_used() -> None:
    module = pytest.importorskip("tensorrt", reason="pip install 'c3d-export[tensorrt]'")
    real = tensorrt_api.describe(module)
    for name, ((*parameters,),) in tensorrt_api.describe(fake_tensorrt).items():
        members = name in tensorrt_api.ENUMERATIONS or name == "ILogger.Severity"
        assert {*parameters} <= {*real[name][0]} if members else [*parameters] in real[name], name


def test_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tensorrt.install(monkeypatch)
    monkeypatch.setattr(fake_tensorrt, "__version__", "10.13.3.9.post1")
    assert this_platform() == Platform("10.13.3.9", "NVIDIA H100 80GB HBM3", "9.0")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "tensorrt", None)
        with pytest.raises(
            UnavailableError, match=r"TensorRT is not installed; pip install 'c3d-export\[tensorrt\]'"
        ) as caught:
            ENGINES["tensorrt-runtime"].require_device("cuda")
    assert caught.value.exit_code == 4
    machine = fake_tensorrt.install(monkeypatch)
    ENGINES["tensorrt-runtime"].require_device("cuda")
    machine.driver = False
    with pytest.raises(UnavailableError, match="TensorRT cannot start here: CUDA initialization failure") as caught:
        construct("Builder", make_logger())
    machine.gpu = ""
    with pytest.raises(UnavailableError, match="needs an NVIDIA GPU"):
        ENGINES["tensorrt-runtime"].require_device("cuda")
    with pytest.raises(UnavailableError, match="TensorRT runs on cuda only"):
        ENGINES["tensorrt-runtime"].require_device("cpu")
