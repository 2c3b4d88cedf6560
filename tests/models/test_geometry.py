"""What a checkpoint's shapes state of the network, and what is asked for."""

import re
import time
from typing import cast

import pytest

from models.architectures import parse_settings
from models.config import C3DConfig
from models.errors import CheckpointError, UsageError
from models.geometry import Inferred, Stated, infer_config
from models.options import BuildOptions
from models.planning import random_config
from models.pooling import VARIANTS, Pool5, Variant

LINEARS = ("fc6", "fc7", "fc8")
Shapes = dict[str, tuple[int, ...]]


def shapes(
    columns: int = 8192,
    channels: int = 3,
    widths: tuple[int, int] = (4096, 4096),
    linears: tuple[str, ...] = LINEARS,
    *,
    batch_norm: bool = False,
) -> Shapes:
    """The shapes that decide the structure of a network with these linear layers."""
    fc6, fc7 = widths
    every = {"fc6": (fc6, columns), "fc7": (fc7, fc6), "fc8": (5, fc7)}
    found: Shapes = {"conv1.weight": (64, channels, 3, 3, 3)} | ({"bn1.weight": (64,)} if batch_norm else {})
    return found | {f"{name}.weight": every[name] for name in linears}


def infer(columns: int, size: tuple[int, ...] | None = None, pool5: Pool5 | None = None) -> Inferred:
    return infer_config(shapes(columns), Stated(pool5=pool5, input_size=size))


def test_the_published_network() -> None:
    found = infer(8192)
    assert found.config == C3DConfig(5)
    (note,) = found.notes
    assert "3x16x112x112 are assumed" in note
    assert infer(8192, pool5="right") == Inferred(C3DConfig(5, pool5="right"))  # an origin's file: nothing is assumed


def test_channels_and_widths() -> None:
    found = infer_config(shapes(8192, 2, (2048, 300)), Stated()).config
    assert found == C3DConfig(5, channels=2, feature_dim=2048, fc7_dim=300)
    assert infer_config(shapes(widths=(2048, 2048)), Stated()).config == C3DConfig(5, feature_dim=2048)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_network_may_end_before_fc8(count: int) -> None:
    found = infer_config(shapes(linears=LINEARS[:count]), Stated()).config
    assert found.default_outputs == (("pool5", "fc6", "fc7")[count],)
    assert [*found.linear_sizes] == [*LINEARS[:count]]
    assert found.clip_shape == (3, 16, 112, 112)


WITHOUT_FC7 = shapes(linears=("fc6", "fc8"))
WITHOUT_FC6_AND_FC7 = shapes(widths=(0, 8192), linears=("fc8",))


def test_fc8_may_read_fc6_or_pool5() -> None:
    found = infer_config(WITHOUT_FC7, Stated())
    assert found.config == C3DConfig(5, fc7_dim=0)
    assert "the checkpoint has no fc7: fc8 reads fc6" in found.notes
    found = infer_config(WITHOUT_FC6_AND_FC7, Stated())
    assert found.config == C3DConfig(5, feature_dim=0)
    assert "the checkpoint has no fc6 and no fc7: fc8 reads pool5" in found.notes
    assert [*found.config.linear_sizes.items()] == [("fc8", (8192, 5))]
    assert infer_config(shapes(widths=(0, 25088), linears=("fc8",)), Stated(input_size=(16, 224, 224))).config == (
        C3DConfig(5, feature_dim=0, pool5="right", height=224, width=224)
    )


@pytest.mark.parametrize(
    "network",
    [
        shapes(linears=("fc7", "fc8")),  # nothing reads pool5
        WITHOUT_FC7 | {"fc7.bias": (4096,)},
        WITHOUT_FC7 | {"fc8.weight": (5, 512 * 7 + 1)},
    ],
    ids=["no fc6", "fc7's bias", "fc8 does not read fc6"],
)
def test_a_layer_before_another_is_missing_from_the_file(network: Shapes) -> None:
    found = infer_config(network, Stated()).config
    assert set(found.linear_sizes) == {*LINEARS}  # so that loading says which tensors are missing


