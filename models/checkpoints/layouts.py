"""The table of origins: how each names and lays out C3D's tensors, and the conventions its weights were trained under.

A new origin is one row of `LAYOUTS`. Names and shapes recognise a file (`models.checkpoints.detection`); where rows
differ in what no shape shows (the direction of a kernel, the order in which fc6 reads pool5), the row must be named and
`disambiguation` says what distinguishes it from the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from models.checkpoints.layout import LAYERS, LINEARS, Layout
from models.config import BATCH_NORMS, CONVOLUTIONS
from models.preprocessing import C3D_KERAS, CAFFE, GLUONCV, HX173149, JFZHANG95, MMACTION2, UNKNOWN

__all__ = ["LAYERS", "LAYOUTS", "LINEARS", "Layout"]

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


TORCH = ("{}.weight", "{}.bias")
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
    found = _key_map({f"{place}{name}": name for place in _LINEAR_MODULES for name in LINEARS}, TORCH)
    for place in _CONV_MODULES:
        found |= _key_map({place + theirs: ours for theirs, ours in convs.items()}, TORCH)
        found |= _norm_map({f"{place}{theirs}_bn": ours for theirs, ours in convs.items()})
        found |= _norm_map({place + theirs.replace("conv", "bn"): ours for theirs, ours in convs.items()})
    return found


_EFFICIENT_CONVS = _zip(("group1.0", "group2.0", *(f"group{n}.{m}" for n in (3, 4, 5) for m in (0, 3))), CONVOLUTIONS)
_EFFICIENT_NORMS = {name[:-1] + str(int(name[-1]) + 1): conv for name, conv in _EFFICIENT_CONVS.items()}
_EFFICIENT = (
    _key_map(_EFFICIENT_CONVS | {"fc1.0": "fc6", "fc2.0": "fc7", "fc.0": "fc8"}, TORCH)
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

_KERAS = (
    _keras_3()
    | _key_map(_zip(f"layer_{n}" for n in _KERAS_0_INDICES), ("{}/param_0", "{}/param_1"))
    | _key_map(
        {name: name for name in LAYERS},
        ("{}/kernel", "{}/bias"),
        ("{}/{}_W", "{}/{}_b"),
        ("{}/kernel:0", "{}/bias:0"),
        ("{}/{}/kernel:0", "{}/{}/bias:0"),
    )
)
_TF1 = _key_map(_zip(["1", "2", "3a", "3b", "4a", "4b", "5a", "5b"], CONVOLUTIONS), ("wc{}", "bc{}")) | _key_map(
    _zip(["d1", "d2", "out"], LINEARS), ("w{}", "b{}")
)

_GLUON = _zip((f"conv{n}" for n in range(len(CONVOLUTIONS))), CONVOLUTIONS) | _zip(
    (f"dense{n}" for n in range(len(LINEARS))), LINEARS
)
"""Gluon's names of parameters outside their blocks count the layers of a class."""
_GLUON_PAIR = ("{}_weight", "{}_bias")

