"""The inputs of a benchmark."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import small_models
from helpers.graphs import make_model, node
from onnx import TensorProto, helper

from exporter.bench.inputs import Feeds, make_feeds, matching_names
from exporter.bench.worker_main import draw
from exporter.errors import ArtifactError, BadInputError, UsageError
from exporter.onnx_io.signature import read_signature
from exporter.types import InputOptions, ValueRange
from models.specs import Signature, TensorSpec, frames_input

HERE = Path("m.onnx")


def plan_feeds(
    signature: Signature,
    shapes: dict[str, tuple[int, ...]] | None = None,
    feeds: dict[str, Path | ValueRange] | None = None,
) -> Feeds:
    return make_feeds(HERE, "torchscript", [signature], InputOptions(shapes or {}, feeds or {}))


def taking(*inputs: TensorSpec) -> Signature:
    return Signature(inputs, ())


def one(*shape: int | str, name: str = "x", dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def test_a_free_first_size_is_the_batch_and_other_free_sizes_are_the_users() -> None:
    feeds = plan_feeds(taking(one("n", 3, "h", "w"), one(2, name="scale")), {"x": (1, 3, 224, 192)})
    assert feeds.sizes(4) == {"x": (4, 3, 224, 192), "scale": (2,)}
    assert feeds.messages(2, ("a", "b"))[0] == {"name": "a", "dtype": "float32", "shape": (2, 3, 224, 192)}
    assert feeds.fixed_batch is None


def test_frames_of_any_size_are_those_of_a_small_video_unless_the_user_says_otherwise() -> None:
    frames = frames_input(TensorSpec("clip", "float32", ("n", 3, 16, 112, 112)))
    feeds = plan_feeds(taking(frames))
    assert feeds.sizes(2) == {"frames": (2, 16, 240, 320, 3)}
    assert feeds.unit == "clips"
    assert any("320x240" in note for note in feeds.plan.notes)
    assert feeds.describe(3).endswith("; frames 0..255, seed 3")
    both = plan_feeds(taking(frames, one("n", 2)))
    assert both.describe(3).endswith("; standard normal, frames 0..255, seed 3")
    stated = plan_feeds(taking(frames), {"frames": (1, 16, 480, 640, 3)})
    assert stated.sizes(1) == {"frames": (1, 16, 480, 640, 3)}
    assert not any("320x240" in note for note in stated.plan.notes)


def test_batches_are_ascending_and_default_to_1_and_4() -> None:
    feeds = plan_feeds(taking(one("n", 3)))
    assert feeds.batches(None) == (1, 4)
    assert feeds.batches((8, 1, 2)) == (1, 2, 8)


def test_a_fixed_batch_is_the_only_one() -> None:
    feeds = plan_feeds(taking(one(2, 3)))
    assert (feeds.batches(None), feeds.batches((2,))) == ((2,), (2,))
    with pytest.raises(UsageError, match="--batch 1,4: the model's batch is fixed: --batch 2"):
        feeds.batches((1, 4))


def test_an_archive_without_a_manifest_takes_what_the_user_or_another_artifact_says() -> None:
    archive = Path("m.pt")
    feeds = make_feeds(archive, "torchscript", [None], InputOptions({"x": (1, 3, 8)}))
    assert feeds.sizes(5) == {"x": (5, 3, 8)}
    beside = make_feeds(archive, "torchscript", [None, taking(one("n", 3, 9))], InputOptions())
    assert beside.sizes(5) == {"x": (5, 3, 9)}
    with pytest.raises(UsageError, match="does not state its inputs; give each as --shape"):
        make_feeds(archive, "torchscript", [None], InputOptions())


@pytest.mark.parametrize(
    ("shapes", "reported"),
    [
        ({"y": (1, 3)}, "--shape y: no such input; there are x"),
        ({"x": (1, 4)}, "--shape x=1x4 does not fit x float32"),
        ({"x": (1, 3, 1)}, "--shape x=1x3x1 does not fit x float32"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(shapes: dict[str, tuple[int, ...]], reported: str) -> None:
    with pytest.raises(UsageError, match=reported):
        plan_feeds(taking(one("n", 3)), shapes)


def test_free_sizes_are_the_first_default_that_the_model_accepts(tmp_path: Path) -> None:
    path = small_models.network(tmp_path / "m.onnx", sizes=("h", "w"))  # its linear layer accepts 8x8 only
    feeds = make_feeds(path, "onnx", [read_signature(path)], InputOptions())
    assert feeds.sizes(4) == {"x": (4, 3, 8, 8)}
    assert "shape 1x3x8x8 (--shape changes it)" in feeds.plan.notes[0]


def test_values_of_the_user(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.arange(4))
    np.savez(tmp_path / "rows.npz", a=np.zeros((2, 3)), b=np.zeros((2, 6)))
    specs = taking(one("n", "m", name="a", dtype="int64"), one("n", 6, name="b"), one(4, name="k", dtype="int32"))
    feeds = plan_feeds(specs, {"a": (1, 3)}, {"a": ValueRange(0, 99), "k": tmp_path / "k.npy"})
    a, b, k = feeds.messages(2, ("a", "b", "c"))
    assert a == {"name": "a", "dtype": "int64", "shape": (2, 3), "low": 0, "high": 99}
    assert b == {"name": "b", "dtype": "float32", "shape": (2, 6)}
    assert k == {"name": "c", "dtype": "int32", "shape": (4,), "path": str(tmp_path / "k.npy"), "array": ""}
    arrays = InputOptions(arrays=(tmp_path / "rows.npz",))
    feeds = make_feeds(HERE, "torchscript", [Signature(specs.inputs[:2], ())], arrays)
    assert feeds.messages(5, ("a", "b"))[0]["shape"] == (5, 3)
    assert feeds.messages(5, ("a", "b"))[1]["array"] == "b"


def test_a_file_with_a_number_beyond_the_dtype_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[1e5]]))
    with pytest.raises(BadInputError, match="holds numbers of"):
        plan_feeds(taking(one("n", 1, dtype="float16")), feeds={"x": tmp_path / "x.npy"})


def test_inputs_of_no_known_type_are_refused() -> None:
    with pytest.raises(UsageError, match=r"x seq\(float32\): only tensors are fed"):
        plan_feeds(taking(one("n", dtype="seq(float32)")))
    with pytest.raises(ArtifactError, match="takes no inputs"):
        plan_feeds(taking())


def test_other_artifacts_are_matched_by_name_else_by_position() -> None:
    first = plan_feeds(taking(one("n", 3), one("n", 3, name="y")))
    swapped = taking(one("n", 3, name="y"), one("n", 3))
    renamed = taking(one("n", 3, name="a"), one(1, 3, name="b"))
    assert matching_names(HERE, first, swapped) == ("x", "y")
    assert matching_names(HERE, first, renamed) == ("a", "b")
    assert matching_names(HERE, first, None) == ("x", "y")


@pytest.mark.parametrize("other", [taking(one("n", 3)), taking(one("n", 3), one("n", 4)), taking(one(3), one("n", 3))])
def test_an_artifact_that_takes_other_inputs_is_refused(other: Signature) -> None:
    first = plan_feeds(taking(one("n", 3), one("n", 3, name="y")))
    with pytest.raises(ArtifactError, match="takes other inputs than the first"):
        matching_names(HERE, first, other)


def save(path: Path, nodes: list[onnx.NodeProto], inputs: Mapping[str, Any], output: Any, **held: Any) -> Path:
    ports = [helper.make_tensor_value_info(name, *port) for name, port in inputs.items()]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)]
    onnx.save(make_model(nodes, ports, outputs, held, 18), path)
    return path


FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@pytest.mark.parametrize("count", [2, "k"])
def test_an_input_that_is_a_shape_follows_the_batch_and_is_none_itself(count: int | str, tmp_path: Path) -> None:
    inputs = {"x": (FLOAT, ["n", 2, 6]), "s": (INT64, [count])}
    path = save(tmp_path / "m.onnx", [node("Reshape", "x s", "y")], inputs, ["n", 12])
    feeds = make_feeds(path, "onnx", [read_signature(path)], InputOptions())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 4):
        fed = draw(feeds.messages(batch, ("x", "s")), 0)
        assert fed["s"].tolist() == [batch, 12]
        assert feeds.sizes(batch) == {"x": (batch, 2, 6), "s": (2,)}
        outputs: Any = session.run(None, fed)
        assert outputs[0].shape == (batch, 12)
    assert any("s int64" in note and "for Reshape" in note for note in feeds.plan.notes)
    assert "s derived from the sizes" in feeds.describe(0)


def test_a_model_whose_only_free_size_is_that_of_its_axes_has_a_fixed_batch(tmp_path: Path) -> None:
    inputs = {"x": (FLOAT, [2, 3, 4]), "a": (INT64, ["k"])}
    path = save(tmp_path / "m.onnx", [node("ReduceSum", "x a", "y")], inputs, [2, 1, 4])
    feeds = make_feeds(path, "onnx", [read_signature(path)], InputOptions())
    assert feeds.fixed_batch == 2
    assert draw(feeds.messages(2, ("x", "a")), 0)["a"].tolist() == [1]


def test_indices_are_drawn_from_all_that_are_valid(tmp_path: Path) -> None:
    inputs = {"i": (INT64, ["n", 50])}
    table = np.zeros((3, 4), np.float32)
    path = save(tmp_path / "m.onnx", [node("Gather", "table i", "y")], inputs, ["n", 50, 4], table=table)
    feeds = make_feeds(path, "onnx", [read_signature(path)], InputOptions())
    fed = draw(feeds.messages(4, ("i",)), 0)["i"]
    assert fed.shape == (4, 50)
    assert {*fed.ravel().tolist()} == {0, 1, 2}


def test_the_user_s_file_decides_what_depends_on_it(tmp_path: Path) -> None:
    inputs = {"x": (FLOAT, [8, 4]), "s": (INT64, [1]), "e": (INT64, [1]), "a": (INT64, [1])}
    path = save(tmp_path / "m.onnx", [node("Slice", "x s e a", "y")], inputs, ["b", "c"])
    np.save(tmp_path / "a.npy", np.array([1]))
    np.save(tmp_path / "s.npy", np.array([2]))
    given: dict[str, Path | ValueRange] = {"a": tmp_path / "a.npy", "s": tmp_path / "s.npy"}
    feeds = make_feeds(path, "onnx", [read_signature(path)], InputOptions(feeds=given))
    fed = draw(feeds.messages(1, ("x", "s", "e", "a")), 0)
    assert (fed["s"].tolist(), fed["e"].tolist(), fed["a"].tolist()) == ([2], [4], [1])
