"""The inputs of a benchmark."""

from pathlib import Path

import pytest

from exporter.bench.inputs import make_feeds, matching_names
from exporter.errors import ArtifactError, UsageError
from models.specs import Signature, TensorSpec

HERE = Path("m.onnx")


def taking(*inputs: TensorSpec) -> Signature:
    return Signature(inputs, ())


def one(*shape: int | str, name: str = "x", dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def test_a_free_first_size_is_the_batch_and_other_free_sizes_are_the_users() -> None:
    feeds = make_feeds(HERE, taking(one("n", 3, "h", "w"), one(2, name="scale")), {"x": (1, 3, 224, 192)})
    assert feeds.sizes(4) == {"x": (4, 3, 224, 192), "scale": (2,)}
    assert feeds.messages(2, ("a", "b"))[0] == {"name": "a", "dtype": "float32", "shape": (2, 3, 224, 192)}
    assert feeds.fixed_batch is None


def test_batches_are_ascending_and_default_to_1_and_4() -> None:
    feeds = make_feeds(HERE, taking(one("n", 3)), {})
    assert feeds.batches(None) == (1, 4)
    assert feeds.batches((8, 1, 2)) == (1, 2, 8)


def test_a_fixed_batch_is_the_only_one() -> None:
    feeds = make_feeds(HERE, taking(one(2, 3)), {})
    assert (feeds.batches(None), feeds.batches((2,))) == ((2,), (2,))
    with pytest.raises(UsageError, match="--batch 1,4: the model's batch is fixed: --batch 2"):
        feeds.batches((1, 4))


def test_an_archive_without_a_manifest_takes_what_the_user_says() -> None:
    feeds = make_feeds(Path("m.pt"), None, {"x": (1, 3, 8)})
    assert feeds.sizes(5) == {"x": (5, 3, 8)}
    with pytest.raises(UsageError, match="does not say what it takes; --shape"):
        make_feeds(Path("m.pt"), None, {})


@pytest.mark.parametrize(
    ("value", "shapes", "reported"),
    [
        (one("n", 3, "h"), {}, "x float32 .n, 3, h. has dynamic axes; give its shape with --shape x=1x"),
        (one("n", 3), {"y": (1, 3)}, "--shape y: m.onnx has no such input; it takes x"),
        (one("n", 3), {"x": (1, 4)}, "--shape x=1x4: m.onnx takes x float32"),
        (one("n", 3), {"x": (1, 3, 1)}, "--shape x=1x3x1: m.onnx takes x"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    value: TensorSpec, shapes: dict[str, tuple[int, ...]], reported: str
) -> None:
    with pytest.raises(UsageError, match=reported):
        make_feeds(HERE, taking(value), shapes)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ArtifactError, match="input x is string"):
        make_feeds(HERE, taking(one("n", dtype="string")), {})
    with pytest.raises(ArtifactError, match="takes no inputs"):
        make_feeds(HERE, taking(), {})


def test_other_artifacts_are_matched_by_name_else_by_position() -> None:
    first = make_feeds(HERE, taking(one("n", 3), one("n", 3, name="y")), {})
    swapped = taking(one("n", 3, name="y"), one("n", 3))
    renamed = taking(one("n", 3, name="a"), one(1, 3, name="b"))
    assert matching_names(HERE, first, swapped) == ("x", "y")
    assert matching_names(HERE, first, renamed) == ("a", "b")
    assert matching_names(HERE, first, None) == ("x", "y")


@pytest.mark.parametrize("other", [taking(one("n", 3)), taking(one("n", 3), one("n", 4)), taking(one(3), one("n", 3))])
def test_an_artifact_that_takes_other_inputs_is_refused(other: Signature) -> None:
    first = make_feeds(HERE, taking(one("n", 3), one("n", 3, name="y")), {})
    with pytest.raises(ArtifactError, match="takes other inputs than the first"):
        matching_names(HERE, first, other)
