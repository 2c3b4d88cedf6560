"""Networks under the names of other origins, each written here from its origin's description, give its outputs."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.built import c3d, checkpoint
from helpers.checkpoints import jfzhang95_training, narrow_state
from torch import Tensor, nn

from models import build
from models.checkpoints.checkpoint import read_checkpoint
from models.checkpoints.layouts import is_jfzhang95_training
from models.class_names import get_class_names
from models.options import BuildOptions

CHANNELS = ((3, 2), (2, 4), (4, 8), (8, 8), (8, 16), (16, 16), (16, 16), (16, 16))
POOLED = (True, True, False, True, False, True, False, True)
CLASSES = 5
SIZE = (3, 16, 48, 48)
"""A small clip, of which both conventions of pool5 keep 2 x 2 positions."""


class Network(nn.Module):
    """C3D of 2 base channels and 4 features; the names of its layers are the origin's.

    Args:
        convs: names of the convolutions.
        linears: names of fc6, fc7 and fc8; fewer end earlier.
        norm: name of the BatchNorm after a convolution, from the convolution's.
        ceil: pool5 in ceil mode, as Caffe's, instead of padded on both sides.
        bias: whether the convolutions have one.
    """

    def __init__(
        self,
        convs: list[str],
        linears: list[str],
        norm: Callable[[str], str] | None = None,
        *,
        ceil: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.convs, self.linears, self.norm, self.ceil = convs, linears, norm, ceil
        for name, (inputs, outputs) in zip(convs, CHANNELS, strict=True):
            self.place(name, nn.Conv3d(inputs, outputs, 3, padding=1, bias=bias))
            if norm is not None:
                layer = nn.BatchNorm3d(outputs)
                layer.running_mean, layer.running_var = torch.randn(outputs) / 9, torch.rand(outputs) + 1
                self.place(norm(name), layer)
        for name, sizes in zip(linears, ((64, 4), (4, 4), (4, CLASSES)), strict=False):
            self.place(name, nn.Linear(*sizes))

    def place(self, name: str, layer: nn.Module) -> None:
        """Put a layer at a dotted name."""
        *parents, last = name.split(".")
        module: nn.Module = self
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, nn.Module())
            module = module.get_submodule(parent)
        module.add_module(last, layer)

    def forward(self, clip: Tensor) -> Tensor:
        """Return the last layer's outputs (N, features) of clips (N, 3, 16, 48, 48)."""
        x = clip
        for index, name in enumerate(self.convs):
            x = self.get_submodule(name)(x)
            x = x if self.norm is None else self.get_submodule(self.norm(name))(x)
            x = torch.relu(x)
            if POOLED[index]:
                window, last = (1 if index == 0 else 2, 2, 2), index == len(self.convs) - 1
                padding = (0, 1, 1) if last and not self.ceil else 0
                x = nn.functional.max_pool3d(x, window, window, padding, ceil_mode=last and self.ceil)
        x = x.flatten(1)
        for index, name in enumerate(self.linears):
            x = self.get_submodule(name)(x)
            x = x if index == 2 else torch.relu(x)
        return x


PLAIN = ["conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b"]
CAFFE = ["conv1a", "conv2a", *PLAIN[2:]]
VGG = ["conv1", "conv2", *(f"conv{n}_{m}" for n in (3, 4, 5) for m in (1, 2))]
FC = ["fc6", "fc7", "fc8"]

ORIGINS: dict[str, tuple[str, str, Callable[[], Network]]] = {
    "numbered as VGG's layers": ("identity", "default", lambda: Network(VGG, FC)),
    "numbered as VGG's layers from 1": ("identity", "default", lambda: Network(["conv1_1", "conv2_1", *VGG[2:]], FC)),
    "features and classifier": (
        "identity",
        "default",
        lambda: Network([f"features.{name}" for name in PLAIN], [f"classifier.{name}" for name in FC]),
    ),
    "Caffe's names in a Sequential": (
        "caffe-names",
        "default",
        lambda: Network([f"conv.{name}" for name in CAFFE], ["fc6", "fc7", "classifier"]),
    ),
    "conv3a_bn": ("identity", "default", lambda: Network(PLAIN, FC, lambda name: f"{name}_bn")),
    "conv1a_bn": ("caffe-names", "default", lambda: Network(CAFFE, FC, lambda name: f"{name}_bn")),
    "bn3_1": ("identity", "default", lambda: Network(VGG, FC, lambda name: name.replace("conv", "bn"))),
    "MMAction2 with BN3d": (
        "mmaction2",
        "layout",
        lambda: Network(
            [f"backbone.{name}.conv" for name in CAFFE],
            ["backbone.fc6", "backbone.fc7", "cls_head.fc_cls"],
            lambda name: f"{name.removesuffix('.conv')}.bn",
            bias=False,  # as mmcv's ConvModule before a norm
        ),
    ),
    "MMAction 0.x": (
        "mmaction",
        "layout",
        lambda: Network(
            [f"backbone.{name}" for name in CAFFE], ["backbone.fc6", "backbone.fc7", "cls_head.fc_cls"], ceil=True
        ),
    ),
    "R-C3D's base": (
        "r-c3d",
        "default",
        lambda: Network([f"RCNN_base.{n}" for n in (0, 3, 6, 8, 11, 13, 16, 18)], ["RCNN_top.0"]),
    ),
}


