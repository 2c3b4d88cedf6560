"""What optimize keeps: what passes, what is faster here, and what an earlier run decided."""

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from helpers.graphs import graph, node, normal

from exporter.errors import ArtifactError, BadInputError, UsageError
from exporter.passes import autotune
from exporter.reports.json_report import dump
from exporter.reports.optimize import optimization_to_dict
from exporter.requests import OptimizeRequest
from exporter.types import OptimizeOptions
from exporter.workflows.optimization import trial
from exporter.workflows.optimization.files import read_decisions
from exporter.workflows.optimization.speed import Speed
from exporter.workflows.optimize import optimize

FAST, SLOW = Speed(1.5, 1.4, 1.6, 15.0, 10.0, 6), Speed(0.98, 0.9, 1.01, 9.8, 10.0, 6)


@pytest.fixture
def model(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A convolution that is predicted to be faster with Winograd, and no measurements of earlier tests."""
    folder = tmp_path_factory.mktemp("tuning")
    monkeypatch.setattr(autotune, "autotune_folder", lambda: folder)
    cube = {"kernel_shape": [3] * 3, "pads": [1] * 6}
    sizes = (64, 8, 16, 16)
    nodes = [node("Conv", "x w", "a", **cube), node("Relu", "a", "y")]
    made = graph(nodes, {"x": ("n", *sizes)}, {"y": ("n", *sizes)}, {"w": normal(64, 64, 3, 3, 3) / 40})
    onnx.save(made, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def speeds(monkeypatch: pytest.MonkeyPatch, *found: Speed) -> list[Speed]:
    left = list(found)
    monkeypatch.setattr(trial, "compare_speed", lambda *_, **__: left.pop(0))
    return left


def test_what_is_faster_is_kept(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds(monkeypatch, FAST)
    done = optimize(OptimizeRequest(model, verify=False))
    assert done.modified
    assert done.speed == FAST
    assert read_decisions(done.path).rewritten


def test_what_cannot_be_measured_is_kept_and_said(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "compare_speed", lambda *_, **__: "no input can be drawn")
    done = optimize(OptimizeRequest(model, verify=False))
    assert done.modified
    assert done.speed is None
    assert any("no input can be drawn" in note for note in done.notes)


def test_what_is_not_faster_is_measured_by_variant_and_then_left(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = speeds(monkeypatch, SLOW, SLOW)
    before = model.read_bytes()
    monkeypatch.setattr(
        autotune, "_measure", lambda variants, *_: {name: 1.0 + (name == "direct") for name in variants}
    )
    done = optimize(OptimizeRequest(model, verify=False))
    assert left == []
    assert (done.modified, done.files, done.path) == (False, (), model)
    assert model.read_bytes() == before
    assert [path.name for path in model.parent.iterdir()] == ["m.onnx"]
    assert any("not faster here: 0.98 times" in note for note in done.notes)


def test_variants_chosen_by_measuring_are_kept_where_they_are_faster(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds(monkeypatch, SLOW, FAST)
    monkeypatch.setattr(
        autotune, "_measure", lambda variants, *_: {name: 1.0 + (name == "direct") for name in variants}
    )
    done = optimize(OptimizeRequest(model, verify=False))
    assert done.modified
    assert read_decisions(done.path).autotune


@pytest.mark.parametrize(("against_predicted", "measured"), [(FAST, True), (SLOW, False)])
def test_measured_variants_are_kept_only_where_the_whole_model_is_as_fast_as_with_predicted_ones(
    against_predicted: Speed, measured: bool, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = speeds(monkeypatch, against_predicted, FAST)
    monkeypatch.setattr(autotune, "_measure", lambda variants, *_: {name: 99.0 - len(name) for name in variants})
    asked = OptimizeRequest(model, optimize=OptimizeOptions("cpu", autotune=True), verify=False)
    done = optimize(asked)
    assert left == []
    assert done.modified
    assert read_decisions(done.path).autotune is measured
    assert any("each layer" in note for note in done.notes) is not measured
    plain = optimize(replace(asked, output=model.parent / "plain.onnx", optimize=OptimizeOptions("cpu"), measure=False))
    assert (done.decisions == plain.decisions) is not measured
    again = optimize(replace(asked, output=model.parent / "again.onnx", decisions=done.path))
    assert again.path.read_bytes() == done.path.read_bytes()


def test_on_a_busy_machine_whole_models_with_variants_are_compared_by_processor_time(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def compare(*_: object, processor_time: bool) -> Speed:
        asked.append(processor_time)
        return FAST

    monkeypatch.setattr(trial, "compare_speed", compare)
    monkeypatch.setattr(trial, "is_busy", lambda: True)
    monkeypatch.setattr(autotune, "_measure", lambda variants, *_: {name: 99.0 - len(name) for name in variants})
    optimize(OptimizeRequest(model, optimize=OptimizeOptions("cpu", autotune=True), verify=False))
    assert asked == [True, False]  # with the original, by the time that passes


def test_variants_that_both_measuring_and_predicting_choose_are_not_compared(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = speeds(monkeypatch, FAST)
    predicted = optimize(OptimizeRequest(model, model.parent / "plain.onnx", verify=False, measure=False))
    (action,) = {row.action for row in predicted.decisions if row.operator == "Conv"}
    monkeypatch.setattr(autotune, "_measure", lambda variants, *_: {name: 2.0 - (name == action) for name in variants})
    done = optimize(OptimizeRequest(model, optimize=OptimizeOptions("cpu", autotune=True), verify=False))
    assert left == []
    assert read_decisions(done.path).autotune


def test_a_smaller_file_is_kept_at_any_speed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds(monkeypatch)
    options = OptimizeOptions("cpu", weight_dtype="fp16")
    assert optimize(OptimizeRequest(model, optimize=options, verify=False)).modified


def test_the_same_decisions_give_the_same_bytes_wherever_they_are_read_from(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model.parent
    asked = OptimizeRequest(
        model, folder / "first.onnx", OptimizeOptions("cpu", autotune=True), verify=False, measure=False
    )
    monkeypatch.setattr(autotune, "_measure", lambda variants, *_: {name: 99.0 - len(name) for name in variants})
    first = optimize(asked)
    written = first.path.read_bytes()
    (folder / "told.json").write_text(dump(optimization_to_dict(first)))
    (folder / "bare.json").write_text(first.record)
    monkeypatch.setattr(autotune, "autotune_folder", lambda: folder / "empty")
    monkeypatch.setattr(autotune, "_measure", lambda *_: pytest.fail("measured again"))
    for name in ("first.onnx", "told.json", "bare.json"):
        again = optimize(
            replace(
                asked,
                output=folder / "again.onnx",
                optimize=OptimizeOptions("cpu"),
                decisions=folder / name,
                measure=True,
            )
        )
        assert again.path.read_bytes() == written, name
    assert first.record != optimize(replace(asked, optimize=OptimizeOptions("cpu"))).record


def test_the_decision_to_keep_the_original_is_repeated(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds(monkeypatch, FAST, SLOW)  # than the predicted variants, and than the original
    asked = OptimizeRequest(model, optimize=OptimizeOptions("cpu", autotune=True), verify=False)
    monkeypatch.setattr(
        autotune, "_measure", lambda variants, *_: {name: 1.0 + (name == "direct") for name in variants}
    )
    (model.parent / "record.json").write_text(optimize(asked).record)
    again = optimize(OptimizeRequest(model, model.parent / "copy.onnx", decisions=model.parent / "record.json"))
    assert not again.modified
    assert again.path.read_bytes() == model.read_bytes()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rewritten": 3}', '{"options": {"target": "cpu"}}'])
def test_a_file_without_decisions_is_refused(content: str, model: Path) -> None:
    (model.parent / "bad.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"bad\.json"):
        optimize(OptimizeRequest(model, decisions=model.parent / "bad.json"))


def test_a_newer_record_and_a_plain_model_are_refused(model: Path) -> None:
    record = {"rewritten": True, "max_tile": 4, "autotune": False, "raise_opset": True, "version": 99}
    (model.parent / "new.json").write_text(json.dumps(record))
    with pytest.raises(BadInputError, match="version 99"):
        read_decisions(model.parent / "new.json")
    with pytest.raises(BadInputError, match="holds no decisions"):
        read_decisions(model)


def test_decisions_are_for_models_of_one_structure(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = OptimizeRequest(model, model.parent / "first.onnx", verify=False, measure=False)
    first = optimize(asked)
    (model.parent / "record.json").write_text(first.record)
    other = onnx.load(model)
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(normal(64, 64, 3, 3, 3, seed=1), "w"))
    onnx.save(other, retrained := model.parent / "retrained.onnx")
    replayed = replace(asked, decisions=model.parent / "record.json")
    assert optimize(replace(replayed, model=retrained, output=model.parent / "a.onnx")).modified == first.modified
    other.graph.node[1].op_type = "Sigmoid"
    onnx.save(other, different := model.parent / "different.onnx")
    with pytest.raises(UsageError, match="another structure"):
        optimize(replace(replayed, model=different, output=model.parent / "b.onnx"))
    assert not (model.parent / "b.onnx").exists()
