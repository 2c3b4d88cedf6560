"""How a model's inputs and outputs are mapped to the reference's."""

from pathlib import Path

import pytest

from exporter.errors import ArtifactError, UsageError
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


def test_values_are_paired_by_name_in_any_order() -> None:
    mine = signature([tensor("b", "m", 3), tensor("a", "m", 3)], [tensor("z", "m", 5), tensor("y", "m", 5)])
    mapping = map_by_name(PATH, mine, THEIRS)
    assert {name: value.name for name, value in mapping.inputs.items()} == {"a": "a", "b": "b"}
    assert mapping.outputs == {"y": "y", "z": "z"}


def test_values_without_a_common_name_are_paired_by_position() -> None:
    mine = signature([tensor("b", "m", 3), tensor("x", "m", 3)], [tensor("1", "m", 5), tensor("2", "m", 5)])
    mapping = map_by_name(PATH, mine, THEIRS)
    assert {name: value.name for name, value in mapping.inputs.items()} == {"a": "x", "b": "b"}
    assert mapping.outputs == {"1": "y", "2": "z"}


def test_stated_pairs_come_first() -> None:
    mine = signature([tensor("b", "m", 3), tensor("a", "m", 3)], [tensor("y", "m", 5), tensor("1", "m", 5)])
    mapping = map_by_name(PATH, mine, THEIRS, [("a", "b"), ("z", "y")])
    assert {name: value.name for name, value in mapping.inputs.items()} == {"a": "b", "b": "a"}
    assert mapping.outputs == {"1": "y", "y": "z"}


def test_a_stated_pair_must_exist() -> None:
    for pair in (("a", "nothing"), ("nothing", "a"), ("a", "y")):
        with pytest.raises(UsageError, match=f"--map {pair[0]}={pair[1]}: write a name of the file after"):
            map_by_name(PATH, THEIRS, THEIRS, [pair])


@pytest.mark.parametrize("pairs", [[("z", "y"), ("y", "y")], [("y", "y"), ("y", "z")]])
def test_no_output_is_paired_twice(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(UsageError, match="y is paired more than once"):
        map_by_name(PATH, THEIRS, THEIRS, pairs)


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
def test_compatible_signatures(value: TensorSpec) -> None:
    map_by_name(PATH, signature([value, tensor("b", "n", 3)], [*THEIRS.outputs]), THEIRS)


@pytest.mark.parametrize("value", [tensor("a", "n", 4), tensor("a", "n", 3, 1), tensor("a", "n", 3, dtype="int64")])
def test_incompatible_signatures(value: TensorSpec) -> None:
    with pytest.raises(
        ArtifactError, match="m.onnx: its signature does not fit the other's: a .*; the other has a float32"
    ):
        map_by_name(PATH, signature([value, tensor("b", "n", 3)], [*THEIRS.outputs]), THEIRS)
    with pytest.raises(ArtifactError, match="does not fit"):
        map_by_name(PATH, signature([*THEIRS.inputs], [THEIRS.outputs[0]]), THEIRS)


def test_a_network_is_found_by_shape_and_by_name() -> None:
    clip = tensor("input.1", "n", *CLIP_SHAPE)
    single = map_by_network(PATH, signature([clip], [tensor("1234", "n", 101)]), skeleton("C3D", {}))
    assert (single.inputs["clip"].name, single.outputs) == ("input.1", {"1234": "logits"})
    named = map_by_network(PATH, signature([clip], [tensor("fc6", "n", 4096), tensor("extra", 1)]), skeleton("C3D", {}))
    assert named.outputs == {"fc6": "fc6"}
    for inputs, outputs in (
        ([clip, clip], [tensor("y", "n", 101)]),
        ([clip], [tensor("y", "n", 102)]),
        ([clip], [tensor("fc6", "n", 4095)]),
        ([tensor("clip", "n", 3, 16, 112, 112, dtype="int64")], [tensor("y", "n", 101)]),
    ):
        with pytest.raises(ArtifactError, match="its signature differs from the network's: .*; expected clip float32"):
            map_by_network(PATH, signature(inputs, outputs), skeleton("C3D", {}))


def test_a_manifest_must_match_exactly() -> None:
    stated = C3DConfig(101).signature(("logits", "fc6"), None)
    assert map_by_manifest(PATH, stated, stated).outputs == {"logits": "logits", "fc6": "fc6"}
    for other in (C3DConfig(101).signature(("logits",), None), C3DConfig(101).signature(("logits", "fc6"), 1)):
        with pytest.raises(ArtifactError, match="its signature differs from its manifest's"):
            map_by_manifest(PATH, other, stated)


def test_a_pair_that_no_mapping_mends_is_not_offered_one() -> None:
    labels = Signature((TensorSpec("x", "float32", ("n", 4)),), (TensorSpec("y", "int64", ("n",)),))
    logits = Signature(labels.inputs, (TensorSpec("y", "float32", ("n", 5)),))
    with pytest.raises(ArtifactError) as refused:
        map_by_name(Path("m.onnx"), labels, logits)
    assert "--map" not in str(refused.value)


def test_an_output_that_is_listed_twice_leaves_another_without_a_partner() -> None:
    mine = signature([*THEIRS.inputs], [tensor("y", "n", 5), tensor("y", "n", 5)])
    with pytest.raises(ArtifactError, match="does not fit"):
        map_by_name(PATH, mine, THEIRS)
