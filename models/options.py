"""What `models.build` is asked for, as plain data. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.config import BASE_CHANNELS
from models.pooling import Pool5, Variant


@dataclass(frozen=True)
class WeightSelection:
    """Which of a checkpoint's tensors are the network's, where the file leaves a choice.

    Attributes:
        key: the path of the dict that holds them, `model` or `net.state_dict`; "" is the top, None finds it.
        prefix: the prefix of their names in that dict, `module.`; None finds it.
        ema: take an average over the course of training (EMA, SWA) instead of the network being trained.
        ignore: patterns (`fnmatch`) of tensors under the prefix that are left out.
        key_map: `OLD=NEW` entries: the file's name of a layer or tensor, and the network's.
    """

    key: str | None = None
    prefix: str | None = None
    ema: bool = False
    ignore: tuple[str, ...] = ()
    key_map: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildOptions:
    """Which C3D to build, and where its weights come from.

    Attributes:
        num_classes: fc8's outputs; None takes the checkpoint's (0 where it has no fc8), or 101 without a checkpoint.
        batch_norm: the variant with a BatchNorm3d after each convolution; a checkpoint of that variant is detected.
        pool5: pool5's convention in the variant `c3d`; None takes the checkpoint's or its layout's, or `symmetric`.
        seed: seed of the random initialisation.
        weights: a checkpoint: a file, `https://…[#sha256=…]`, or `hf://owner/repo/file[@revision]`. It must cover the
            whole network.
        layout: the checkpoint's origin, or `auto` to detect it.
        selection: which of its tensors are the network's.
        new_head: initialise fc8 anew where the checkpoint has none, or one with another class count.
        base_channels: output channels of conv1, without a checkpoint.
        feature_dim: width of fc6, without a checkpoint; 0 leaves fc6 and fc7 out, None takes the variant's.
        fc7_dim: width of fc7, without a checkpoint; 0 leaves fc7 out, None takes fc6's.
        input_size: (channel, time, height, width) of a clip, or (time, height, width); None takes what the checkpoint's
            shapes state, or the published network's.
        variant: the published network or a relative; None takes the checkpoint's.
        labels: names of the classes: a known list (`models.class_names.CLASS_LISTS`), a file, or the names themselves;
            None takes the checkpoint's, or those of its origin.
        preprocess: a profile's name, or a JSON or TOML file with one; None takes the checkpoint's.
        mean: a file with a mean for each pixel (`.npy` or `.binaryproto`), subtracted instead of the profile's channel
            means.
        expect_sha256: SHA-256 that the checkpoint must have, in hexadecimal; None takes any.
    """

    num_classes: int | None = None
    batch_norm: bool = False
    pool5: Pool5 | None = None
    seed: int = 0
    weights: str | Path | None = None
    layout: str = "auto"
    selection: WeightSelection = WeightSelection()
    new_head: bool = False
    base_channels: int = BASE_CHANNELS
    feature_dim: int | None = None
    fc7_dim: int | None = None
    input_size: tuple[int, ...] | None = None
    variant: Variant | None = None
    labels: str | Path | tuple[str, ...] | None = None
    preprocess: str | Path | None = None
    mean: Path | None = None
    expect_sha256: str | None = None