def test_an_fc8_that_may_read_pool5_of_another_size_is_asked_about() -> None:
    """4096 is fc7's published width, and eight positions of pool5's output."""
    with pytest.raises(
        CheckpointError, match=r"no fc6 and no fc7. Unless they are missing.*--input-size.*3x32x32x32 \("
    ):
        infer_config(shapes(linears=("fc8",)), Stated())


def test_the_global_average_is_refused_where_fc6_reads_positions() -> None:
    with pytest.raises(CheckpointError, match=r"fc6 reads 8192 values.*gives 512.*--variant c3d"):
        infer_config(shapes(), Stated("global-pool"))


def test_shapes_tell_pool5_without_padding() -> None:
    found = infer(4608)
    assert found.config == C3DConfig(5, pool5="valid")
    assert found.pool5_from_shapes
    assert infer(4608, (16, 112, 112), "valid") == Inferred(C3DConfig(5, pool5="valid"))
    assert infer(512 * 49, (16, 240, 240)).config.pool5 == "valid"  # 15x15 positions: `right` would give 8x8
    for stated in ("symmetric", "right"):
        with pytest.raises(CheckpointError, match="fc6 reads 4608 values"):
            infer(4608, pool5=stated)


def test_sizes_are_asked_for_with_those_that_fit() -> None:
    with pytest.raises(CheckpointError) as caught:
        infer(25088)
    assert "--input-size CxTxHxW" in str(caught.value)
    assert "3x16x224x224 (8-23 x 208-239 x 208-239, pool5 right)" in str(caught.value)
    with pytest.raises(CheckpointError, match=r"\(16-31 x 128-159 x 160-191, pool5 symmetric\)"):
        infer(15360)  # clips of 16x128x171, whole frames, are among them
    with pytest.raises(CheckpointError, match="no usual size does"):
        infer(512 * 104_729)


PROPOSED = re.compile(r"3x(\d+)x(\d+)x(\d+) \((\d+)-(\d+) x (\d+)-(\d+) x (\d+)-(\d+)(?:, pool5 (\w+))?\)")


@pytest.mark.parametrize("variant", VARIANTS[::2])
def test_every_proposed_size_fits_and_none_beyond_it(variant: Variant) -> None:
    proposed = 0
    for positions in (1, 2, 4, 9, 12, 16, 18, 30, 32, 49, 64, 98):
        network = shapes(512 * positions)
        with pytest.raises(CheckpointError) as caught:
            infer_config(network, Stated(variant, input_size=(1, 9999, 9999)))
        proposals = PROPOSED.findall(str(caught.value))
        proposed += bool(proposals)
        for *numbers, name in proposals:
            pool5 = cast("Pool5 | None", name or None)
            usual, low, high = (tuple(map(int, each)) for each in (numbers[:3], numbers[3::2], numbers[4::2]))
            for size in (usual, low, high):
                found = infer_config(network, Stated(variant, pool5, size)).config
                assert found.linear_sizes["fc6"][0] == 512 * positions
            for axis in range(3):
                for size, step in ((low, -1), (high, 1)):
                    outside = tuple(length + step * (axis == i) for i, length in enumerate(size))
                    with pytest.raises(CheckpointError):
                        infer_config(network, Stated(variant, pool5, outside))
    assert proposed == 12


def test_a_size_decides_pool5_where_only_one_convention_fits() -> None:
    found = infer(25088, (3, 16, 224, 224))
    assert found.config == C3DConfig(5, pool5="right", height=224, width=224)
    assert found.pool5_from_shapes
    assert infer(32768, (16, 224, 224)).config.pool5 == "symmetric"
    both = infer(8192, (16, 112, 112))
    assert (both.config.pool5, both.pool5_from_shapes) == ("symmetric", False)
    with pytest.raises(CheckpointError, match="fc6 would read 32768 values of a clip, but it reads 25088"):
        infer(25088, (16, 224, 224), "symmetric")


