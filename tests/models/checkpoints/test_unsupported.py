"""Other networks are refused by their own name, whichever implementation wrote them; nothing else is claimed.

The names and shapes are those of each implementation's first layers and of the layers that tell it from its relatives.
"""

from pathlib import Path

import pytest
import torch

from models.checkpoints.checkpoint import read_checkpoint
from models.checkpoints.networks import identify_unsupported
from models.errors import CheckpointError

Shapes = dict[str, tuple[int, ...]]

CANONICAL = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b", "fc6", "fc7", "fc8")


def inception(block: str, conv: str, kernel: tuple[int, int, int] = (3, 3, 3)) -> Shapes:
    return {f"{block}.{conv}.weight": (128, 96, *kernel), f"{block}.b0.weight": (64, 192, 1, 1, 1)}


def bottleneck(block: str, names: tuple[str, str, str], middle: tuple[int, ...] = (64, 64, 1, 3, 3)) -> Shapes:
    first, second, third = (f"{block}.{name}.weight" for name in names)
    return {first: (64, 64, 1, 1, 1), second: middle, third: (256, 64, 1, 1, 1)}


PYTORCHVIDEO = ("branch2.conv_a", "branch2.conv_b", "branch2.conv_c")

OTHERS: dict[str, tuple[Shapes, str]] = {
    "R-C3D's detector on a ResNet": (
        {"RCNN_base.0.weight": (64, 3, 7, 7, 7), "RCNN_rpn.RPN_Conv1.weight": (512, 512, 3, 3, 3)},
        "R-C3D's detector on another network than C3D: a detector, not a C3D",
    ),
    "deep_c3d_ucf101": (
        {
            "conv1a.weight": (64, 3, 3, 3, 3),
            "conv2a.weight": (128, 64, 3, 3, 3),
            "conv3a.weight": (256, 128, 3, 3, 3),
            "conv4a.weight": (256, 256, 3, 3, 3),
            "conv5a.weight": (256, 256, 3, 3, 3),
            "fc6.weight": (1, 1, 1, 2048, 4096),
            "fc7.weight": (1, 1, 1, 2048, 2048),
            "fc8.weight": (1, 1, 1, 101, 2048),
        },
        "deep_c3d_ucf101 (five convolutions, fc6 of 2048), which is another network",
    ),
    "VMZ's C3D, caffe2": (
        {"blobs.fc6_w": (4096, 4608), "blobs.fc7_w": (4096, 4096), "blobs.conv1_w": (64, 3, 3, 3, 3)},
        "VMZ's C3D in Caffe2's blobs (BatchNorm with epsilon 1e-3 and inverse variances), which is another network",
    ),
    "tgan2": (
        {"fc6/W": (1024, 2048), "conv1a/W": (64, 3, 3, 3, 3)},
        "tgan2's C3DVersion1 (fc6 from 2048 values to 1024), which is another network",
    ),
    "C3D-v1.1": (
        {"conv1_.weight": (64, 3, 3, 7, 7), "res2a_branch1.weight": (64, 64, 1, 1, 1)},
        "C3D-v1.1's 3-D ResNet-18 of Caffe, which is another network in spite of its name",
    ),
    "I3D, piergiaj": (
        {"Conv3d_1a_7x7.conv3d.weight": (64, 3, 7, 7, 7)} | inception("Mixed_3b", "b1b.conv3d"),
        "an I3D (Inception modules), not a C3D",
    ),
    "I3D, hassony2": (
        {"module.conv3d_1a_7x7.conv3d.weight": (64, 3, 7, 7, 7)} | inception("module.mixed_3b", "branch_1.1.conv3d"),
        "an I3D (Inception modules), not a C3D",
    ),
    "I3D, kinetics-i3d": (
        {
            "RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w": (7, 7, 7, 3, 64),
            "RGB/inception_i3d/Mixed_3b/Branch_0/Conv3d_0a_1x1/conv_3d/w": (1, 1, 1, 192, 64),
        },
        "an I3D (Inception modules), not a C3D",
    ),
    "S3D, torchvision": (
        {
            "features.0.0.0.weight": (64, 3, 1, 7, 7),
            "features.0.1.0.weight": (64, 64, 7, 1, 1),
            "features.3.0.0.weight": (192, 64, 1, 3, 3),
            "features.3.1.0.weight": (192, 192, 3, 1, 1),
            "features.5.branch0.0.weight": (64, 192, 1, 1, 1),
        },
        "an S3D (separable Inception modules), not a C3D",
    ),
    "S3D, kylemin": (
        {
            "module.base.0.conv_s.weight": (64, 3, 1, 7, 7),
            "module.base.0.conv_t.weight": (64, 64, 7, 1, 1),
            "module.base.5.branch0.0.conv.weight": (64, 192, 1, 1, 1),
            "module.base.5.branch1.1.conv_s.weight": (128, 96, 1, 3, 3),
            "module.base.5.branch1.1.conv_t.weight": (128, 128, 3, 1, 1),
        },
        "an S3D (separable Inception modules), not a C3D",
    ),
    "S3D, HowTo100M": (
        {
            "conv1.conv1.weight": (64, 24, 2, 4, 4),
            "mixed_3b.conv_b0.conv1.weight": (64, 192, 1, 1, 1),
            "mixed_3b.conv_b1_b.conv1.weight": (128, 96, 1, 3, 3),
            "mixed_3b.conv_b1_b.conv2.weight": (128, 128, 3, 1, 1),
        },
        "an S3D (separable Inception modules), not a C3D",
    ),
    "R(2+1)D, torchvision": (
        {
            "stem.0.weight": (45, 3, 1, 7, 7),
            "stem.3.weight": (64, 45, 3, 1, 1),
            "layer1.0.conv1.0.0.weight": (144, 64, 1, 3, 3),
            "layer1.0.conv1.0.3.weight": (64, 144, 3, 1, 1),
        },
        "an R(2+1)D network, not a C3D",
    ),
    "R(2+1)D, MMAction2": (
        {
            "backbone.layer1.0.conv1.conv.conv_s.weight": (144, 64, 1, 3, 3),
            "backbone.layer1.0.conv1.conv.conv_t.weight": (64, 144, 3, 1, 1),
        },
        "an R(2+1)D network, not a C3D",
    ),
    "R(2+1)D, jfzhang95": (
        {
            "res2plus1d.conv2.block1.conv1.spatial_conv.weight": (144, 64, 1, 3, 3),
            "res2plus1d.conv2.block1.conv1.temporal_conv.weight": (64, 144, 3, 1, 1),
        },
        "an R(2+1)D network, not a C3D",
    ),
    "R(2+1)D, kenshohara": (
        {"layer1.0.conv1_s.weight": (144, 64, 1, 3, 3), "layer1.0.conv1_t.weight": (64, 144, 3, 1, 1)},
        "an R(2+1)D network, not a C3D",
    ),
    "X3D, pytorchvideo": (
        {"blocks.0.conv.conv_t.weight": (24, 3, 1, 3, 3), "blocks.0.conv.conv_xy.weight": (24, 1, 5, 1, 1)}
        | bottleneck("blocks.1.res_blocks.0", PYTORCHVIDEO, (54, 1, 3, 3, 3)),
        "an X3D network, not a C3D",
    ),
    "X3D, PySlowFast": (
        {"s1.pathway0_stem.conv_xy.weight": (24, 3, 1, 3, 3), "s1.pathway0_stem.conv.weight": (24, 1, 5, 1, 1)}
        | bottleneck("s2.pathway0_res0.branch2", ("a", "b", "c"), (54, 1, 3, 3, 3)),
        "an X3D network, not a C3D",
    ),
    "X3D, MMAction2": (
        {"backbone.conv1_s.conv.weight": (24, 3, 1, 3, 3), "backbone.conv1_t.conv.weight": (24, 1, 5, 1, 1)}
        | {"backbone.layer1.0.conv2.conv.weight": (54, 1, 3, 3, 3)},
        "an X3D network, not a C3D",
    ),
    "SlowFast, pytorchvideo": (
        {
            "blocks.0.multipathway_blocks.0.conv.weight": (64, 3, 1, 7, 7),
            "blocks.0.multipathway_fusion.conv_fast_to_slow.weight": (16, 8, 7, 1, 1),
        }
        | bottleneck("blocks.1.multipathway_blocks.0.res_blocks.0", PYTORCHVIDEO),
        "a SlowFast network, not a C3D",
    ),
    "SlowFast, PySlowFast": (
        {"s1.pathway0_stem.conv.weight": (64, 3, 1, 7, 7), "s1.pathway1_stem.conv.weight": (8, 3, 5, 7, 7)}
        | bottleneck("s2.pathway0_res0.branch2", ("a", "b", "c")),
        "a SlowFast network, not a C3D",
    ),
    "SlowFast, MMAction2": (
        {
            "backbone.slow_path.conv1.conv.weight": (64, 3, 1, 7, 7),
            "backbone.fast_path.conv1.conv.weight": (8, 3, 5, 7, 7),
            "backbone.slow_path.layer1.0.conv1.conv.weight": (64, 80, 1, 1, 1),
        },
        "a SlowFast network, not a C3D",
    ),
    "CSN, pytorchvideo": (
        {"blocks.0.conv.weight": (64, 3, 3, 7, 7)}
        | bottleneck("blocks.1.res_blocks.0", PYTORCHVIDEO, (64, 1, 3, 3, 3)),
        "a CSN (depthwise residual network), not a C3D",
    ),
    "CSN, MMAction2": (
        {"backbone.conv1.conv.weight": (64, 3, 3, 7, 7), "backbone.layer1.0.conv2.conv.weight": (64, 1, 3, 3, 3)},
        "a CSN (depthwise residual network), not a C3D",
    ),
    "ResNet-3D, torchvision": (
        {"stem.0.weight": (64, 3, 3, 7, 7), "layer1.0.conv1.0.weight": (64, 64, 3, 3, 3)},
        "a 3-D ResNet, not a C3D",
    ),
    "ResNet-3D, kenshohara": (
        {"module.conv1.weight": (64, 3, 7, 7, 7), "module.layer1.0.conv1.weight": (64, 64, 3, 3, 3)},
        "a 3-D ResNet, not a C3D",
    ),
    "Slow, pytorchvideo": (
        {"blocks.0.conv.weight": (64, 3, 1, 7, 7), "blocks.4.res_blocks.0.branch2.conv_a.weight": (512, 1024, 3, 1, 1)}
        | bottleneck("blocks.1.res_blocks.0", PYTORCHVIDEO),
        "a 3-D ResNet, not a C3D",
    ),
    "Slow, PySlowFast": (
        {"s1.pathway0_stem.conv.weight": (64, 3, 1, 7, 7)} | bottleneck("s2.pathway0_res0.branch2", ("a", "b", "c")),
        "a 3-D ResNet, not a C3D",
    ),
    "TSM": (
        {
            "module.base_model.conv1.weight": (64, 3, 7, 7),
            "module.base_model.layer1.0.conv1.net.weight": (64, 64, 1, 1),
        },
        "a network for images with temporal shifts (TSM), not a C3D",
    ),
    "TSM, MMAction2": (
        {"backbone.layer1.0.conv1.conv.net.weight": (64, 64, 1, 1)},
        "a network for images with temporal shifts (TSM), not a C3D",
    ),
    "ResNet for images": (
        {"layer1.0.conv1.weight": (64, 64, 3, 3), "layer2.0.conv1.weight": (128, 64, 3, 3)},
        "a ResNet for images (2-D convolutions), not a C3D",
    ),
    "ResNet for images, Caffe": (
        {"conv1.weight": (64, 3, 7, 7), "res2a_branch1.weight": (256, 64, 1, 1)},
        "a ResNet for images (2-D convolutions), not a C3D",
    ),
    "vgg16": (
        {
            **{f"features.{n}.weight": (64, 64, 3, 3) for n in (0, 2, 5, 7, 10, 12, 14, 17)},
            **{f"classifier.{n}.weight": (4096, 4096) for n in (0, 3, 6)},
        },
        "a network for images (2-D convolutions, VGG's names), not a C3D",
    ),
    "TimeSformer": (
        {"model.patch_embed.proj.weight": (768, 3, 16, 16), "model.blocks.0.attn.qkv.weight": (2304, 768)},
        "a transformer, not a C3D",
    ),
    "VideoMAE, transformers": (
        {
            "videomae.embeddings.patch_embeddings.projection.weight": (768, 3, 2, 16, 16),
            "videomae.encoder.layer.0.attention.attention.query.weight": (768, 768),
        },
        "a transformer, not a C3D",
    ),
    "Swin, torchvision": (
        {"patch_embed.proj.weight": (96, 3, 2, 4, 4), "features.0.0.attn.qkv.weight": (288, 96)},
        "a transformer, not a C3D",
    ),
    "MViT, torchvision": (
        {"conv_proj.weight": (96, 3, 3, 7, 7), "blocks.0.attn.qkv.weight": (288, 96)},
        "a transformer, not a C3D",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_are_named(name: str, tmp_path: Path) -> None:
    shapes, title = OTHERS[name]
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, tmp_path / "c3d.pth")
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "c3d.pth")
    assert str(caught.value) == f"{tmp_path / 'c3d.pth'}: this is {title}"


