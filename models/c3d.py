"""C3D (Tran et al., 2015) as a `torch.nn.Module` that can be scripted and exported as it is."""

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.config import (
    BASE_CHANNELS,
    BATCH_NORMS,
    CLIP_SHAPE,
    DEFAULT_CLASSES,
    FEATURE_DIM,
    MAX_CLASSES,
    C3DConfig,
    Pool5,
)


def check_input_shape(clip: Tensor) -> None:
    """Refuse a clip that C3D cannot take, with the numbers. Scripted along with the network.

    Raises:
        ValueError: unless `clip` is (N, 3, 16, 112, 112).
    """
    if clip.dim() != 5 or clip.size(1) != 3 or clip.size(2) != 16 or clip.size(3) != 112 or clip.size(4) != 112:
        raise ValueError(
            "a clip batch must be (N, 3, 16, 112, 112) = (batch, channel, time, height, width); got " + str(clip.shape)
        )


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
    """The network: eight 3x3x3 convolutions, five max pools, three linear layers.

    Every convolution has padding 1 and a bias and is followed by ReLU (after a BatchNorm3d in the `batch_norm`
    variant); fc6 and fc7 are followed by ReLU and Dropout(0.5).

    Weights are initialised by `initialize_weights`.

    Args:
        num_classes: outputs of fc8; 0 leaves fc8 out, and the network returns fc7's features (timm's convention).
        pretrained: False, or the path of a checkpoint that covers the whole network. No weights ship with the package.
        batch_norm: put a BatchNorm3d after each convolution.
        pool5: pool5's convention, see `models.config.Pool5`.
        base_channels: output channels of conv1; the other layers scale with it.
        feature_dim: width of fc6 and fc7.

    Raises:
        ValueError: `num_classes` below 0 or above `models.config.MAX_CLASSES`.
        models.errors.CheckpointError: `pretrained` names a file that does not load completely.
    """

    def __init__(
        self,
        num_classes: int = DEFAULT_CLASSES,
        pretrained: str | Path | bool = False,
        *,
        batch_norm: bool = False,
        pool5: Pool5 = "symmetric",
        base_channels: int = BASE_CHANNELS,
        feature_dim: int = FEATURE_DIM,
    ) -> None:
        super().__init__()
        if not 0 <= num_classes <= MAX_CLASSES:
            raise ValueError(f"num_classes must be between 0 and {MAX_CLASSES} (got {num_classes})")
        if pretrained is True:
            raise ValueError("no weights ship with the package: give pretrained the path of a checkpoint")
        self.config = config = C3DConfig(num_classes, batch_norm, pool5, base_channels, feature_dim)
        channels = config.conv_channels

        def conv(name: str) -> nn.Conv3d:
            inputs, outputs = channels[name]
            return nn.Conv3d(inputs, outputs, kernel_size=3, padding=1)

        self.conv1 = conv("conv1")
        self.pool1 = nn.MaxPool3d(kernel_size=(1, 2, 2), stride=(1, 2, 2))
        self.conv2 = conv("conv2")
        self.pool2 = nn.MaxPool3d(kernel_size=2, stride=2)
        self.conv3a = conv("conv3a")
        self.conv3b = conv("conv3b")
        self.pool3 = nn.MaxPool3d(kernel_size=2, stride=2)
        self.conv4a = conv("conv4a")
        self.conv4b = conv("conv4b")
        self.pool4 = nn.MaxPool3d(kernel_size=2, stride=2)
        self.conv5a = conv("conv5a")
        self.conv5b = conv("conv5b")
        # `right` lets the last window hang over the far edge, which is what ceil mode does on a 7x7 map.
        self.pool5 = (
            nn.MaxPool3d(kernel_size=2, stride=2, padding=(0, 1, 1))
            if pool5 == "symmetric"
            else nn.MaxPool3d(kernel_size=2, stride=2, ceil_mode=True)
        )

        def norm(convolution: str) -> nn.Module:
            # Identity where there is none: the forward pass reads the same, and an Identity has no state_dict keys.
            return nn.BatchNorm3d(channels[convolution][1]) if batch_norm else nn.Identity()

        self.bn1 = norm("conv1")
        self.bn2 = norm("conv2")
        self.bn3a = norm("conv3a")
        self.bn3b = norm("conv3b")
        self.bn4a = norm("conv4a")
        self.bn4b = norm("conv4b")
        self.bn5a = norm("conv5a")
        self.bn5b = norm("conv5b")

        self.fc6 = nn.Linear(config.fc6_in_features, feature_dim)
        self.fc7 = nn.Linear(feature_dim, feature_dim)
        self.fc8 = nn.Linear(feature_dim, num_classes) if num_classes else nn.Identity()
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(p=0.5)

        initialize_weights(self)
        if pretrained is not False:
            from models.checkpoints import load_into

            load_into(self, Path(pretrained))

    def forward_features(self, clip: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (fc6, fc7, logits) of a batch of clips: (N, 4096), (N, 4096), (N, num_classes); features after ReLU.

        Without fc8 (`num_classes` 0) the third is fc7 once more.

        Args:
            clip: (N, 3, 16, 112, 112), the network's dtype, pixels as the checkpoint's preprocessing gives them.

        Raises:
            ValueError: another shape.
        """
        check_input_shape(clip)
        x = self.pool1(self.relu(self.bn1(self.conv1(clip))))  # (N, 64, 16, 56, 56)
        x = self.pool2(self.relu(self.bn2(self.conv2(x))))  # (N, 128, 8, 28, 28)
        x = self.relu(self.bn3a(self.conv3a(x)))  # (N, 256, 8, 28, 28)
        x = self.pool3(self.relu(self.bn3b(self.conv3b(x))))  # (N, 256, 4, 14, 14)
        x = self.relu(self.bn4a(self.conv4a(x)))  # (N, 512, 4, 14, 14)
        x = self.pool4(self.relu(self.bn4b(self.conv4b(x))))  # (N, 512, 2, 7, 7)
        x = self.relu(self.bn5a(self.conv5a(x)))  # (N, 512, 2, 7, 7)
        x = self.pool5(self.relu(self.bn5b(self.conv5b(x))))  # (N, 512, 1, 4, 4)
        fc6 = self.relu(self.fc6(torch.flatten(x, 1)))  # (N, 8192) -> (N, 4096)
        fc7 = self.relu(self.fc7(self.dropout(fc6)))  # (N, 4096)
        logits = self.fc8(self.dropout(fc7))  # (N, num_classes)
        return fc6, fc7, logits

    def forward(self, clip: Tensor) -> Tensor:
        """Return the logits (N, num_classes) of a batch of clips (N, 3, 16, 112, 112)."""
        return self.forward_features(clip)[2]


class C3DOutputs(nn.Module):
    """A C3D that returns all of `C3DConfig.outputs`: (logits, fc6, fc7, probabilities)."""

    def __init__(self, network: C3D) -> None:
        super().__init__()
        self.network = network

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return class scores, both features, and softmax, (N, width) each."""
        fc6, fc7, logits = self.network.forward_features(clip)
        return logits, fc6, fc7, torch.softmax(logits, dim=1)


class C3DFeatures(nn.Module):
    """A C3D without fc8 that returns all of `C3DConfig.outputs`: (fc6, fc7)."""

    def __init__(self, network: C3D) -> None:
        super().__init__()
        self.network = network

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Return both features, (N, 4096) each."""
        fc6, fc7, _ = self.network.forward_features(clip)
        return fc6, fc7


def all_outputs(network: C3D) -> nn.Module:
    """Return the module that computes every output of `network`, in the order of `C3DConfig.outputs`."""
    return (C3DOutputs(network) if network.config.num_classes else C3DFeatures(network)).eval()


def from_config(config: C3DConfig) -> C3D:
    """Construct the network that `config` describes."""
    return C3D(
        config.num_classes,
        batch_norm=config.batch_norm,
        pool5=config.pool5,
        base_channels=config.base_channels,
        feature_dim=config.feature_dim,
    )


def fold_batch_norm(network: C3D) -> C3D:
    """Return a network without BatchNorm that computes the same function; other tensors are shared, not copied.

    Given y = gamma * (W x + b - mean) / sqrt(var + eps) + beta, the folded convolution has
    W' = W * gamma / sqrt(var + eps) and b' = (b - mean) * gamma / sqrt(var + eps) + beta. It is computed in float64,
    so that each weight is rounded once. Source: `torch.nn.utils.fusion`.
    """
    if not network.config.batch_norm:
        return network
    with torch.device("meta"):
        folded = from_config(replace(network.config, batch_norm=False))
    state = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("fc")}
    for conv_name, norm_name in BATCH_NORMS.items():
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv3d)
        assert isinstance(norm, nn.BatchNorm3d)
        fused = fuse_conv_bn_eval(copy.deepcopy(conv).double(), copy.deepcopy(norm).double()).float()
        assert fused.bias is not None
        state[f"{conv_name}.weight"] = fused.weight.detach()
        state[f"{conv_name}.bias"] = fused.bias.detach()
    folded.load_state_dict(state, assign=True)
    return folded.eval().requires_grad_(requires_grad=False)


assert CLIP_SHAPE == (3, 16, 112, 112), "check_input_shape repeats these numbers"
