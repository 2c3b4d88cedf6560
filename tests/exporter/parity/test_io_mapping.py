"""Which of a model's inputs and outputs is which."""

from pathlib import Path

import pytest

from exporter.errors import ArtifactError
from exporter.parity.io_mapping import map_by_manifest, map_by_name, map_by_network
from exporter.types import UNKNOWN_RANK
from models.builder import skeleton
from models.config import CLIP_SHAPE, C3DConfig
from models.specs import Signature, TensorSpec

PATH = Path("m.onnx")
Shape = tuple[int | str, ...]


def tensor(name: str, *shape: int | str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def signature(inputs: list[TensorSpec], outputs: list[TensorSpec]) -> Signature:
    return Signature(tuple(inputs), tuple(outputs))


THEIRS = signature([tensor("a", "n", 3), tensor("b", "n", 3)], [tensor("y", "n", 5), tensor("z", "n", 5)])


def test_by_name_in_any_order() -> None:
    mine = signature([tensor("b", "m", 3), tensor("a", "m", 3)], [tensor("z", "m", 5), tensor("y", "m", 5)])
    ports = map_by_name(PATH, mine, THEIRS)
    assert {name: value.name for name, value in ports.inputs.items()} == {"a": "a", "b": "b"}
    assert ports.outputs == {"y": "y", "z": "z"}


def test_by_position_what_has_no_name_in_common() -> None:
    mine = signature([tensor("b", "m", 3), tensor("x", "m", 3)], [tensor("1", "m", 5), tensor("2", "m", 5)])
    ports = map_by_name(PATH, mine, THEIRS)
    assert {name: value.name for name, value in ports.inputs.items()} == {"a": "x", "b": "b"}
    assert ports.outputs == {"1": "y", "2": "z"}


@pytest.mark.parametrize(
    "value",
    [
        tensor("a", "n", "w"),
        tensor("a", 4, 3),
        tensor("a", "n", UNKNOWN_RANK),
        tensor("a", "n", 3, dtype="float16"),
        tensor("a"),
    ],
)
def test_what_may_be_the_same(value: TensorSpec) -> None:
    map_by_name(PATH, signature([value, tensor("b", "n", 3)], [*THEIRS.outputs]), THEIRS)


@pytest.mark.parametrize("value", [tensor("a", "n", 4), tensor("a", "n", 3, 1), tensor("a", "n", 3, dtype="int64")])
def test_what_cannot(value: TensorSpec) -> None:
    with pytest.raises(
        ArtifactError, match="m.onnx: its signature does not fit the other's: a .*; the other has a float32"
    ):
        map_by_name(PATH, signature([value, tensor("b", "n", 3)], [*THEIRS.outputs]), THEIRS)
    with pytest.raises(ArtifactError, match="does not fit"):
        map_by_name(PATH, signature([*THEIRS.inputs], [THEIRS.outputs[0]]), THEIRS)


def test_a_network_by_shape_and_by_name() -> None:
    clip = tensor("input.1", "n", *CLIP_SHAPE)
    alone = map_by_network(PATH, signature([clip], [tensor("1234", "n", 101)]), skeleton("C3D", {}))
    assert (alone.inputs["clip"].name, alone.outputs) == ("input.1", {"1234": "logits"})
    named = map_by_network(PATH, signature([clip], [tensor("fc6", "n", 4096), tensor("extra", 1)]), skeleton("C3D", {}))
    assert named.outputs == {"fc6": "fc6"}
    for inputs, outputs in (
        ([clip, clip], [tensor("y", "n", 101)]),
        ([clip], [tensor("y", "n", 102)]),
        ([clip], [tensor("fc6", "n", 4095)]),
        ([tensor("clip", "n", 3, 16, 112, 112, dtype="int64")], [tensor("y", "n", 101)]),
    ):
        with pytest.raises(ArtifactError, match="another signature than the network's: .*; expected clip float32"):
            map_by_network(PATH, signature(inputs, outputs), skeleton("C3D", {}))


def test_a_manifest_is_kept_to_the_letter() -> None:
    stated = C3DConfig(101).signature(("logits", "fc6"), None)
    assert map_by_manifest(PATH, stated, stated).outputs == {"logits": "logits", "fc6": "fc6"}
    for other in (C3DConfig(101).signature(("logits",), None), C3DConfig(101).signature(("logits", "fc6"), 1)):
        with pytest.raises(ArtifactError, match="another signature than its manifest's"):
            map_by_manifest(PATH, other, stated)
