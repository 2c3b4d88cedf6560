"""Measuring variants of an operator: interleaved, cached, and noise replaces nothing."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from exporter.passes import autotune
from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import find_nodes
from exporter.passes.winograd.measure import make_candidate, make_input
from exporter.passes.winograd.pattern import match_conv
from exporter.passes.winograd.tile_shape import TileShape

FEEDS: dict[str, NDArray[Any]] = {"x": np.ones((64, 64), np.float32)}


def chain(length: int, value: float = 1.0, operator: str = "MatMul") -> onnx.ModelProto:
    """`length` products with a 64x64 matrix, one after another."""
    names = ["x", *(f"t{i}" for i in range(length - 1)), "y"]
    nodes = [helper.make_node(operator, [a, "w"], [b]) for a, b in itertools.pairwise(names)]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [64, 64]) for name in "xy"]
    weight = numpy_helper.from_array(np.full((64, 64), value, np.float32), "w")
    graph = helper.make_graph(nodes, "chain", ports[:1], ports[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_every_candidate_gets_a_time_and_one_that_is_refused_gets_none() -> None:
    reported: list[str] = []
    broken = chain(1, operator="NoSuchOperator")
    times = autotune.measure({"one": chain(1), "many": chain(40), "broken": broken}, FEEDS, reported.append)
    assert set(times) == {"one", "many"}
    assert all(0 < taken < 1e4 for taken in times.values())
    assert any("round" in step for step in reported)


def test_a_second_run_takes_the_first_ones_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = autotune.measure({"direct": chain(1)}, FEEDS, cache=autotune.Measurements(tmp_path / "new"))
    monkeypatch.setattr(autotune, "_measure", lambda *_: pytest.fail("measured again"))
    assert (
        autotune.measure({"direct": chain(1, value=2.0)}, FEEDS, cache=autotune.Measurements(tmp_path / "new")) == first
    )


def test_on_a_busy_machine_the_time_of_one_thread_is_measured_and_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def measure(_models: object, _feeds: object, _progress: object, busy: object) -> dict[str, float]:
        asked.append(busy)
        return {"direct": 7.0}

    monkeypatch.setattr(autotune, "_measure", measure)
    for busy in (True, False):
        monkeypatch.setattr(autotune, "is_busy", lambda busy=busy: busy)
        found = autotune.Measurements(tmp_path / str(busy))
        assert autotune.measure({"direct": chain(1)}, FEEDS, cache=found) == {"direct": 7.0}
        assert (asked.pop(), found.busy, (tmp_path / str(busy)).exists()) == (busy, busy, not busy)
        autotune.measure({"direct": chain(1)}, FEEDS, cache=found)  # an equal layer of the same run
        assert (asked, (tmp_path / str(busy)).exists()) == ([], not busy)


def test_processor_time_is_that_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    plain = autotune.open_session
    monkeypatch.setattr(
        autotune, "open_session", lambda model, threads: opened.append(threads) or plain(model, threads)
    )
    monkeypatch.setattr(autotune, "time_interleaved", lambda runs, _o, _p, clock: {name: [3.0, 2.0] for name in runs})
    for busy, threads in ((True, 1), (False, 0)):
        monkeypatch.setattr(autotune, "is_busy", lambda busy=busy: busy)
        assert autotune.measure({"direct": chain(1)}, FEEDS) == {"direct": 2000.0}  # the least
        assert opened.pop() == threads


def test_layers_that_differ_in_names_and_weights_alone_are_measured_once() -> None:
    def model(name: str, seed: int) -> ir.Model:
        values = np.random.default_rng(seed).standard_normal((16, 16, 3, 3, 3), dtype=np.float32)
        weights = [
            numpy_helper.from_array(values, f"{name}.w"),
            numpy_helper.from_array(values[:, 0, 0, 0, 0], f"{name}.b"),
        ]
        ports = [
            helper.make_tensor_value_info(port, TensorProto.FLOAT, ["n", 16, 8, 8, 8]) for port in (f"{name}.x", "y")
        ]
        step = helper.make_node("Conv", [f"{name}.x", f"{name}.w", f"{name}.b"], ["y"], name, pads=[1] * 6)
        graph = helper.make_graph([step], "g", ports[:1], ports[1:], weights)
        return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10))

    keys: set[str] = set()
    for name, seed in (("first", 0), ("second", 1)):
        (conv,) = find_nodes(model(name, seed), "Conv")
        match = match_conv(conv)
        assert isinstance(match, ConvMatch)
        shapes = {"direct": None, "frames": TileShape(4, 1), "all": TileShape(4, 4)}
        candidates = {title: ir.to_proto(make_candidate(match, shape, 18)) for title, shape in shapes.items()}
        keys.add(autotune.variants_key(candidates, {"x": make_input(match, match.size)}))
    assert len(keys) == 1


@pytest.mark.parametrize("content", [b"", b"not json", b'{"direct": -1}', b'{"direct": "fast"}', b'{"other": 1.0}'])
def test_a_damaged_cache_is_measured_anew(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = {"direct": chain(1)}
    (tmp_path / f"{autotune.cache_key(candidates, FEEDS)}.json").write_bytes(content)
    monkeypatch.setattr(autotune, "_measure", lambda *_: {"direct": 7.0})
    assert autotune.measure(candidates, FEEDS, cache=autotune.Measurements(tmp_path)) == {"direct": 7.0}


def test_a_cache_that_cannot_be_written_to_does_not_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert autotune.measure({"direct": chain(1)}, FEEDS, cache=autotune.Measurements(tmp_path / "file" / "folder"))


def test_the_key_changes_with_what_changes_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        autotune.cache_key({"direct": chain(1)}, FEEDS),
        autotune.cache_key({"direct": chain(2)}, FEEDS),
        autotune.cache_key({"direct": chain(1)}, {"x": np.ones((2, 64), np.float32)}),
        autotune.cache_key({"direct": chain(1)}, {"x": np.ones((64, 64), np.float64)}),
        autotune.cache_key({"other": chain(1)}, FEEDS),
    }
    monkeypatch.setattr(autotune, "cpu_model", lambda: "another")
    keys.add(autotune.cache_key({"direct": chain(1)}, FEEDS))
    monkeypatch.setattr(autotune, "available_cpus", lambda: 99)
    keys.add(autotune.cache_key({"direct": chain(1)}, FEEDS))
    assert len(keys) == 7


def test_the_folder_is_the_projects_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("C3D_EXPORT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert autotune.autotune_folder() == tmp_path / "c3d-export" / "tuning"


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({"direct": 100.0, "a": 50.0, "b": 60.0}, "a"),
        ({"direct": 100.0, "a": 98.0}, "direct"),  # within the noise
        ({"direct": 100.0, "a": 96.9}, "a"),
        ({"direct": 100.0, "a": 130.0}, "direct"),
        ({"a": 50.0}, "direct"),  # nothing to compare with
        ({}, "direct"),
    ],
)
def test_a_form_replaces_the_direct_one_only_where_it_was_clearly_faster(times: dict[str, float], chosen: str) -> None:
    assert autotune.fastest(times, "direct") == chosen


def test_a_record_decides_before_the_cache_and_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = {"direct": chain(1), "many": chain(3)}
    monkeypatch.setattr(autotune, "_measure", lambda *_: {"direct": 7.0, "many": 8.0})
    first = autotune.Measurements(tmp_path)
    autotune.measure(candidates, FEEDS, cache=first)
    assert first.new == 1
    monkeypatch.setattr(autotune, "cpu_model", lambda: "another")
    monkeypatch.setattr(autotune, "_measure", lambda *_: pytest.fail("measured again"))
    replayed = autotune.Measurements(tmp_path / "other", first.used)
    assert autotune.measure(candidates, FEEDS, cache=replayed) == {"direct": 7.0, "many": 8.0}
    assert (replayed.used, replayed.new) == (first.used, 0)
    assert not (tmp_path / "other").exists()  # they may be those of another machine
    monkeypatch.setattr(autotune, "_measure", lambda *_: {"direct": 1.0})
    autotune.measure({"direct": chain(2)}, FEEDS, cache=replayed)
    assert replayed.new == 1
