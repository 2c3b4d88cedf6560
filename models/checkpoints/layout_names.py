"""How the origins spell the names of C3D's tensors: {the file's name: canonical name}, for the table of layouts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from models.checkpoints.layout import LAYERS, LINEARS
from models.config import BATCH_NORMS, CONVOLUTIONS

_NORM_PARAMETERS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def _key_map(layers: Mapping[str, str], *spellings: tuple[str, str]) -> dict[str, str]:
    """Return {file's name: canonical name}; a spelling is how the weight and the bias of layer `{}` are written."""
    return {
        spelling.replace("{}", theirs): f"{ours}.{parameter}"
        for theirs, ours in layers.items()
        for pair in spellings
        for spelling, parameter in zip(pair, ("weight", "bias"), strict=True)
    }


def _zip(theirs: Iterable[str], ours: Iterable[str] = LAYERS) -> dict[str, str]:
    return dict(zip(theirs, ours, strict=True))


_TORCH = ("{}.weight", "{}.bias")
_CAFFE_NAMES = ("conv1a", "conv2a", *list(CONVOLUTIONS)[2:])  # conv3a and later layers have the same names
_VGG_NAMES = ("conv1", "conv2", "conv3_1", "conv3_2", "conv4_1", "conv4_2", "conv5_1", "conv5_2")
_VGG_NAMES_FROM_1 = ("conv1_1", "conv2_1", *_VGG_NAMES[2:])

_CONV_MODULES = ("", "features.", "conv.")
_LINEAR_MODULES = ("", "classifier.")
"""Where ports keep named layers: at the top, or in a Sequential of their own."""


def _norm_map(norms: Mapping[str, str]) -> dict[str, str]:
    """Return {file's name: canonical name} of BatchNorm layers, given {theirs: convolution}."""
    return {
        f"{theirs}.{parameter}": f"{BATCH_NORMS[conv]}.{parameter}"
        for theirs, conv in norms.items()
        for parameter in _NORM_PARAMETERS
    }


def _port(names: Iterable[str]) -> dict[str, str]:
    """Return the names of a PyTorch port that calls the convolutions `names`, the linear layers fc6, fc7 and fc8."""
    convs = _zip(names, CONVOLUTIONS)
    found = _key_map({f"{place}{name}": name for place in _LINEAR_MODULES for name in LINEARS}, _TORCH)
    for place in _CONV_MODULES:
        found |= _key_map({place + theirs: ours for theirs, ours in convs.items()}, _TORCH)
        found |= _norm_map({f"{place}{theirs}_bn": ours for theirs, ours in convs.items()})
        found |= _norm_map({place + theirs.replace("conv", "bn"): ours for theirs, ours in convs.items()})
    return found


_EFFICIENT_CONVS = _zip(("group1.0", "group2.0", *(f"group{n}.{m}" for n in (3, 4, 5) for m in (0, 3))), CONVOLUTIONS)
_EFFICIENT_NORMS = {name[:-1] + str(int(name[-1]) + 1): conv for name, conv in _EFFICIENT_CONVS.items()}
EFFICIENT = (
    _key_map(_EFFICIENT_CONVS | {"fc1.0": "fc6", "fc2.0": "fc7", "fc.0": "fc8"}, _TORCH)
    | _norm_map(_EFFICIENT_NORMS)
    | {
        f"{theirs}.{p}": f"{ours}.{p}"
        for theirs, ours in (("fc1.1", "bn6"), ("fc2.1", "bn7"))
        for p in _NORM_PARAMETERS
    }
)
_MMACTION2 = _zip((*(f"{name}.conv" for name in _CAFFE_NAMES), "fc6", "fc7"), LAYERS[:-1])
_MMACTION2_NORMS = _zip((f"{name}.bn" for name in _CAFFE_NAMES), CONVOLUTIONS)
_MMACTION = _zip((f"backbone.{name}" for name in (*_CAFFE_NAMES, "fc6", "fc7")), LAYERS[:-1]) | {
    "cls_head.fc_cls": "fc8"
}


def _keras_3() -> dict[str, str]:
    """Keras 3's `.weights.h5` calls layers by their class and number, whatever their name."""
    classes = (("conv3d", tuple(CONVOLUTIONS)), ("dense", LINEARS))
    return {
        f"layers/{name}{f'_{n}' * (n > 0)}/vars/{k}": f"{layer}.{parameter}"
        for name, layers in classes
        for n, layer in enumerate(layers)
        for k, parameter in enumerate(("weight", "bias"))
    }


_SEQUENTIAL_INDICES = (0, 3, 6, 8, 11, 13, 16, 18)
"""Indices of the convolutions in a Sequential of convolution, ReLU and pooling layers."""

_KERAS_0_INDICES = (0, 2, 4, 5, 7, 8, 10, 11, 15, 17, 19)
"""Indices of C3D's layers in a Sequential model: Keras before 1.0 names layers by their index alone."""


def keras_names(layers: Mapping[str, str]) -> dict[str, str]:
    """Return {the file's name: canonical name} as Keras, TensorFlow and Flax write them, given {theirs: layer}."""
    return _key_map(
        layers,
        ("{}/kernel", "{}/bias"),
        ("{}/{}_W", "{}/{}_b"),
        ("{}/kernel:0", "{}/bias:0"),
        ("{}/{}/kernel:0", "{}/{}/bias:0"),
        ("{}/weights", "{}/biases"),  # TensorFlow 1's slim
        ("{}.0", "{}.1"),  # NumPy's file of {layer: [weights, biases]}, which networks in TensorFlow 1 begin with
        ("{}.weights", "{}.biases"),  # the same of {layer: {"weights": …, "biases": …}}
        ("{}.kernel", "{}.bias"),  # Flax's parameters in a file of NumPy
    )


KERAS = (
    _keras_3()
    | _key_map(_zip(f"layer_with_weights-{n}" for n in range(len(LAYERS))), ("{}/kernel", "{}/bias"))
    | _key_map(_zip(f"layer_{n}" for n in _KERAS_0_INDICES), ("{}/param_0", "{}/param_1"))
    | keras_names({name: name for name in LAYERS})
    | keras_names(_zip(_CAFFE_NAMES, CONVOLUTIONS))
)
TF1 = _key_map(_zip(["1", "2", "3a", "3b", "4a", "4b", "5a", "5b"], CONVOLUTIONS), ("wc{}", "bc{}")) | _key_map(
    _zip(["d1", "d2", "out"], LINEARS), ("w{}", "b{}")
)

_GLUON = _zip((f"conv{n}" for n in range(len(CONVOLUTIONS))), CONVOLUTIONS) | _zip(
    (f"dense{n}" for n in range(len(LINEARS))), LINEARS
)
"""Gluon's names of parameters outside their blocks count the layers of a class."""
_GLUON_PAIR = ("{}_weight", "{}_bias")

IDENTITY = _port(CONVOLUTIONS) | _port(_VGG_NAMES) | _port(_VGG_NAMES_FROM_1)
_CAFFE_HEADS = _key_map(_zip((f"{name}-1" for name in LINEARS), LINEARS), _TORCH)
CAFFE = _key_map(_zip((*_CAFFE_NAMES, *LINEARS)), _TORCH) | _CAFFE_HEADS
CAFFE_PORT = _port(_CAFFE_NAMES) | _CAFFE_HEADS
PADDLE = {
    name.replace("running_mean", "_mean").replace("running_var", "_variance"): ours
    for name, ours in (IDENTITY | CAFFE_PORT).items()
}
CHAINER = _key_map(_zip((*_CAFFE_NAMES, *LINEARS)), ("{}/W", "{}/b"))
JFZHANG95 = _key_map(_zip((f"features.{n}" for n in _SEQUENTIAL_INDICES), CONVOLUTIONS), _TORCH) | _key_map(
    _zip((f"classifier.{n}" for n in (0, 3, 6)), LINEARS), _TORCH
)
R_C3D = _key_map(_zip((f"RCNN_base.{n}" for n in _SEQUENTIAL_INDICES), CONVOLUTIONS) | {"RCNN_top.0": "fc6"}, _TORCH)
MMACTION2 = (
    _key_map({f"backbone.{name}": ours for name, ours in _MMACTION2.items()}, _TORCH)
    | _norm_map({f"backbone.{name}": ours for name, ours in _MMACTION2_NORMS.items()})
    | _key_map(_MMACTION2 | {"cls_head.fc_cls": "fc8"}, _TORCH)
    | _norm_map(_MMACTION2_NORMS)
)
MMACTION = _key_map(_MMACTION, _TORCH)
GLUONCV = _key_map({name: name for name in LAYERS}, _TORCH) | _key_map(
    {f"{block}{theirs}": ours for block in ("", "c3d0_") for theirs, ours in _GLUON.items()}, _GLUON_PAIR
)
LASAGNE = {
    f"arr_{2 * n + k}": f"{layer}.{p}" for n, layer in enumerate(LAYERS) for k, p in enumerate(("weight", "bias"))
}
