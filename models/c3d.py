"""C3D (Tran et al., 2015) as a `torch.nn.Module` that can be scripted and exported as it is."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from models.config import (
    BASE_CHANNELS,
    BATCH_NORMS,
    CLIP_SHAPE,
    DEFAULT_CLASSES,
    FEATURE_DIM,
    LINEAR_BATCH_NORMS,
    OUTPUTS,
    C3DConfig,
    InputSize,
)
from models.pooling import Pool5, Variant
from models.select_outputs import select


def initialize_weights(network: nn.Module) -> None:
    """Initialise every convolution's weight by Kaiming normal, and leave everything else as PyTorch initialised it.

    A ReLU sets half of its inputs to zero, so a layer keeps the variance of its input only if its weights have
    variance 2 / fan_in. With a fixed standard deviation of 0.01 the signal shrinks at every layer, and a network of
    this depth does not train from scratch. PyTorch's default initialises BatchNorm3d with weight 1 and bias 0.
    It draws from torch's global random generator; `models.build` seeds that.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 10.

    Args:
        network: changed in place. Parameters on the meta device are skipped: they have no values.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight)


class C3D(nn.Module):
    """The network: eight 3x3x3 convolutions, five pools, and up to three linear layers.

    Every convolution has padding 1 and a bias and is followed by ReLU (after a BatchNorm3d with `batch_norm`); fc6 and
    fc7 are followed by ReLU and Dropout(0.5). Shapes in comments are the published network's.

    Weights are initialised by `initialize_weights`.

    Args:
        num_classes: outputs of fc8; 0 leaves fc8 out, and the network returns the last layer's features (timm's
            convention).
        pretrained: False, or the path of a checkpoint that covers the whole network. No weights ship with the package.
        batch_norm: put a BatchNorm3d after each convolution.
        pool5: pool5's convention, see `models.pooling.Pool5`.
        base_channels: output channels of conv1; the other layers scale with it.
        feature_dim: width of fc6, 0 to leave it out.
        fc7_dim: width of fc7, 0 to leave it out; None for fc6's.
        input_size: (channel, time, height, width) of a clip.
        variant: the published network or a relative, see `models.pooling.Variant`.
        linear_batch_norm: put a BatchNorm1d after fc6 and fc7.

    Raises:
        ValueError: sizes that make no network; see `C3DConfig.fault`.
        models.errors.CheckpointError: `pretrained` names a file that does not load completely.
    """

    has_fc6: Final[bool]
    has_fc7: Final[bool]

    def __init__(
        self,
        num_classes: int = DEFAULT_CLASSES,
        pretrained: str | Path | bool = False,
        *,
        batch_norm: bool = False,
        pool5: Pool5 = "symmetric",
        base_channels: int = BASE_CHANNELS,
        feature_dim: int = FEATURE_DIM,
        fc7_dim: int | None = None,
        input_size: InputSize = CLIP_SHAPE,
        variant: Variant = "c3d",
        linear_batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.config = config = C3DConfig(
            num_classes, batch_norm, pool5, base_channels, feature_dim, fc7_dim, *input_size, variant, linear_batch_norm
        )
        if fault := config.fault():
            raise ValueError(fault)
        if pretrained is True:
            raise ValueError("no weights ship with the package: give pretrained the path of a checkpoint")
        self._add_convolutions(config)
        self._add_batch_norms(config)
        self._add_linear_layers(config)
        self.has_fc6, self.has_fc7 = "fc6" in config.linear_sizes, "fc7" in config.linear_sizes
        self.channels, self.frames, self.height, self.width = config.clip_shape
        sizes = ", ".join(map(str, config.clip_shape))
        self.wrong_shape = f"a clip batch must be (N, {sizes}) = (batch, channel, time, height, width); got "
        initialize_weights(self)
        if pretrained is not False:
            from models.checkpoints.loading import load_into

            load_into(self, Path(pretrained))

    def _add_convolutions(self, config: C3DConfig) -> None:
        """Add the convolutions and pools; their order decides which random numbers initialise them."""
        self.conv1 = _conv(config, "conv1")
        self.pool1 = _pool(config, "pool1")
        self.conv2 = _conv(config, "conv2")
        self.pool2 = _pool(config, "pool2")
        self.conv3a = _conv(config, "conv3a")
        self.conv3b = _conv(config, "conv3b")
        self.pool3 = _pool(config, "pool3")
        self.conv4a = _conv(config, "conv4a")
        self.conv4b = _conv(config, "conv4b")
        self.pool4 = _pool(config, "pool4")
        self.conv5a = _conv(config, "conv5a")
        self.conv5b = _conv(config, "conv5b")
        self.pool5 = _pool(config, "pool5")

    def _add_batch_norms(self, config: C3DConfig) -> None:
        """Add a BatchNorm3d for each convolution, or an Identity, so that the forward pass is the same without."""
        self.bn1 = _batch_norm(config, "bn1")
        self.bn2 = _batch_norm(config, "bn2")
        self.bn3a = _batch_norm(config, "bn3a")
        self.bn3b = _batch_norm(config, "bn3b")
        self.bn4a = _batch_norm(config, "bn4a")
        self.bn4b = _batch_norm(config, "bn4b")
        self.bn5a = _batch_norm(config, "bn5a")
        self.bn5b = _batch_norm(config, "bn5b")

    def _add_linear_layers(self, config: C3DConfig) -> None:
        """Add fc6 to fc8; an Identity, which has no state_dict keys, takes the place of a layer that is left out."""
        self.fc6 = _linear(config, "fc6")
        self.fc7 = _linear(config, "fc7")
        self.fc8 = _linear(config, "fc8")
        self.bn6 = _batch_norm(config, "bn6")
        self.bn7 = _batch_norm(config, "bn7")
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(p=0.5) if {"fc6", "fc7"} & {*config.linear_sizes} else nn.Identity()

    def check_input_shape(self, clip: Tensor) -> None:
        """Refuse a clip that the network cannot take, with the numbers. Scripted along with the network.

        Raises:
            ValueError: unless `clip` is (N, channels, frames, height, width).
        """
        if (
            clip.dim() != 5
            or clip.size(1) != self.channels
            or clip.size(2) != self.frames
            or clip.size(3) != self.height
            or clip.size(4) != self.width
        ):
            raise ValueError(self.wrong_shape + str(clip.shape))

    def forward_layers(self, clip: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return (conv5b, pool5, fc6, fc7, logits) of a batch of clips; features after ReLU.

        Shapes: (N, 512, 2, 7, 7), (N, 512, 1, 4, 4), (N, 4096), (N, 4096), (N, num_classes). A linear layer that the
        network does not have returns its input.

        Args:
            clip: (N, 3, 16, 112, 112), the network's dtype, pixels as the checkpoint's preprocessing gives them.

        Raises:
            ValueError: another shape.
        """
        self.check_input_shape(clip)
        x = self.pool1(self.relu(self.bn1(self.conv1(clip))))  # (N, 64, 16, 56, 56)
        x = self.pool2(self.relu(self.bn2(self.conv2(x))))  # (N, 128, 8, 28, 28)
        x = self.relu(self.bn3a(self.conv3a(x)))  # (N, 256, 8, 28, 28)
        x = self.pool3(self.relu(self.bn3b(self.conv3b(x))))  # (N, 256, 4, 14, 14)
        x = self.relu(self.bn4a(self.conv4a(x)))  # (N, 512, 4, 14, 14)
        x = self.pool4(self.relu(self.bn4b(self.conv4b(x))))  # (N, 512, 2, 7, 7)
        x = self.relu(self.bn5a(self.conv5a(x)))  # (N, 512, 2, 7, 7)
        conv5b = self.relu(self.bn5b(self.conv5b(x)))  # (N, 512, 2, 7, 7)
        pool5 = self.pool5(conv5b)  # (N, 512, 1, 4, 4)
        x = torch.flatten(pool5, 1)  # (N, 8192)
        fc6 = self.relu(self.bn6(self.fc6(x))) if self.has_fc6 else x  # (N, 4096)
        fc7 = self.relu(self.bn7(self.fc7(self.dropout(fc6)))) if self.has_fc7 else fc6  # (N, 4096)
        logits = self.fc8(self.dropout(fc7))  # (N, num_classes)
        return conv5b, pool5, fc6, fc7, logits

    def forward(self, clip: Tensor) -> Tensor:
        """Return the logits (N, num_classes) of a batch of clips (N, 3, 16, 112, 112)."""
        return self.forward_layers(clip)[4]


class C3DOutputs(nn.Module):
    """A C3D that returns (logits, fc6, fc7, probabilities, pool5, conv5b)."""

    def __init__(self, network: C3D) -> None:
        super().__init__()
        self.network = network

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return class scores, the features of fc6 and fc7, softmax, and the features of pool5 and conv5b."""
        conv5b, pool5, fc6, fc7, logits = self.network.forward_layers(clip)
        return logits, fc6, fc7, torch.softmax(logits, dim=1), pool5, conv5b


def _conv(config: C3DConfig, name: str) -> nn.Conv3d:
    inputs, outputs = config.conv_channels[name]
    return nn.Conv3d(inputs, outputs, kernel_size=3, padding=1)


def _pool(config: C3DConfig, name: str) -> nn.Module:
    windows = config.pools[name]
    if windows is None:
        return nn.AdaptiveAvgPool3d(1)
    return nn.MaxPool3d(windows.kernel, windows.stride, windows.padding, ceil_mode=windows.ceil_mode)


def _batch_norm(config: C3DConfig, name: str) -> nn.Module:
    sizes = config.batch_norm_sizes
    norm = nn.BatchNorm1d if name in LINEAR_BATCH_NORMS.values() else nn.BatchNorm3d
    return norm(sizes[name]) if name in sizes else nn.Identity()


def _linear(config: C3DConfig, name: str) -> nn.Module:
    sizes = config.linear_sizes
    return nn.Linear(*sizes[name]) if name in sizes else nn.Identity()


def all_outputs(network: C3D) -> nn.Module:
    """Return the module that computes every output of `network`, in the order of `C3DConfig.outputs`."""
    names = [output.name for output in network.config.outputs]
    return select(C3DOutputs(network), tuple(OUTPUTS.index(name) for name in names), len(OUTPUTS)).eval()


def from_config(config: C3DConfig) -> C3D:
    """Construct the network that `config` describes.

    Raises:
        ValueError: there is no such network.
    """
    return C3D(
        config.num_classes,
        batch_norm=config.batch_norm,
        pool5=config.pool5,
        base_channels=config.base_channels,
        feature_dim=config.feature_dim,
        fc7_dim=config.fc7_dim,
        input_size=config.clip_shape,
        variant=config.variant,
        linear_batch_norm=config.linear_batch_norm,
    )


def fold_batch_norm(network: C3D) -> C3D:
    """Return a network without BatchNorm that computes the same function; other tensors are shared, not copied.

    Given y = gamma * (W x + b - mean) / sqrt(var + eps) + beta, the folded convolution has
    W' = W * gamma / sqrt(var + eps) and b' = (b - mean) * gamma / sqrt(var + eps) + beta. It is computed in float64,
    so that each weight is rounded once. Source: `torch.nn.utils.fusion`.
    """
    if not network.config.batch_norm_sizes:
        return network
    with torch.device("meta"):
        folded = from_config(replace(network.config, batch_norm=False, linear_batch_norm=False))
    state = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(("conv", "fc"))}
    for name, norm_name in (BATCH_NORMS | LINEAR_BATCH_NORMS).items():
        layer, norm = network.get_submodule(name), network.get_submodule(norm_name)
        if isinstance(norm, nn.Identity):
            continue
        layer, norm = copy.deepcopy(layer).double(), copy.deepcopy(norm).double()
        if isinstance(layer, nn.Linear):
            assert isinstance(norm, nn.BatchNorm1d)
            fused: nn.Conv3d | nn.Linear = fuse_linear_bn_eval(layer, norm).float()
        else:
            assert isinstance(layer, nn.Conv3d)
            assert isinstance(norm, nn.BatchNorm3d)
            fused = fuse_conv_bn_eval(layer, norm).float()
        assert fused.bias is not None
        state[f"{name}.weight"] = fused.weight.detach()
        state[f"{name}.bias"] = fused.bias.detach()
    folded.load_state_dict(state, assign=True)
    return folded.eval().requires_grad_(requires_grad=False)
