"""Files as each origin's own tool writes them, and each origin's own network: nothing of the code under test.

All origins hold one network here, `canonical()`, at full or an eighth of the width, laid out by index arithmetic of this module's own. The outputs that
a file must give are computed from its own arrays, in its own axes, by `own_outputs`.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from helpers.checkpoints import SHAPES
from helpers.protobuf_bytes import delimited, number, varint
from helpers.reference import CONVOLUTIONS, POOLED, max_pool

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
State = dict[str, Floats]
Pool5 = Literal["right", "symmetric"]

JFZHANG95 = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3a": "features.6",
    "conv3b": "features.8",
    "conv4a": "features.11",
    "conv4b": "features.13",
    "conv5a": "features.16",
    "conv5b": "features.18",
    "fc6": "classifier.0",
    "fc7": "classifier.3",
    "fc8": "classifier.6",
}
CAFFE_NAMES = {"conv1": "conv1a", "conv2": "conv2a"}
CLASSES = 487


@functools.cache
def canonical(divisor: int = 1) -> State:
    """{layer.weight or layer.bias: float32} in torch's axes: He's scale, so that no layer's signal vanishes.

    Every layer has a `divisor`th of C3D's channels and features.
    """
    generator = np.random.default_rng(2015)
    state: State = {}
    for name, full in SHAPES.items():
        outputs = CLASSES if name == "fc8" else full[0] // divisor
        shape = (outputs, 3 if name == "conv1" else full[1] // divisor, *full[2:])
        scale = np.float32((2 / np.prod(shape[1:])) ** 0.5)
        state[f"{name}.weight"] = generator.standard_normal(shape, dtype=np.float32) * scale
        state[f"{name}.bias"] = generator.standard_normal(shape[0], dtype=np.float32) * np.float32(0.1)
    return state


def clip() -> Doubles:
    """A random clip (3, 16, 112, 112)."""
    return np.random.default_rng(7).standard_normal((3, 16, 112, 112))


# ---- axes


def keras_kernel(kernel: Floats) -> Floats:
    """(out, in, t, h, w) as TensorFlow has it: (t, h, w, in, out)."""
    return np.ascontiguousarray(np.moveaxis(kernel, (2, 3, 4, 1, 0), (0, 1, 2, 3, 4)))


def theano_kernel(kernel: Floats) -> Floats:
    """The same kernel for a true convolution: mirrored in t, h and w."""
    return np.ascontiguousarray(kernel[:, :, ::-1, ::-1, ::-1])


def channels_last_rows(weight: Floats) -> Floats:
    """fc6's (out, c*h*w) as (h*w*c, out): row (h, w, c) is what read channel c at (h, w)."""
    h, w, c = np.meshgrid(range(4), range(4), range(weight.shape[1] // 16), indexing="ij")
    return np.ascontiguousarray(weight.T[(c * 16 + h * 4 + w).reshape(-1)])


def keras_state(kernel: Callable[[Floats], Floats], fc6: Callable[[Floats], Floats], state: State) -> State:
    """Kernels and linear weights in Keras's axes, under canonical names."""
    state = dict(state)
    for name in CONVOLUTIONS:
        state[f"{name}.weight"] = kernel(state[f"{name}.weight"])
    for name in ("fc7", "fc8"):
        state[f"{name}.weight"] = np.ascontiguousarray(state[f"{name}.weight"].T)
    return {**state, "fc6.weight": fc6(state["fc6.weight"])}


def transposed(weight: Floats) -> Floats:
    return np.ascontiguousarray(weight.T)


# ---- writers


def renamed(layers: Mapping[str, str], parameters: tuple[str, str], state: Mapping[str, Any]) -> dict[str, Any]:
    """The state under an origin's names: `layers` names modules, `parameters` are endings of weight and bias."""
    endings: dict[str, str] = dict(zip(("weight", "bias"), parameters, strict=True))
    found: dict[str, Any] = {}
    for name, value in state.items():
        layer, parameter = name.split(".")
        found[layers.get(layer, layer) + endings[parameter]] = value
    return found


def tensors(state: Mapping[str, Floats]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in state.items()}


def c3d_blob(array: Floats) -> bytes:
    """BlobProto of C3D-v1.0: five sizes, then data = 6."""
    sizes = (1,) * (5 - array.ndim) + array.shape
    head = b"".join(number(field, size) for field, size in zip((1, 2, 3, 4, 5), sizes, strict=True))
    return head + delimited(6, array.tobytes())


def bvlc_blob(array: Floats) -> bytes:
    """BlobProto of stock Caffe: data = 5, shape = 7 with packed int64 dims."""
    dims = delimited(1, b"".join(map(varint, array.shape)))
    return delimited(5, array.tobytes()) + delimited(7, dims)


def write_caffe(path: Path, state: Mapping[str, Floats], schema: str, fc_suffix: str = "") -> None:
    """A NetParameter: V1 layers with C3D-v1.0's blobs, or new layers with BVLC's."""
    field, name_field, blobs_field = (2, 4, 6) if schema == "C3D-v1.0" else (100, 1, 7)
    blob = c3d_blob if schema == "C3D-v1.0" else bvlc_blob
    with path.open("wb") as out:
        out.write(delimited(1, b"DeepVideo"))
        out.write(delimited(field, delimited(name_field, b"relu1a") + number(5, 18)))  # a layer without weights
        for layer in SHAPES:
            name = CAFFE_NAMES.get(layer, layer) + (fc_suffix if layer.startswith("fc") else "")
            body = delimited(name_field, name.encode())
            body += b"".join(delimited(blobs_field, blob(state[f"{layer}.{p}"])) for p in ("weight", "bias"))
            out.write(delimited(field, body))


def write_keras(path: Path, state: Mapping[str, Floats], version: int) -> None:
    """Keras 0's save_weights (`layer_0/param_0`), 1's (`conv1/conv1_W`) or 2's save (`conv1/conv1/kernel:0` in `model_weights`)."""
    if version == 0:  # every layer by its place in the model, those without weights too
        with h5py.File(path, "w") as file:
            file.attrs["nb_layers"] = 20
            weighted: Mapping[int, str] = dict(zip([0, 2, 4, 5, 7, 8, 10, 11, 15, 17, 19], SHAPES, strict=True))
            for place in range(20):
                group = file.create_group(f"layer_{place}")
                layer = weighted.get(place)
                group.attrs["nb_params"] = 2 * (layer is not None)
                if layer is not None:
                    group["param_0"], group["param_1"] = state[f"{layer}.weight"], state[f"{layer}.bias"]
        return
    with h5py.File(path, "w") as file:
        top = file if version == 1 else file.create_group("model_weights")
        file.attrs["keras_version"] = f"{version}.0".encode()
        file.attrs["model_config"] = b'{"class_name": "Sequential"}'
        top.attrs["layer_names"] = [layer.encode() for layer in (*SHAPES, "dropout_1")]
        top.create_group("dropout_1").attrs["weight_names"] = np.empty(0, "S1")
        for layer in SHAPES:
            w, b = (f"{layer}_W", f"{layer}_b") if version == 1 else (f"{layer}/kernel:0", f"{layer}/bias:0")
            group = top.create_group(layer)
            group.attrs["weight_names"] = [w.encode(), b.encode()]
            group[w], group[b] = state[f"{layer}.weight"], state[f"{layer}.bias"]


TF_NAMES = {
    "conv1": "c1",
    "conv2": "c2",
    "conv3a": "c3a",
    "conv3b": "c3b",
    "conv4a": "c4a",
    "conv4b": "c4b",
    "conv5a": "c5a",
    "conv5b": "c5b",
    "fc6": "d1",
    "fc7": "d2",
    "fc8": "out",
}


def tf_names(state: Mapping[str, Floats]) -> State:
    """hx173149's variables: var_name/wc1, var_name/bc1, … var_name/wout, var_name/bout."""
    return {
        f"var_name/{'w' if name.endswith('weight') else 'b'}{TF_NAMES[name.split('.')[0]]}": value
        for name, value in state.items()
    }


# ---- each origin's own network

Tap = Callable[[Floats, int, int, int], Floats]
TAPS: dict[str, Tap] = {
    "torch": lambda k, t, h, w: k[:, :, t, h, w],
    "tensorflow": lambda k, t, h, w: k[t, h, w].T,
    "theano": lambda k, t, h, w: k[:, :, 2 - t, 2 - h, 2 - w],
}
"""(out, in) that meets the input at offset (t-1, h-1, w-1): correlation for torch and TensorFlow, convolution for Theano."""

_TRUNK: dict[str, Doubles] = {}


def trunk(kernels: Mapping[str, Floats], kind: str) -> Doubles:
    """Return conv5b's output (C, 2, 7, 7) after ReLU, cached by the hash of its weights."""
    taps = {
        name: np.stack(
            [TAPS[kind](kernels[f"{name}.weight"], t, h, w) for t in range(3) for h in range(3) for w in range(3)]
        )
        for name in CONVOLUTIONS
    }
    digest = hashlib.blake2b()
    for name in CONVOLUTIONS:
        digest.update(np.ascontiguousarray(taps[name]).data)
        digest.update(np.ascontiguousarray(kernels[f"{name}.bias"]).data)
    if (key := digest.hexdigest()) not in _TRUNK:
        x = clip()
        for name in CONVOLUTIONS:
            channels, time, height, width = x.shape
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1)))
            out = np.repeat(kernels[f"{name}.bias"].astype(np.float64)[:, None], time * height * width, axis=1)
            for place, tap in enumerate(taps[name]):
                t, h, w = place // 9, place // 3 % 3, place % 3
                window = padded[:, t : t + time, h : h + height, w : w + width]
                out += tap.astype(np.float64) @ window.reshape(channels, -1)
            x = np.maximum(out.reshape(-1, time, height, width), 0)
            x = max_pool(x, POOLED[name]) if name in POOLED else x
        _TRUNK[key] = x
    return _TRUNK[key]


