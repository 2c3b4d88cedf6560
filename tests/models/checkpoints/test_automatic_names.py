"""Keras and TensorFlow name layers that have no name: by class and number, in the order in which they were made."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from helpers.checkpoints import narrow_state
from numpy.typing import NDArray

from models import build
from models.checkpoints.automatic_names import find_automatic_names
from models.options import BuildOptions

STATE = narrow_state()
LAYERS = tuple(dict.fromkeys(name.split(".")[0] for name in STATE))


def numbered(conv: str, dense: str, start: int) -> list[str]:
    """As Keras counts: the first is without a number if it is the first of the process."""
    return [f"{kind}_{n}" if n else kind for kind, many in ((conv, 8), (dense, 3)) for n in range(start, start + many)]


def arrays(names: Iterable[str], weight: str, bias: str) -> dict[str, NDArray[Any]]:
    """TensorFlow's axes; fc6 in the order of its file, as `keras-tf-chw` reads it."""
    found: dict[str, NDArray[Any]] = {}
    for theirs, layer in zip(names, LAYERS, strict=False):
        value = STATE[f"{layer}.weight"]
        found[weight.format(theirs)] = (value.permute(2, 3, 4, 1, 0) if value.dim() == 5 else value.t()).numpy()
        found[bias.format(theirs)] = STATE[f"{layer}.bias"].numpy()
    return found


CASES: dict[str, dict[str, NDArray[Any]]] = {
    "Keras 2": arrays(numbered("conv3d", "dense", 0), "model_weights/{0}/{0}/kernel:0", "model_weights/{0}/{0}/bias:0"),
    "Keras 2, a second network": arrays(numbered("conv3d", "dense", 9), "{0}/{0}/kernel:0", "{0}/{0}/bias:0"),
    "Keras 1": arrays(numbered("convolution3d", "dense", 1), "{0}/{0}_W", "{0}/{0}_b"),
    "tf.layers in a scope": arrays(numbered("conv3d", "dense", 0), "net/{}/kernel", "net/{}/bias"),
    "slim": arrays(LAYERS, "C3D/{}/weights", "C3D/{}/biases"),
    "attributes with Caffe's names": arrays(("conv1a", "conv2a", *LAYERS[2:]), "{}/kernel", "{}/bias"),
}


@pytest.mark.parametrize("name", CASES)
def test_they_are_found(name: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "c3d.h5", "w") as file:
        for key, array in CASES[name].items():
            file[key] = array
        file["optimizer_weights/conv3d_1/kernel/m"] = np.zeros((3, 3, 3, 2, 4), np.float32)
    built = build(BuildOptions(weights=tmp_path / "c3d.h5", layout="keras-tf-chw"))
    found = built.network.state_dict()
    assert all(torch.equal(found[key], value) for key, value in STATE.items())


@pytest.mark.parametrize("keys", [(0, 1), ("weights", "biases"), ("kernel", "bias")])
@pytest.mark.parametrize("first", ["conv1", "conv1a"])
def test_a_dict_of_layers_in_a_file_of_numpy(keys: tuple[Any, Any], first: str, tmp_path: Path) -> None:
    """`c3d_weights.npy` of several networks in TensorFlow 1 is {layer: [weights, biases]}."""
    names = [first, first.replace("1", "2"), *LAYERS[2:]]
    plain = arrays(names, "{}/0", "{}/1")
    layers: dict[str, Any] = {name: {key: plain[f"{name}/{n}"] for n, key in enumerate(keys)} for name in names}
    if keys == (0, 1):
        layers = {name: list(parts.values()) for name, parts in layers.items()}
    np.save(tmp_path / "c3d.npy", np.array(layers, object), allow_pickle=True)
    found = build(BuildOptions(weights=tmp_path / "c3d.npy", layout="keras-tf-chw")).network.state_dict()
    assert all(torch.equal(found[key], value) for key, value in STATE.items())


def shapes(arrays: dict[str, NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def test_the_last_of_two_dense_layers_is_the_classifier() -> None:
    names = numbered("conv3d", "dense", 0)
    state = shapes(arrays(names[:8], "{}/kernel", "{}/bias"))
    found = find_automatic_names(state | {"dense/kernel": (256, 4), "dense_1/kernel": (4, 5)})
    assert (found["dense/kernel"], found["dense_1/kernel"]) == ("fc6.weight", "fc8.weight")
    assert all(canonical.startswith("conv") for canonical in find_automatic_names(state).values())


@pytest.mark.parametrize("change", ["another convolution", "another order", "none"])
def test_other_networks_are_not_claimed(change: str) -> None:
    state = shapes(CASES["Keras 2, a second network"])
    if change == "another convolution":
        state["conv3d_20/conv3d_20/kernel:0"] = (3, 3, 3, 16, 16)
    elif change == "another order":
        first, second = "conv3d_10/conv3d_10/kernel:0", "conv3d_11/conv3d_11/kernel:0"
        state[first], state[second] = state[second], state[first]
    assert bool(find_automatic_names(state)) == (change == "none")


def test_torchs_axes() -> None:
    """Theano's order of axes, which Keras 1 wrote for it, is torch's."""
    names = numbered("convolution3d", "dense", 1)
    state = {
        f"{name}/{name}_W": tuple(STATE[f"{layer}.weight"].shape) for name, layer in zip(names, LAYERS, strict=True)
    }
    state |= {f"{name}/{name}_W": state[f"{name}/{name}_W"][::-1] for name in names[8:]}
    assert find_automatic_names(state)["convolution3d_8/convolution3d_8_W"] == "conv5b.weight"
