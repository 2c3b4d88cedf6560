"""Exports 3-D networks of torchvision, MONAI and PyTorchVideo to ONNX files, for `corpus.py` and `c3d-export bench`.

Run it in an environment of its own, made from `corpus-requirements.txt`:

    python3 -m venv networks && networks/bin/pip install -r benchmarks/corpus-requirements.txt
    networks/bin/python benchmarks/corpus_networks.py NETWORKS

Weights are random with a fixed seed. Statistics of batch normalisation are random too: as initialised they are an
identity, and a rewrite that mistakes them would not be noticed. So are its weights where they are zero, as PyTorchVideo
initialises those at the end of each residual branch: nothing that the branch computes would reach the output.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

OPSET = 18
SEED = 0
CLIP = (3, 16, 112, 112)
VOLUME, SMALL_VOLUME = (1, 64, 64, 64), (1, 32, 32, 32)


@dataclass(frozen=True)
class Network:
    """A network and what it takes.

    Attributes:
        module: where its constructor is.
        constructor: a function or class of `module`.
        arguments: of the constructor.
        inputs: the shape of each input without the batch. Several are passed as one list.
        dynamic_batch: leave the batch free.
    """

    module: str
    constructor: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    inputs: tuple[tuple[int, ...], ...] = (CLIP,)
    dynamic_batch: bool = True


TORCHVISION, MONAI, VIDEO = "torchvision.models.video", "monai.networks.nets", "pytorchvideo.models"
ONE_CHANNEL = {"spatial_dims": 3, "in_channels": 1}
U_SHAPE = {"channels": (16, 32, 64, 128), "strides": (2, 2, 2)}
NETWORKS: Mapping[str, Network] = {
    "r3d_18": Network(TORCHVISION, "r3d_18"),
    "mc3_18": Network(TORCHVISION, "mc3_18"),
    "r2plus1d_18": Network(TORCHVISION, "r2plus1d_18"),
    "s3d": Network(TORCHVISION, "s3d", inputs=((3, 16, 224, 224),)),
    "swin3d_t": Network(TORCHVISION, "swin3d_t", dynamic_batch=False),
    "mvit_v2_s": Network(TORCHVISION, "mvit_v2_s", inputs=((3, 16, 224, 224),), dynamic_batch=False),
    "monai_basicunet": Network(MONAI, "BasicUNet", {**ONE_CHANNEL, "out_channels": 2}, (VOLUME,)),
    "monai_dynunet": Network(
        MONAI,
        "DynUNet",
        {
            **ONE_CHANNEL,
            "out_channels": 3,
            "kernel_size": [3] * 5,
            "strides": [1, 2, 2, 2, 2],
            "upsample_kernel_size": [2] * 4,
        },
        (VOLUME,),
    ),
    "monai_segresnet": Network(MONAI, "SegResNet", {**ONE_CHANNEL, "out_channels": 2}, (VOLUME,)),
    "monai_resnet50": Network(
        MONAI, "resnet50", {"spatial_dims": 3, "n_input_channels": 1, "num_classes": 2}, (VOLUME,)
    ),
    "monai_densenet121": Network(MONAI, "DenseNet121", {**ONE_CHANNEL, "out_channels": 2}, (VOLUME,)),
    "monai_unetr": Network(
        MONAI, "UNETR", {"in_channels": 1, "out_channels": 2, "img_size": (64, 64, 64)}, (VOLUME,), dynamic_batch=False
    ),
    "monai_swinunetr": Network(
        MONAI,
        "SwinUNETR",
        {"in_channels": 1, "out_channels": 2, "feature_size": 12},
        (VOLUME,),
        dynamic_batch=False,
    ),
    "monai_unet": Network(MONAI, "UNet", {**ONE_CHANNEL, "out_channels": 2, **U_SHAPE, "num_res_units": 2}, (VOLUME,)),
    "monai_attentionunet": Network(MONAI, "AttentionUnet", {**ONE_CHANNEL, "out_channels": 2, **U_SHAPE}, (VOLUME,)),
    "monai_vnet": Network(MONAI, "VNet", {**ONE_CHANNEL, "out_channels": 2}, (VOLUME,)),
    "monai_highresnet": Network(MONAI, "HighResNet", {**ONE_CHANNEL, "out_channels": 2}, (SMALL_VOLUME,)),
    "monai_efficientnet": Network(
        MONAI,
        "EfficientNetBN",
        {"model_name": "efficientnet-b0", "pretrained": False, **ONE_CHANNEL, "num_classes": 2},
        (VOLUME,),
    ),
    "monai_autoencoder": Network(
        MONAI, "AutoEncoder", {**ONE_CHANNEL, "out_channels": 1, **U_SHAPE, "strides": (2, 2, 2, 1)}, (VOLUME,)
    ),
    "x3d_s": Network(
        f"{VIDEO}.x3d", "create_x3d", {"input_clip_length": 13, "input_crop_size": 160}, ((3, 13, 160, 160),)
    ),
    "x3d_m": Network(
        f"{VIDEO}.x3d", "create_x3d", {"input_clip_length": 16, "input_crop_size": 224}, ((3, 16, 224, 224),)
    ),
    "slow_r50": Network(f"{VIDEO}.hub.resnet", "slow_r50", inputs=((3, 8, 224, 224),)),
    "c2d_r50": Network(f"{VIDEO}.hub.resnet", "c2d_r50", inputs=((3, 8, 224, 224),)),
    "i3d_r50": Network(f"{VIDEO}.hub.resnet", "i3d_r50", inputs=((3, 8, 224, 224),)),
    "r2plus1d_r50": Network(f"{VIDEO}.hub.r2plus1d", "r2plus1d_r50", inputs=((3, 16, 224, 224),)),
    "csn_r101": Network(f"{VIDEO}.csn", "create_csn", {"head_pool_kernel_size": (2, 4, 4)}),
    "slowfast_r50": Network(
        f"{VIDEO}.slowfast", "create_slowfast", {}, ((3, 8, 224, 224), (3, 32, 224, 224)), dynamic_batch=False
    ),
}


class Listed(torch.nn.Module):
    """A network that takes a list, as one that takes its elements."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return what the network returns for the list of the inputs."""
        return self.network(list(inputs))


