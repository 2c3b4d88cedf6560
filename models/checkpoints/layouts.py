"""The table of origins: how each names and lays out C3D's tensors, and the conventions its weights were trained under.

A new origin is one row of `LAYOUTS`. Names and shapes recognise a file (`models.checkpoints.detection`); where rows
differ in what no shape shows (the direction of a kernel, the order in which fc6 reads pool5), the row must be named and
`disambiguation` says what distinguishes it from the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from models.checkpoints import layout_names
from models.checkpoints.layout import LAYERS, SEQUENTIAL, Layout
from models.preprocessing import profiles

PADDLE_TABLE = "StructuredToParameterName@@"
"""The key under which `paddle.save` keeps a layer's second names."""
HEAD_TENSORS = 2
"""fc8's weight and bias."""


def is_paddle(content: object) -> bool:
    """Return whether `paddle.save` wrote a file's content from a layer's state_dict."""
    return isinstance(content, Mapping) and PADDLE_TABLE in content


def is_jfzhang95_training(content: object) -> bool:
    """Return whether train.py of jfzhang95/pytorch-video-recognition wrote a file.

    Three things together are taken for proof. The file's keys are `epoch`, `state_dict` and `opt_dict` and no other;
    `opt_dict` is the usual name of nothing else. The optimizer has two groups of parameters: all layers but fc8, and
    fc8. The learning rate of fc8's is ten times that of the others, which its schedule never changes.

    Args:
        content: what a reader of checkpoints returned.
    """
    if not isinstance(content, Mapping):
        return False
    members = cast("Mapping[object, object]", content)
    if set(members) != {"epoch", "state_dict", "opt_dict"}:
        return False
    groups = _get(members["opt_dict"], "param_groups")
    if not isinstance(groups, Sequence) or len(groups) != 2:
        return False
    counts = tuple(_length(_get(group, "params")) for group in groups)
    rates = tuple(_get(group, "lr") for group in groups)
    if counts != (2 * len(LAYERS) - HEAD_TENSORS, HEAD_TENSORS):
        return False
    return all(isinstance(rate, float) for rate in rates) and math.isclose(
        cast("float", rates[1]), 10 * cast("float", rates[0]), rel_tol=1e-6
    )


def _get(mapping: object, key: str) -> object:
    return cast("Mapping[object, object]", mapping).get(key) if isinstance(mapping, Mapping) else None


def _length(values: object) -> int:
    return len(cast("Sequence[object]", values)) if isinstance(values, list | tuple) else -1


SPORTS1M, UCF101 = "sports1m", "ucf101"
"""Lists of `models.class_names`. Caffe's lists of videos number the classes of UCF-101 as classInd.txt does, and so do
MMAction2's and hx173149's."""