@pytest.mark.parametrize("case", ORIGINS)
def test_outputs_are_those_of_its_own_network(case: str, tmp_path: Path) -> None:
    layout, pool5_source, make = ORIGINS[case]
    torch.manual_seed(7)
    network = make().eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "c3d.pth")
    built = build(BuildOptions(weights=tmp_path / "c3d.pth", input_size=SIZE))
    assert (checkpoint(built).layout, built.setting_sources["pool5"]) == (layout, pool5_source)
    clip = torch.randn(1, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected, found = network.double()(clip), c3d(built).double()(clip)
    missing = any("the convolutions have no bias" in note for note in built.notes)
    assert missing == (case == "MMAction2 with BN3d")
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-9


def test_the_rest_of_r_c3d_s_detector_is_left_out_by_name(tmp_path: Path) -> None:
    state = ORIGINS["R-C3D's base"][2]().state_dict()
    detector = {"RCNN_rpn.conv.weight": torch.ones(1), "RCNN_cls_score.weight": torch.ones(21, 4)}
    torch.save({"model": {f"module.{k}": v for k, v in (state | detector).items()}}, tmp_path / "c3d.pth")
    notes = build(BuildOptions(weights=tmp_path / "c3d.pth", input_size=SIZE)).notes
    assert "left out: 2 other tensors, module.RCNN_rpn.conv.weight, module.RCNN_cls_score.weight" in notes


@pytest.mark.parametrize("epochs", [1, 25])
@pytest.mark.parametrize(("classes", "names"), [(101, "ucf101-sorted"), (51, "hmdb51"), (7, None)])
def test_jfzhang95_s_training_states_its_conventions(
    epochs: int, classes: int, names: str | None, tmp_path: Path
) -> None:
    torch.save(jfzhang95_training(narrow_state(classes), epochs), tmp_path / "C3D-ucf101_epoch-0.pth.tar")
    found = read_checkpoint(tmp_path / "C3D-ucf101_epoch-0.pth.tar")
    assert (found.layout.name, found.pool5, found.preprocessing.name) == (
        "jfzhang95-training",
        "symmetric",
        "jfzhang95",
    )
    assert found.class_names == (get_class_names(names) if names else None)
    assert any("--layout identity" in note for note in found.notes)
    plain = read_checkpoint(tmp_path / "C3D-ucf101_epoch-0.pth.tar", "identity")
    assert (plain.pool5, plain.preprocessing.name, plain.class_names) == (None, "unknown", None)


def _one_group(content: dict[str, Any]) -> None:
    groups = content["opt_dict"]["param_groups"]
    groups[0]["params"] += groups.pop()["params"]


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another key": lambda c: c.update(best=0.5),
    "no epoch": lambda c: c.pop("epoch"),
    "another name of the optimizer": lambda c: c.update(optimizer=c.pop("opt_dict")),
    "an optimizer of another kind": lambda c: c.update(opt_dict={"lr": 0.1}),
    "one group": _one_group,
    "one learning rate": lambda c: c["opt_dict"]["param_groups"][1].update(lr=c["opt_dict"]["param_groups"][0]["lr"]),
    "no learning rate": lambda c: c["opt_dict"]["param_groups"][1].update(lr="fast"),
    "other groups": lambda c: c["opt_dict"]["param_groups"].reverse(),
    "no dict": lambda c: c.update(opt_dict=None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_anything_else_is_not_its(change: str, tmp_path: Path) -> None:
    content = copy.deepcopy(jfzhang95_training(narrow_state(101)))
    CHANGES[change](content)
    assert not is_jfzhang95_training(content)
    torch.save(content, tmp_path / "c3d.pth.tar")
    found = read_checkpoint(tmp_path / "c3d.pth.tar")
    assert (found.layout.name, found.class_names) == ("identity", None)


@pytest.mark.parametrize("content", [None, [], {}, "epoch", {1: 2}])
def test_other_files(content: object) -> None:
    assert not is_jfzhang95_training(content)