C3DS: dict[str, Shapes] = {
    "C3D": {f"{layer}.weight": (64, 3, 3, 3, 3) for layer in CANONICAL[:8]} | {"fc6.weight": (4096, 8192)},
    "a C3D whose fc6 has 2048 outputs": {
        "conv1a.weight": (64, 3, 3, 3, 3),
        "conv3b.weight": (256, 256, 3, 3, 3),
        "fc6.weight": (2048, 8192),
    },
    "VCOP": {f"base_network.{layer}.weight": (64, 64, 3, 3, 3) for layer in CANONICAL[:8]}
    | {f"base_network.bn{layer[4:]}.weight": (64,) for layer in CANONICAL[:8]}
    | {"base_network.linear.weight": (101, 512)},
    "Efficient-3DCNNs": {f"module.group{n}.{k}.weight": (64, 64, 3, 3, 3) for n in (3, 4, 5) for k in (0, 3)}
    | {
        "module.group1.0.weight": (64, 3, 3, 3, 3),
        "module.fc1.0.weight": (4096, 2048),
        "module.fc.0.weight": (9, 4096),
    },
    "R-C3D's base": {f"RCNN_base.{n}.weight": (64, 64, 3, 3, 3) for n in (0, 3, 6, 8, 11, 13, 16, 18)},
    "an Inception network for images": {"InceptionV1/Mixed_3b/Branch_0/weights": (1, 1, 192, 64)},
    "a U-Net": {"down.0.conv.weight": (32, 1, 3, 3, 3), "up.0.conv.weight": (32, 64, 3, 3, 3)},
    "nothing": {},
}


@pytest.mark.parametrize("name", C3DS)
def test_nothing_else_is_claimed(name: str) -> None:
    assert identify_unsupported(C3DS[name]) is None
