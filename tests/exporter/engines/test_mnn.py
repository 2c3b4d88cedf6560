"""MNN as an engine, with a fake of the library, which cannot run graphs as small as these."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from exporter.engines.base import RuntimeOptions
from exporter.engines.mnn import MnnRuntime
from exporter.errors import CheckFailedError
from models.specs import Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", "float32", ("n", 2)),), (TensorSpec("y", "float32", ("n", 2)),))


class Doubling:
    """A loaded module: doubles its input, or returns nothing, as MNN does when it fails."""

    loaded: list[dict[str, Any]]
    fails = False

    def forward(self, inputs: list[Any]) -> list[Any]:
        return [] if Doubling.fails else [2 * value for value in inputs]


def load_module(path: str, inputs: list[str], outputs: list[str], **options: Any) -> Doubling:
    Doubling.loaded.append({"path": path, "inputs": inputs, "outputs": outputs, **options})
    return Doubling()


@pytest.fixture(autouse=True)
def _library(monkeypatch: pytest.MonkeyPatch) -> None:
    expr = SimpleNamespace(
        PrecisionMode=SimpleNamespace(High="high"),
        NCHW="NCHW",
        float="f",
        int="i",
        uint8="u",
        const=lambda value, shape, order, dtype: value,
        convert=lambda output, order: SimpleNamespace(read=lambda: output),
    )
    modules = {
        "MNN": SimpleNamespace(version=lambda: "3.6.1"),
        "MNN.expr": expr,
        "MNN.nn": SimpleNamespace(load_module_from_file=load_module),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Doubling, "loaded", [], raising=False)
    monkeypatch.setattr(Doubling, "fails", False)


def runtime(**options: Any) -> MnnRuntime:
    return MnnRuntime(
        Path("m.mnn"), RuntimeOptions(signature=SIGNATURE, threads=3, input_shapes={"x": (1, 2)}, **options)
    )


def test_it_computes_in_float32_and_is_loaded_once_for_each_batch_size() -> None:
    one, two = np.ones((1, 2), "float32"), np.ones((2, 2), "float32")
    with runtime() as opened:
        assert opened.description == "MNN 3.6.1 (cpu)"
        for clips in (one, one, two, two):
            assert np.array_equal(opened.run({"x": clips})["y"], 2 * clips)
    assert len(Doubling.loaded) == 2
    assert all((made["precision_mode"], made["thread_num"]) == ("high", 3) for made in Doubling.loaded)


def test_missing_outputs_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Doubling, "fails", True)
    with runtime() as opened, pytest.raises(CheckFailedError, match="MNN returns 0 of 1 outputs"):
        opened.run({"x": np.ones((1, 2), "float32")})