LAYOUTS: tuple[Layout, ...] = (
    Layout(
        name="identity",
        title="this project's own names, shared by most PyTorch ports (DavideA c3d.pickle, training checkpoints)",
        names=_port(CONVOLUTIONS) | _port(_VGG_NAMES) | _port(_VGG_NAMES_FROM_1),
        pool5=None,
        preprocessing=UNKNOWN,
    ),
    Layout(
        name="caffe-names",
        title="PyTorch ports with Caffe's names of layers, conv1a to fc8",
        names=_port(_CAFFE_NAMES) | _key_map(_zip((f"{name}-1" for name in LINEARS), LINEARS), TORCH),
        pool5=None,
        preprocessing=UNKNOWN,
    ),
    Layout(
        name="sequential",
        title="layers that are called by their numbers in a torch.nn.Sequential, with or without BatchNorm",
        names={},  # taken from the file: models.checkpoints.sequential
        pool5=None,
        preprocessing=UNKNOWN,
    ),
    Layout(
        name="efficient-3dcnns",
        title="C3D of okankop/Efficient-3DCNNs, whose pool1 and pool5 are its own",
        names=_EFFICIENT,
        pool5=None,
        preprocessing=UNKNOWN,
        variant="efficient-3dcnns",
    ),
    Layout(
        name="jfzhang95",
        title="c3d-pretrained.pth of jfzhang95/pytorch-video-recognition, and R-C3D.pytorch's c3d_sports1M.pth",
        names=_key_map(_zip((f"features.{n}" for n in _SEQUENTIAL_INDICES), CONVOLUTIONS), TORCH)
        | _key_map(_zip((f"classifier.{n}" for n in (0, 3, 6)), LINEARS), TORCH),
        pool5="symmetric",
        preprocessing=JFZHANG95,
        classes=(487,),
    ),
    Layout(
        name="r-c3d",
        title="checkpoints of R-C3D.pytorch: the base of its detector, which ends at fc6",
        names=_key_map(_zip((f"RCNN_base.{n}" for n in _SEQUENTIAL_INDICES), CONVOLUTIONS), TORCH)
        | _key_map({"RCNN_top.0": "fc6"}, TORCH),
        pool5=None,
        preprocessing=UNKNOWN,
        extras=("RCNN_cls_score.*", "RCNN_twin_pred.*", "RCNN_rpn.*"),
    ),
    Layout(
        name="mmaction2",
        title="MMAction2's recognizers (backbone and cls_head), and its pretrained backbone, which has no fc8",
        names=_key_map({f"backbone.{name}": ours for name, ours in _MMACTION2.items()}, TORCH)
        | _norm_map({f"backbone.{name}": ours for name, ours in _MMACTION2_NORMS.items()})
        | _key_map(_MMACTION2, TORCH)
        | _norm_map(_MMACTION2_NORMS)
        | _key_map({"cls_head.fc_cls": "fc8"}, TORCH),
        pool5="symmetric",
        preprocessing=MMACTION2,
    ),
    Layout(
        name="mmaction",
        title="MMAction 0.x's recognizers (backbone and cls_head), whose pool5 is in ceil mode",
        names=_key_map(_MMACTION, TORCH),
        pool5="right",
        preprocessing=UNKNOWN,
        needs_fc8=True,
    ),
    Layout(
        name="caffe",
        title="facebook's C3D-v1.0: conv3d_deepnetA_sport1m_iter_1900000, c3d_ucf101_finetune_whole_iter_20000",
        names=_key_map(_zip((*_CAFFE_NAMES, *LINEARS)), TORCH)
        | _key_map(_zip((f"{name}-1" for name in LINEARS), LINEARS), TORCH),
        pool5="right",
        preprocessing=CAFFE,
        containers=("caffemodel",),
    ),
    Layout(
        name="c3d-keras-tf",
        title="sports1M_weights_tf.h5 of axon-research/c3d-keras",
        names=_KERAS,
        pool5="right",
        preprocessing=C3D_KERAS,
        conv_axes="DHWIO",
        linear_axes="IO",
        fc6="HWC",
        disambiguation="its converter put fc6 into channels-last order; its network pads pool5 on one side",
        classes=(487,),
    ),
    Layout(
        name="adamcasson",
        title="sports1M_weights_tf.h5 of adamcasson/c3d, and Keras networks of one's own with a symmetric pool5",
        names=_KERAS,
        pool5="symmetric",
        preprocessing=C3D_KERAS,
        conv_axes="DHWIO",
        linear_axes="IO",
        fc6="HWC",
        disambiguation="its network pads pool5 on both sides and flattens channels last; the file's MD5 is "
        "b7a93b2f9156ccbebe3ca24b41fc5402",
        classes=(487,),
    ),
    Layout(
        name="keras-tf-chw",
        title="Keras files with TensorFlow's kernels whose fc6 was copied from Caffe as it was",
        names=_KERAS,
        pool5="right",
        preprocessing=C3D_KERAS,
        conv_axes="DHWIO",
        linear_axes="IO",
        disambiguation="converted without a permutation of fc6: the network has a Permute before its Flatten",
        classes=(487,),
    ),
    Layout(
        name="c3d-keras-th",
        title="sports1M_weights_th.h5 of axon-research/c3d-keras",
        names=_KERAS,
        pool5="right",
        preprocessing=C3D_KERAS,
        linear_axes="IO",
        kernels_flipped=True,
        fc6="HWC",
        disambiguation="its converter mirrors the kernels and puts fc6 into channels-last order, here too",
        classes=(487,),
    ),
    Layout(
        name="keras-model-zoo",
        title="c3d-sports1M_weights.h5 of albertomontesg/keras-model-zoo (Theano)",
        names=_KERAS,
        pool5="symmetric",
        preprocessing=UNKNOWN,
        linear_axes="IO",
        kernels_flipped=True,
        disambiguation="Theano's kernels are mirrored, and fc6 is in Caffe's order",
    ),
    Layout(
        name="keras-th-unflipped",
        title="Keras files with Theano's axes whose kernels were copied from Caffe as they were",
        names=_KERAS,
        pool5="symmetric",
        preprocessing=UNKNOWN,
        linear_axes="IO",
        disambiguation="written for a backend that does not flip kernels (cuDNN): not mirrored, fc6 in Caffe's order",
    ),
    Layout(
        name="hx173149",
        title="sports1m_finetuning_ucf101.model of hx173149/C3D-tensorflow",
        names=_TF1,
        pool5="right",
        preprocessing=HX173149,
        conv_axes="DHWIO",
        linear_axes="IO",
        disambiguation="what its training script reads and writes; that script transposes pool5 before fc6",
        classes=(101, 487),
    ),
    Layout(
        name="hx173149-tf",
        title="the two *_TF.model files of hx173149/C3D-tensorflow",
        names=_TF1,
        pool5="right",
        preprocessing=HX173149,
        conv_axes="DHWIO",
        linear_axes="IO",
        fc6="HWC",
        disambiguation="conv3d_deepnetA_sport1m_iter_1900000_TF.model and "
        "c3d_ucf101_finetune_whole_iter_20000_TF.model: no transpose before fc6",
        classes=(101, 487),
    ),
    Layout(
        name="gluoncv",
        title="c3d_kinetics400 of dmlc/gluon-cv, and what its training script writes",
        names=_key_map({name: name for name in LAYERS}, TORCH)
        | _key_map(
            {f"{block}{theirs}": ours for block in ("", "c3d0_") for theirs, ours in _GLUON.items()}, _GLUON_PAIR
        ),
        pool5="symmetric",
        preprocessing=GLUONCV,
        containers=("MXNet",),
    ),
    Layout(
        name="chainer",
        title="conv3d_deepnetA_ucf.npz of pfnet-research/tgan2",
        names=_key_map(_zip((*_CAFFE_NAMES, *LINEARS)), ("{}/W", "{}/b")),
        pool5="right",
        preprocessing=CAFFE,
        containers=("npz", "HDF5"),
    ),
    Layout(
        name="lasagne",
        title="c3d_model.pkl of Lasagne/Recipes, as it is or saved again by numpy.savez",
        names={
            f"arr_{2 * n + k}": f"{layer}.{p}"
            for n, layer in enumerate(LAYERS)
            for k, p in enumerate(("weight", "bias"))
        },
        pool5="right",
        preprocessing=CAFFE,
        linear_axes="IO",
    ),
)
