"""Which ways to export a network are tried."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from exporter import engines
from exporter.bench.deployment.variants import list_variants
from exporter.engines import ENGINES
from exporter.formats import FORMATS
from exporter.formats.base import Format
from exporter.types import FormatName


@dataclass
class Fake:
    precisions: dict[str, str] = field(default_factory=lambda: {"fp32": ""})
    rewriting_targets: dict[str, frozenset[str]] = field(
        default_factory=lambda: {
            "fp32": frozenset({"cpu", "cuda"}),
            "fp16": frozenset({"cuda"}),
            "int8": frozenset({"cpu"}),
        }
    )


def formats(**given: dict[str, str]) -> dict[FormatName, Format]:
    return cast("Any", {name: Fake(precisions) for name, precisions in given.items()})


def test_every_format_and_precision_is_tried_float32_first() -> None:
    found, missing = list_variants(formats(onnx={"fp32": "", "int8": ""}, torchscript={"fp32": ""}), "cpu")
    assert [str(variant) for variant in found] == [
        "onnx fp32 cpu",
        "torchscript fp32 cpu",
        "onnx fp32 portable",
        "torchscript fp32 portable",
        "onnx int8 cpu",
        "onnx int8 portable",
        "onnx fp32 cpu, fp16 weights",
        "onnx fp32 cpu, int8 weights",
    ]
    assert missing == ()
    assert len({variant.slug for variant in found}) == len(found)


def test_a_file_that_is_the_same_for_every_target_is_tried_once() -> None:
    found, _ = list_variants(FORMATS, "cpu", ("pt2", "pt2-aoti"))
    names = [str(variant) for variant in found]
    assert [name for name in names if name.startswith("pt2 ")] == [
        "pt2 fp32 cpu",
        "pt2 fp32 portable",
        "pt2 bf16 portable",
    ]
    assert [name for name in names if name.startswith("pt2-aoti")] == [
        "pt2-aoti fp32 portable",
        "pt2-aoti bf16 portable",
    ]


def test_a_precision_that_a_format_does_not_have_is_not_called_missing() -> None:
    found, missing = list_variants(formats(torchscript={"fp32": "", "int8": "take another"}), "cpu")
    assert {variant.precision for variant in found} == {"fp32"}
    assert missing == ()


def test_an_engine_that_is_not_there_makes_its_format_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.ENGINES, "onnxruntime", replace(ENGINES["onnxruntime"], library="no_such_library"))
    found, missing = list_variants(formats(onnx={"fp32": ""}, torchscript={"fp32": ""}), "cpu")
    assert {variant.format for variant in found} == {"torchscript"}
    assert [(row.name, row.kind) for row in missing] == [("onnx", "unavailable")]
    assert "pip install no_such_library" in missing[0].reason


def test_only_the_formats_asked_for_are_tried() -> None:
    found, missing = list_variants(FORMATS, "cpu", ("torchscript",))
    assert {variant.format for variant in found} == {"torchscript"}
    assert missing == ()


def test_on_a_gpu_nothing_is_rewritten_for_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.Engine, "require_device", lambda *_: None)
    found, _ = list_variants(formats(onnx={"fp32": "", "fp16": "", "int8": ""}), "cuda")
    assert [str(variant) for variant in found] == [
        "onnx fp32 cuda",
        "onnx fp32 portable",
        "onnx int8 portable",
        "onnx fp16 cuda",
        "onnx fp16 portable",
        "onnx fp32 cuda, fp16 weights",
        "onnx fp32 cuda, int8 weights",
    ]
    found, _ = list_variants(formats(onnx={"fp32": "", "fp16": ""}), "tensorrt")
    assert {variant.target for variant in found} == {"portable"}
