"""What a model takes, read from its signature."""

from pathlib import Path

import pytest

from exporter.errors import ArtifactError
from exporter.inference.clip_input import ClipInput, read_clip_input
from models.specs import Signature, TensorSpec

PATH = Path("other.onnx")
SCORES = TensorSpec("scores", "float32", ("n", 5))


def read(*shape: int | str, dtype: str = "float32") -> ClipInput:
    return read_clip_input(PATH, Signature((TensorSpec("x", dtype, shape),), (SCORES,)), None)


def test_a_clip_of_fixed_size() -> None:
    assert read("n", 3, 16, 112, 96).size == (16, 112, 96)
    assert read("n", 3, 16, 112, 96).batch is None
    assert read(4, 3, 8, 64, 64).batch == 4
    assert not read("n", 3, 16, 112, 96).takes_frames


def test_an_axis_of_length_1_after_the_batch() -> None:
    found = read("n", 1, 3, 16, 112, 112)
    assert found.singleton
    assert found.size == (16, 112, 112)


@pytest.mark.parametrize(
    ("shape", "missing"),
    [
        (("n", 3, "t", 112, 112), "leaves time open"),
        (("n", 3, 16, "h", "w"), "leaves height, width open"),
        (("n", 2, 16, 112, 112), "2 channels, where a video has 3 colours"),
        (("n", 3, 112, 112), r"not clips \(batch, 3, time, height, width\)"),
        (("n", 16, 3, 112, 112), "16 channels"),
        (("n", "…"), "does not state the shape"),
    ],
)
def test_what_is_missing_is_named(shape: tuple[int | str, ...], missing: str) -> None:
    with pytest.raises(ArtifactError, match=rf"^other.onnx: .*{missing}"):
        read(*shape)


def test_integers_are_no_clips() -> None:
    with pytest.raises(ArtifactError, match="of floats"):
        read("n", 3, 16, 112, 112, dtype="int64")


def test_several_inputs() -> None:
    value = TensorSpec("x", "float32", ("n", 3, 16, 112, 112))
    with pytest.raises(ArtifactError, match=r"takes 2 inputs \(x, y\)"):
        read_clip_input(PATH, Signature((value, TensorSpec("y", "float32", ("n", 3))), (SCORES,)), None)