def own_outputs(state: Mapping[str, Floats], kernels: str, linear: str, order: str, pool5: Pool5) -> dict[str, Doubles]:
    """Return the outputs of an origin's network for `clip()`: fc6, fc7, and logits where it has an fc8.

    Args:
        state: its own arrays, under canonical names.
        kernels: a key of TAPS.
        linear: `OI` (W @ x) or `IO` (x @ W).
        order: `CHW` or `HWC`, in which pool5 is flattened.
        pool5: its windows.
    """
    x = trunk(state, kernels)
    x = max_pool(x, (2, 2, 2), (0, -1, -1)) if pool5 == "symmetric" else max_pool(x, (2, 2, 2))
    x = x[:, 0] if order == "CHW" else x[:, 0].transpose(1, 2, 0)
    x = x.reshape(-1)
    outputs: dict[str, Doubles] = {}
    for name, output in (("fc6", "fc6"), ("fc7", "fc7"), ("fc8", "logits")):
        if f"{name}.weight" not in state:
            break
        weight = state[f"{name}.weight"].astype(np.float64)
        x = (weight @ x if linear == "OI" else x @ weight) + state[f"{name}.bias"].astype(np.float64)
        x = x if name == "fc8" else np.maximum(x, 0)
        outputs[output] = x
    return outputs
