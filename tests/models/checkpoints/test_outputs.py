"""Each origin's file, written as its tool writes it, becomes a network with the same outputs as the origin's own.

All files hold random weights, of an eighth of C3D's width and, among the longer tests, of the real shapes; what is
expected is computed by `helpers.origins` from the file's own arrays, in the origin's own axes, in float64. A layout that is
not the file's must miss it.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import origins
from helpers.built import c3d, checkpoint, profile
from helpers.mxnet_params import write_params
from helpers.origins import JFZHANG95, State, canonical, clip, own_outputs, renamed, tensors
from helpers.tf_checkpoint import write_v1, write_v2
from safetensors.torch import save_file

from models import build
from models.builder import BuiltModel, state_sha256
from models.errors import CheckpointError
from models.options import BuildOptions

CAFFE = {"conv1": "conv1a", "conv2": "conv2a"}
MMACTION2 = {name: f"{CAFFE.get(name, name)}.conv" for name in origins.CONVOLUTIONS}
TORCH = (".weight", ".bias")


Write = Callable[[Path, State], State]
"""Writes a network of torch's axes as an origin's file, and returns it in that origin's axes."""


def save_torch(prefix: str, layers: dict[str, str], wrap: Callable[[Any], Any] = lambda s: s) -> Write:
    def write(path: Path, state: State) -> State:
        named = renamed(layers, TORCH, state)
        torch.save(wrap({prefix + name: torch.from_numpy(value) for name, value in named.items()}), path)
        return state

    return write


def save_backbone(path: Path, state: State) -> State:
    state = {name: value for name, value in state.items() if not name.startswith("fc8")}
    torch.save(tensors(renamed(MMACTION2, TORCH, state)), path)
    return state


def save_recogniser(prefix: str) -> Write:
    layers = {name: f"{prefix}backbone.{MMACTION2.get(name, name)}" for name in origins.SHAPES}
    layers["fc8"] = f"{prefix}cls_head.fc_cls"
    return save_torch("", layers, lambda state: {"meta": {"epoch": 45}, "state_dict": state})


def save_caffe(schema: str, suffix: str) -> Write:
    def write(path: Path, state: State) -> State:
        origins.write_caffe(path, state, schema, suffix)
        return state

    return write


def same(state: State) -> State:
    return state


def saved(convert: Callable[[State], State], write: Callable[[Path, State], object]) -> Write:
    def both(path: Path, state: State) -> State:
        made = convert(state)
        write(path, made)
        return made

    return both


keras_tf = functools.partial(origins.keras_state, origins.keras_kernel, origins.channels_last_rows)
keras_tf_chw = functools.partial(origins.keras_state, origins.keras_kernel, origins.transposed)
keras_th = functools.partial(origins.keras_state, origins.theano_kernel, origins.channels_last_rows)
model_zoo = functools.partial(origins.keras_state, origins.theano_kernel, origins.transposed)
unflipped = functools.partial(origins.keras_state, np.ascontiguousarray, origins.transposed)
lasagne = functools.partial(origins.keras_state, np.ascontiguousarray, origins.transposed)
keras_0 = functools.partial(origins.write_keras, version=0)
keras_1 = functools.partial(origins.write_keras, version=1)
keras_2 = functools.partial(origins.write_keras, version=2)


def write_chainer(path: Path, state: State) -> None:
    np.savez(path, **renamed({**CAFFE}, ("/W", "/b"), state))


def write_lasagne(path: Path, state: State) -> None:
    np.savez(path, *(state[f"{layer}.{p}"] for layer in origins.SHAPES for p in ("weight", "bias")))


def write_tf1(path: Path, state: State) -> None:
    write_v1(path, origins.tf_names(state))


def write_tf2(path: Path, state: State) -> None:
    write_v2(path.with_suffix(""), origins.tf_names(state))


def write_gluon(path: Path, state: State) -> None:
    write_params(path, {f"{layer}.{p}": state[f"{layer}.{p}"] for layer in origins.SHAPES for p in ("weight", "bias")})


def write_safetensors(path: Path, state: State) -> None:
    save_file(tensors(renamed({}, ("/kernel", "/bias"), state)), path)


@dataclass(frozen=True)
class Origin:
    """A file, its own network, the row it must be taken for, and the rows that must miss it."""

    file: str
    write: Write
    layout: str
    pool5: origins.Pool5
    profile: str
    kernels: str = "torch"
    linear: str = "OI"
    order: str = "CHW"
    ambiguous: bool = False
    wrong: tuple[str, ...] = ()