def build(network: Network) -> torch.nn.Module:
    """Construct a network with random weights and statistics, in evaluation mode."""
    torch.manual_seed(SEED)
    module: torch.nn.Module = getattr(importlib.import_module(network.module), network.constructor)(**network.arguments)
    for name, statistic in module.named_buffers():
        if name.endswith("running_mean"):
            torch.nn.init.normal_(statistic, 0.0, 0.1)
        elif name.endswith("running_var"):
            torch.nn.init.uniform_(statistic, 0.5, 1.5)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm3d) and layer.affine and not layer.weight.any():
            torch.nn.init.uniform_(layer.weight, 0.1, 0.5)
    return (module if len(network.inputs) == 1 else Listed(module)).eval()


def export(network: Network, path: Path, opset: int, *, dynamo: bool) -> None:
    """Write a network as an ONNX file with its weights inside, with torch's exporter or the one of TorchScript."""
    batch = 2 if network.dynamic_batch else 1  # the exporter takes a size of 1 for a constant
    inputs = tuple(torch.rand(batch, *shape) for shape in network.inputs)
    names = ["input"] if len(inputs) == 1 else [f"input_{index}" for index in range(len(inputs))]
    options: dict[str, Any] = {"input_names": names, "output_names": ["output"], "opset_version": opset}
    if dynamo:
        options |= {"external_data": False, "verbose": False}
        if network.dynamic_batch:
            options["dynamic_shapes"] = tuple({0: torch.export.Dim("batch")} for _ in inputs)
    elif network.dynamic_batch:
        options["dynamic_axes"] = {name: {0: "batch"} for name in (*names, "output")}
    torch.onnx.export(build(network), inputs, path, dynamo=dynamo, **options)


def main() -> None:
    """Export the networks that are not there yet, and say what failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NETWORK", help=f"of {', '.join(NETWORKS)} [default: all]")
    parser.add_argument("--opset", type=int, default=OPSET, help=f"of the files [default: {OPSET}]")
    parser.add_argument("--torchscript", action="store_true", help="export by way of TorchScript (dynamo=False)")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.names or NETWORKS:
        path = given.folder / f"{name}.onnx"
        if path.exists():
            continue
        try:
            with torch.no_grad():
                export(NETWORKS[name], path, given.opset, dynamo=not given.torchscript)
            print(f"{name}: {path.stat().st_size / 1e6:.0f} MB", flush=True)
        except Exception as error:  # noqa: BLE001 - one that cannot be exported does not stop the others
            path.unlink(missing_ok=True)
            print(f"{name}: not exported: {type(error).__name__}: {str(error)[:300]}", flush=True)


if __name__ == "__main__":
    main()