LAYOUTS: tuple[Layout, ...] = (
    Layout(
        name="identity",
        title="this project's own names, shared by most PyTorch ports (DavideA c3d.pickle, training checkpoints)",
        names=layout_names.IDENTITY,
        class_lists={487: SPORTS1M},
    ),
    Layout(
        name="caffe-names",
        title="PyTorch ports with Caffe's names of layers, conv1a to fc8",
        names=layout_names.CAFFE_PORT,
    ),
    Layout(
        name="paddle",
        title="PaddlePaddle's networks: this project's or Caffe's names, linear weights as (inputs, outputs)",
        names=layout_names.PADDLE,
        linear_axes="IO",
        written_by=is_paddle,
    ),
    Layout(
        name=SEQUENTIAL,
        title="layers that are called by their numbers in a torch.nn.Sequential, with or without BatchNorm",
        names={},  # taken from the file: models.checkpoints.sequential
    ),
    Layout(
        name="efficient-3dcnns",
        title="C3D of okankop/Efficient-3DCNNs, whose pool1 and pool5 are its own",
        names=layout_names.EFFICIENT,
        variant="efficient-3dcnns",
    ),
    Layout(
        name="jfzhang95",
        title="c3d-pretrained.pth of jfzhang95/pytorch-video-recognition, and R-C3D.pytorch's c3d_sports1M.pth",
        names=layout_names.JFZHANG95,
        pool5="symmetric",
        preprocessing=profiles.JFZHANG95,
        classes=(487,),
        class_lists={487: SPORTS1M},
    ),
    Layout(
        name="jfzhang95-training",
        title="what train.py of jfzhang95/pytorch-video-recognition writes: C3D-ucf101_epoch-99.pth.tar",
        names=layout_names.IDENTITY,
        pool5="symmetric",
        preprocessing=profiles.JFZHANG95,
        class_lists={101: "ucf101-sorted", 51: "hmdb51"},
        written_by=is_jfzhang95_training,
    ),
    Layout(
        name="r-c3d",
        title="checkpoints of R-C3D.pytorch: the base of its detector, which ends at fc6",
        names=layout_names.R_C3D,
        extras=("RCNN_cls_score.*", "RCNN_twin_pred.*", "RCNN_rpn.*"),
    ),
    Layout(
        name="mmaction2",
        title="MMAction2's recognizers (backbone and cls_head), and its pretrained backbone, which has no fc8",
        names=layout_names.MMACTION2,
        pool5="symmetric",
        preprocessing=profiles.MMACTION2,
        class_lists={101: UCF101},
    ),
    Layout(
        name="mmaction",
        title="MMAction 0.x's recognizers (backbone and cls_head), whose pool5 is in ceil mode",
        names=layout_names.MMACTION,
        pool5="right",
        needs_fc8=True,
    ),
    Layout(
        name="caffe",
        title="facebook's C3D-v1.0: conv3d_deepnetA_sport1m_iter_1900000, c3d_ucf101_finetune_whole_iter_20000",
        names=layout_names.CAFFE,
        pool5="right",
        preprocessing=profiles.CAFFE,
        containers=("caffemodel",),
        class_lists={487: SPORTS1M, 101: UCF101},
    ),
    Layout(
        name="c3d-keras-tf",
        title="sports1M_weights_tf.h5 of axon-research/c3d-keras",
        names=layout_names.KERAS,
        pool5="right",
        preprocessing=profiles.C3D_KERAS,
        conv_axes="DHWIO",
        linear_axes="IO",
        fc6="HWC",
        disambiguation="its converter put fc6 into channels-last order; its network pads pool5 on one side",
        classes=(487,),
        class_lists={487: SPORTS1M},
    ),
    Layout(
        name="adamcasson",
        title="sports1M_weights_tf.h5 of adamcasson/c3d, and Keras networks of one's own with a symmetric pool5",
        names=layout_names.KERAS,
        pool5="symmetric",
        preprocessing=profiles.C3D_KERAS,
        conv_axes="DHWIO",
        linear_axes="IO",
        fc6="HWC",
        disambiguation="its network pads pool5 on both sides and flattens channels last; the file's MD5 is "
        "b7a93b2f9156ccbebe3ca24b41fc5402",
        classes=(487,),
        class_lists={487: SPORTS1M},
    ),
    Layout(
        name="keras-tf-chw",
        title="Keras files with TensorFlow's kernels whose fc6 was copied from Caffe as it was",
        names=layout_names.KERAS,
        pool5="right",
        preprocessing=profiles.C3D_KERAS,
        conv_axes="DHWIO",
        linear_axes="IO",
        disambiguation="converted without a permutation of fc6: the network has a Permute before its Flatten",
        classes=(487,),
        class_lists={487: SPORTS1M},
    ),
    Layout(
        name="c3d-keras-th",
        title="sports1M_weights_th.h5 of axon-research/c3d-keras",
        names=layout_names.KERAS,
        pool5="right",
        preprocessing=profiles.C3D_KERAS,
        linear_axes="IO",
        kernels_flipped=True,
        fc6="HWC",
        disambiguation="its converter mirrors the kernels and puts fc6 into channels-last order, here too",
        classes=(487,),
        class_lists={487: SPORTS1M},
    ),
    Layout(
        name="keras-model-zoo",
        title="c3d-sports1M_weights.h5 of albertomontesg/keras-model-zoo (Theano)",
        names=layout_names.KERAS,
        pool5="symmetric",
        linear_axes="IO",
        kernels_flipped=True,
        disambiguation="Theano's kernels are mirrored, and fc6 is in Caffe's order",
        class_lists={487: SPORTS1M},
    ),
    Layout(
        name="keras-th-unflipped",
        title="Keras files with Theano's axes whose kernels were copied from Caffe as they were",
        names=layout_names.KERAS,
        pool5="symmetric",
        linear_axes="IO",
        disambiguation="written for a backend that does not flip kernels (cuDNN): not mirrored, fc6 in Caffe's order",
        class_lists={487: SPORTS1M},
    ),
    Layout(
        name="hx173149",
        title="sports1m_finetuning_ucf101.model of hx173149/C3D-tensorflow",
        names=layout_names.TF1,
        pool5="right",
        preprocessing=profiles.HX173149,
        conv_axes="DHWIO",
        linear_axes="IO",
        disambiguation="what its training script reads and writes; that script transposes pool5 before fc6",
        classes=(101, 487),
        class_lists={487: SPORTS1M, 101: UCF101},
    ),
    Layout(
        name="hx173149-tf",
        title="the two *_TF.model files of hx173149/C3D-tensorflow",
        names=layout_names.TF1,
        pool5="right",
        preprocessing=profiles.HX173149,
        conv_axes="DHWIO",
        linear_axes="IO",
        fc6="HWC",
        disambiguation="conv3d_deepnetA_sport1m_iter_1900000_TF.model and "
        "c3d_ucf101_finetune_whole_iter_20000_TF.model: no transpose before fc6",
        classes=(101, 487),
        class_lists={487: SPORTS1M, 101: UCF101},
    ),
    Layout(
        name="gluoncv",
        title="c3d_kinetics400 of dmlc/gluon-cv, and what its training script writes",
        names=layout_names.GLUONCV,
        pool5="symmetric",
        preprocessing=profiles.GLUONCV,
        containers=("MXNet",),
    ),
    Layout(
        name="chainer",
        title="conv3d_deepnetA_ucf.npz of pfnet-research/tgan2",
        names=layout_names.CHAINER,
        pool5="right",
        preprocessing=profiles.CAFFE,
        containers=("npz", "HDF5"),
        class_lists={101: UCF101},
    ),
    Layout(
        name="lasagne",
        title="c3d_model.pkl of Lasagne/Recipes, as it is or saved again by numpy.savez",
        names=layout_names.LASAGNE,
        pool5="right",
        preprocessing=profiles.CAFFE,
        linear_axes="IO",
        classes=(487,),  # numpy.savez calls any list of arrays so
        class_lists={487: SPORTS1M},
    ),
)