ORIGINS = {
    "gluoncv": Origin("c3d_kinetics400.params", saved(same, write_gluon), "gluoncv", "symmetric", "gluoncv"),
    "identity": Origin("c3d.pickle", save_torch("", {}), "identity", "symmetric", "unknown"),
    "jfzhang95": Origin("c3d-pretrained.pth", save_torch("", JFZHANG95), "jfzhang95", "symmetric", "jfzhang95"),
    "mmaction2 pretrain": Origin("pretrain.pth", save_backbone, "mmaction2", "symmetric", "mmaction2"),
    "mmaction2": Origin("ucf101.pth", save_recogniser(""), "mmaction2", "symmetric", "mmaction2"),
    "mmaction2, lightning": Origin("last.ckpt", save_recogniser("model."), "mmaction2", "symmetric", "mmaction2"),
    "caffe sports1m": Origin(
        "conv3d_deepnetA_sport1m_iter_1900000", save_caffe("C3D-v1.0", "-1"), "caffe", "right", "caffe-sports1m"
    ),
    "caffe ucf101, BVLC": Origin("c3d.caffemodel", save_caffe("BVLC", ""), "caffe", "right", "caffe-sports1m"),
    "c3d-keras tf": Origin(
        "weights_tf.h5",
        saved(keras_tf, keras_1),
        "c3d-keras-tf",
        "right",
        "c3d-keras",
        "tensorflow",
        "IO",
        "HWC",
        ambiguous=True,
        wrong=("adamcasson", "keras-tf-chw"),
    ),
    "adamcasson": Origin(
        "weights_tf.h5",
        saved(keras_tf, keras_2),
        "adamcasson",
        "symmetric",
        "c3d-keras",
        "tensorflow",
        "IO",
        "HWC",
        ambiguous=True,
        wrong=("c3d-keras-tf",),
    ),
    "keras tf, chw": Origin(
        "c3d.safetensors",
        saved(keras_tf_chw, write_safetensors),
        "keras-tf-chw",
        "right",
        "c3d-keras",
        "tensorflow",
        "IO",
        "CHW",
        ambiguous=True,
        wrong=("c3d-keras-tf",),
    ),
    "c3d-keras th": Origin(
        "weights_th.h5",
        saved(keras_th, keras_1),
        "c3d-keras-th",
        "right",
        "c3d-keras",
        "theano",
        "IO",
        "HWC",
        ambiguous=True,
        wrong=("keras-model-zoo",),
    ),
    "keras-model-zoo": Origin(
        "weights.h5",
        saved(model_zoo, keras_0),
        "keras-model-zoo",
        "symmetric",
        "unknown",
        "theano",
        "IO",
        "CHW",
        ambiguous=True,
        wrong=("keras-th-unflipped",),
    ),
    "keras th, unflipped": Origin(
        "weights.h5",
        saved(unflipped, keras_1),
        "keras-th-unflipped",
        "symmetric",
        "unknown",
        "torch",
        "IO",
        "CHW",
        ambiguous=True,
        wrong=("c3d-keras-th",),
    ),
    "hx173149": Origin(
        "sports1m_finetuning_ucf101.model",
        saved(keras_tf_chw, write_tf1),
        "hx173149",
        "right",
        "hx173149",
        "tensorflow",
        "IO",
        "CHW",
        ambiguous=True,
        wrong=("hx173149-tf",),
    ),
    "hx173149, saved again": Origin(
        "model.index",
        saved(keras_tf, write_tf2),
        "hx173149-tf",
        "right",
        "hx173149",
        "tensorflow",
        "IO",
        "HWC",
        ambiguous=True,
        wrong=("hx173149",),
    ),
    "chainer": Origin("conv3d_deepnetA_ucf.npz", saved(same, write_chainer), "chainer", "right", "caffe-sports1m"),
    "lasagne": Origin("c3d.npz", saved(lasagne, write_lasagne), "lasagne", "right", "caffe-sports1m", linear="IO"),
}

_ANSWERED: dict[tuple[str, str], dict[str, Any]] = {}


def run_outputs(built: BuiltModel) -> dict[str, Any]:
    """The network's own outputs in float64, computed once for each state and pool5."""
    key = state_sha256(built.network), str(built.settings["pool5"])
    if key not in _ANSWERED:
        with torch.inference_mode():
            stages = c3d(built).double().forward_layers(torch.from_numpy(clip())[None])[2:]
        _ANSWERED[key] = {name: stage[0].numpy() for name, stage in zip(("fc6", "fc7", "logits"), stages, strict=True)}
    return _ANSWERED[key]


def max_abs_diff(built: BuiltModel, expected: dict[str, Any]) -> float:
    """The largest error of any output, relative to that output's largest value."""
    outputs = run_outputs(built)
    return max(float(np.abs(outputs[name] - own).max() / np.abs(own).max()) for name, own in expected.items())


def roughly(built: BuiltModel, expected: Any) -> float:
    """The same for the logits, computed in float32: enough to see another network."""
    with torch.inference_mode():
        logits = built.network(torch.from_numpy(clip())[None].float())[0].numpy()
    return float(np.abs(logits - expected).max() / np.abs(expected).max())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Files of 319 MB, removed at once."""
    yield tmp_path
    for path in tmp_path.iterdir():
        path.unlink()


@pytest.fixture(params=ORIGINS)
def origin(request: pytest.FixtureRequest) -> Origin:
    return ORIGINS[request.param]


@pytest.mark.parametrize("divisor", [pytest.param(1, marks=pytest.mark.heavy), 8])
def test_outputs_are_those_of_its_own_network(origin: Origin, divisor: int, folder: Path) -> None:
    path = folder / origin.file
    state = origin.write(path, canonical(divisor))
    expected = own_outputs(state, origin.kernels, origin.linear, origin.order, origin.pool5)
    if origin.ambiguous:
        with pytest.raises(CheckpointError, match=f"its layout must be named: .*--layout {origin.layout} \\("):
            build(BuildOptions(weights=path))
    built = build(BuildOptions(weights=path, layout=origin.layout if origin.ambiguous else "auto"))
    assert (checkpoint(built).layout, built.settings["pool5"], profile(built)) == (
        origin.layout,
        origin.pool5,
        origin.profile,
    )
    assert built.settings["num_classes"] == (origins.CLASSES if "fc8.weight" in state else 0)
    assert checkpoint(built).loaded == checkpoint(built).total == len(state)
    assert max_abs_diff(built, expected) < 1e-9
    for layout in origin.wrong:
        assert roughly(build(BuildOptions(weights=path, layout=layout)), expected["logits"]) > 1e-3, layout
