"""Files are taken for what they are: every row by its names, other networks by theirs."""

import time
from pathlib import Path

import pytest
import torch
from helpers.built import checkpoint
from helpers.checkpoints import jfzhang95_training, narrow_state

from models import build
from models.checkpoints.checkpoint import read_checkpoint
from models.checkpoints.detection import detect_networks
from models.checkpoints.layout import Layout
from models.checkpoints.layouts import LAYOUTS
from models.errors import CheckpointError
from models.options import BuildOptions

STATIC = [row for row in LAYOUTS if row.names]
"""The rows whose names are not taken from the file."""


def make_shapes(layout: Layout) -> dict[str, tuple[int, ...]]:
    """One spelling of each tensor, of the shapes that the origin gives them."""
    spelled = {canonical: name for name, canonical in layout.names.items() if not canonical.startswith("bn")}
    return {
        name: tuple(487 if size is None else size for size in layout.shape(canonical))
        for canonical, name in spelled.items()
    }


@pytest.mark.parametrize("layout", STATIC, ids=lambda row: row.name)
@pytest.mark.parametrize("prefix", ["", "model.", "a/b/"])
def test_every_row_is_recognised_or_one_of_named_candidates(layout: Layout, prefix: str) -> None:
    shapes = {prefix + name: shape for name, shape in make_shapes(layout).items()}
    content = jfzhang95_training(narrow_state()) if layout.written_by else None
    container = layout.containers[0] if layout.containers else "torch zip"
    (found,) = detect_networks(shapes, container=container, content=content)
    assert layout in [fit.layout for fit in found]
    assert len(found) == 1 or all(fit.layout.disambiguation for fit in found)
    assert (len(found) > 1) == bool(layout.disambiguation)


@pytest.mark.parametrize("layout", STATIC, ids=lambda row: row.name)
def test_the_class_count_is_read_from_the_shape_of_the_last_layer(layout: Layout) -> None:
    shapes = make_shapes(layout)
    head = {name for name, canonical in layout.names.items() if canonical == "fc8.weight"} & shapes.keys()
    assert [found.num_classes(shapes) for (found,) in detect_networks(shapes, [layout])] == [487 if head else 0]
    for name in head:
        cut = {**shapes, name: (487,)}
        assert [found.num_classes(cut) for (found,) in detect_networks(cut, [layout])] == [0]


@pytest.mark.parametrize("layout", [row for row in STATIC if row.name != "r-c3d"], ids=lambda row: row.name)
def test_every_row_names_the_whole_network(layout: Layout) -> None:
    named = {canonical for canonical in layout.names.values() if not canonical.startswith("bn")}
    assert named == {f"{layer}.{p}" for layer in CANONICAL for p in ("weight", "bias")}


CANONICAL = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b", "fc6", "fc7", "fc8")


def test_training_state_is_ignored_and_reported(tmp_path: Path) -> None:
    extra = {name: torch.zeros(1) for name in ("global_step", "conv1.num_batches_tracked")}
    torch.save(narrow_state() | extra, tmp_path / "c3d.pth")
    built = build(BuildOptions(weights=tmp_path / "c3d.pth"))
    assert set(checkpoint(built).ignored_keys) == set(extra)
    torch.save(narrow_state() | {"conv1.weight_ema": torch.zeros(1)}, tmp_path / "c3d.pth")
    with pytest.raises(CheckpointError, match="1 tensor does not belong to C3D .*conv1.weight_ema"):
        build(BuildOptions(weights=tmp_path / "c3d.pth"))


def test_a_tensor_under_two_spellings_is_refused(tmp_path: Path) -> None:
    layout = next(row for row in LAYOUTS if row.name == "caffe")
    both = {name: torch.zeros(()).expand(shape) for name, shape in make_shapes(layout).items()}
    torch.save(
        both | {"fc6.weight": torch.zeros(()).expand(4096, 8192), "fc6-1.weight": torch.zeros(()).expand(4096, 8192)},
        tmp_path / "c3d.pth",
    )
    with pytest.raises(CheckpointError, match="holds fc6.weight twice"):
        read_checkpoint(tmp_path / "c3d.pth")


def test_names_of_many_components_and_many_networks_cost_little(tmp_path: Path) -> None:
    long = {"x." * 5000 + f"{n}.weight": (4, 2, 3, 3, 3) for n in range(2000)}
    many = {f"m{n}.{name}": shape for n in range(400) for name, shape in make_shapes(LAYOUTS[0]).items()}
    before = time.monotonic()
    assert detect_networks(long) == ()
    assert len(detect_networks(many)) == 400
    assert time.monotonic() - before < 10