def test_a_size_that_contradicts_the_shapes() -> None:
    with pytest.raises(CheckpointError, match="conv1 reads 3 channels, not 1"):
        infer(8192, (1, 16, 112, 112))
    with pytest.raises(CheckpointError, match=r"fc6 would read 32768 or 25088 values.*These fit: 3x16x112x112"):
        infer(8192, (16, 224, 224))
    with pytest.raises(CheckpointError, match=r"too small: pool4.*These fit: 3x16x112x112"):
        infer(8192, (4, 112, 112))


def test_three_numbers_are_repeated_as_they_were_given_with_how_they_are_read() -> None:
    with pytest.raises(CheckpointError, match=r"^--input-size 3x16x112 \(read as TxHxW; CxTxHxW names .* too small"):
        infer(8192, (3, 16, 112))
    with pytest.raises(UsageError, match=r"^--input-size 3x16x112 \(read as TxHxW.*too small"):
        random_config(BuildOptions(input_size=(3, 16, 112)))


def test_a_linear_layer_has_two_axes() -> None:
    with pytest.raises(CheckpointError, match=r"^fc8.weight is \(5,\); a linear layer's weight has two axes"):
        infer_config(shapes() | {"fc8.weight": (5,)}, Stated())


def test_a_classifier_of_conv5bs_channels_is_the_global_average() -> None:
    found = infer_config(
        shapes(widths=(0, 512), linears=("fc8",), batch_norm=True), Stated(input_size=(8, 96, 128))
    ).config
    assert (found.variant, found.linear_sizes) == ("global-pool", {"fc8": (512, 5)})
    assert found.clip_shape == (3, 8, 96, 128)


@pytest.mark.parametrize(("batch_norm", "variant"), [(True, "global-pool"), (False, "c3d")])
def test_what_is_assumed_of_a_network_that_ends_at_conv5b_is_said(batch_norm: bool, variant: Variant) -> None:
    found = infer_config(shapes(linears=(), batch_norm=batch_norm), Stated())
    assert found.config.variant == variant
    assert any("clips of any size" in note for note in found.notes)
    assert any("--variant c3d" in note for note in found.notes) == batch_norm
    assert infer_config(shapes(linears=(), batch_norm=batch_norm), Stated("c3d")).config.variant == "c3d"


def test_batch_norm_after_fc6_says_nothing_of_the_pools() -> None:
    """Both variants' pool5 gives fc6 8192 values: only the names of Efficient-3DCNNs' layers state the variant."""
    found = infer_config(shapes(batch_norm=True) | {"bn6.weight": (4096,)}, Stated()).config
    assert (found.variant, found.batch_norm_sizes["bn7"]) == ("c3d", 4096)


def test_the_global_average_before_fc8_is_said() -> None:
    found = infer_config({**shapes(linears=()), "fc8.weight": (5, 512)}, Stated())
    assert found.config.variant == "global-pool"
    assert "fc8 reads conv5b's 512 channels: pool5 is taken for a global average" in found.notes


@pytest.mark.parametrize("size", [(1, 2), (16,), (3, 16, 112, 112, 1)])
def test_a_size_has_three_or_four_axes(size: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match="not CxTxHxW or TxHxW"):
        infer(8192, size)


def test_sizes_for_any_number_of_positions_are_found_at_once() -> None:
    """A number with many divisors costs no more than another: a file states it in a few bytes."""
    started = time.process_time()
    with pytest.raises(CheckpointError, match="no usual size does"):
        infer(512 * 10**12)
    assert time.process_time() - started < 5


def test_settings_of_the_published_geometry_are_those_of_earlier_manifests() -> None:
    earlier = {"num_classes": 7, "batch_norm": True, "pool5": "right", "base_channels": 8, "feature_dim": 32}
    assert parse_settings("C3D", earlier).settings() == earlier


def test_settings_round_trip_and_are_checked() -> None:
    config = C3DConfig(3, True, "symmetric", 4, 20, 7, 2, 32, 64, 48, "efficient-3dcnns", True)
    assert parse_settings("C3D", config.settings()) == config
    with pytest.raises(UsageError, match="too small"):
        parse_settings("C3D", C3DConfig(frames=4).settings())
    with pytest.raises(UsageError, match="too large"):
        parse_settings("C3D", C3DConfig(height=10**9).settings())
