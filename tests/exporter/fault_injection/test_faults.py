"""Each kind of fault does to a graph what it says: held against torch with the same fault, on a small network."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import Tiny, clips, save
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from exporter.engines import RuntimeOptions, find_engine
from exporter.fault_injection.faults import FAULTS, FaultSite
from exporter.fault_injection.faults.geometry import GEOMETRY
from exporter.fault_injection.graph import FaultyGraph, OriginalGraph
from exporter.fault_injection.split import split_model

Bent = Callable[[NDArray[np.float32]], NDArray[np.float64]]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> OriginalGraph:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "apart").mkdir()
    return split_model(save(folder / "tiny.onnx"), folder / "apart")


def run(copy: FaultyGraph, feeds: NDArray[np.float32]) -> NDArray[np.float32]:
    path = copy.write(copy.model, copy.original.folder / "whole.onnx")
    with find_engine("onnx").open(path, RuntimeOptions()) as runtime:
        return runtime.run({"clip": feeds})["logits"]


def sites_of(original: OriginalGraph, kind: str) -> dict[str, FaultSite]:
    (row,) = [row for row in FAULTS if row.name == kind]
    return {place.where: place for place in row.find_sites(original)}


def planted(original: OriginalGraph, kind: str, where: str) -> FaultyGraph:
    copy = FaultyGraph(original)
    sites_of(original, kind)[where].inject(copy, np.random.default_rng(0))
    return copy


def weight(name: str, change: Callable[[Tensor], Tensor]) -> Bent:
    net = Tiny()
    net.state[name] = change(net.state[name].clone())
    return net


def bent(**steps: Callable[..., Tensor]) -> Bent:
    net = Tiny()
    for name, step in steps.items():
        setattr(net, name, step)
    return net


def relu_at(where: str, other: Callable[[Tensor], Tensor]) -> Bent:
    return bent(relu=lambda name, x: other(x) if name == where else torch.relu(x))


def conv_at(where: str, other: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Bent:
    plain = Tiny()

    def conv(name: str, x: Tensor) -> Tensor:
        if name != where:
            return plain.conv(name, x)
        return other(x, plain.state[f"{name}.weight"], plain.state[f"{name}.bias"])

    return bent(conv=conv)


def bias_behind_relu() -> Bent:
    net = Tiny()
    bias = net.state["conv1.bias"]
    net.state["conv1.bias"] = torch.zeros_like(bias)
    net.relu = lambda name, x: torch.relu(x) + bias[:, None, None, None] if name == "conv1" else torch.relu(x)
    return net


def on_clip(change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Bent:
    return lambda clip: Tiny()(np.ascontiguousarray(change(clip)))


def on_answer(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Bent:
    return lambda clip: change(Tiny()(clip))


def padded(x: Tensor, w: Tensor, b: Tensor, mode: str) -> Tensor:
    return F.conv3d(F.pad(x, (1,) * 6, mode), w, b)


def bfloat16(w: Tensor) -> Tensor:
    return w.bfloat16().double()


def keras_order(w: Tensor) -> Tensor:
    return w.reshape(8, 4, 2, 4, 4).permute(0, 2, 3, 4, 1).reshape(8, 128)


def shifted_pool(x: Tensor) -> Tensor:
    return F.max_pool3d(F.pad(x, (1, -1, 1, -1, 0, 0), value=-9e9), (1, 2, 2))


def norm(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    mean, variance = torch.zeros(4).double(), torch.full((4,), 1 - 1e-5).double()
    return F.batch_norm(F.conv3d(x, w, b, padding=1), mean, variance, eps=1e-3)


SEVERAL: dict[tuple[str, str], Bent] = {
    ("weights scaled by 1 %", "conv2"): weight("conv2.weight", lambda w: w * 1.01),
    ("weights rounded to bfloat16", "fc6"): weight("fc6.weight", bfloat16),
    ("weights rounded to float16", "conv1"): weight("conv1.weight", lambda w: w.half().double()),
    ("kernels flipped on every axis", "conv2"): weight("conv2.weight", lambda w: w.flip(2, 3, 4)),
    ("kernels with height and width turned", "conv1"): weight("conv1.weight", lambda w: w.transpose(3, 4)),
    ("in and out turned", "fc7"): weight("fc7.weight", lambda w: w.T),
    ("first convolution takes BGR for RGB", "conv1"): weight("conv1.weight", lambda w: w.flip(1)),
    ("flattened T,H,W,C for C,T,H,W", "fc6"): weight("fc6.weight", keras_order),
    ("bias dropped", "fc8"): weight("fc8.bias", lambda b: b * 0),
    ("bias added twice", "conv1"): weight("conv1.bias", lambda b: b * 2),
    ("ReLU dropped", "conv1.relu"): relu_at("conv1", lambda x: x),
    ("ReLU dropped", "fc7.relu"): relu_at("fc7", lambda x: x),
    ("leaky ReLU for ReLU", "conv2.relu"): relu_at("conv2", lambda x: F.leaky_relu(x, 0.01)),
    ("ELU for ReLU", "fc6.relu"): relu_at("fc6", F.elu),
    ("ReLU that ends at 6", "conv1.relu"): relu_at("conv1", lambda x: x.clip(0, 6)),
    ("ReLU moved in front of the bias", "conv1"): bias_behind_relu(),
    ("BatchNorm with another epsilon", "conv2"): conv_at("conv2", norm),
    ("dropout's factor applied", "fc6.relu"): relu_at("fc6", lambda x: torch.relu(x) / 2),
    ("padding all on one side", "conv1"): conv_at("conv1", lambda x, w, b: F.conv3d(F.pad(x, (0, 2) * 3), w, b)),
    ("padding of the past only", "conv2"): conv_at(
        "conv2", lambda x, w, b: F.conv3d(F.pad(x, (1, 1, 1, 1, 2, 0)), w, b)
    ),
    ("dilation 2", "conv1"): conv_at("conv1", lambda x, w, b: F.conv3d(x, w, b, padding=2, dilation=2)),
    ("edges repeated for zeros", "conv2"): conv_at("conv2", lambda x, w, b: padded(x, w, b, "replicate")),
    ("edges reflected for zeros", "conv2"): conv_at("conv2", lambda x, w, b: padded(x, w, b, "reflect")),
    ("padding behind the convolution", "conv2"): conv_at(
        "conv2", lambda x, w, b: F.pad(F.conv3d(x, w, b, padding=(1, 0, 0)), (1, 1, 1, 1))
    ),
    ("average for max pool", "pool1"): bent(pool1=lambda x: F.avg_pool3d(x, (1, 2, 2))),
    ("minimum for max pool", "pool1"): bent(pool1=lambda x: -F.max_pool3d(-x, (1, 2, 2))),
    ("first of each window for the largest", "pool1"): bent(pool1=lambda x: x[..., ::2, ::2]),
    ("pool windows moved by one in space", "pool1"): bent(pool1=shifted_pool),
    ("pool windows moved by one in time", "pool2"): bent(
        pool2=lambda x: F.max_pool3d(F.pad(x, (0, 0, 0, 0, 1, -1), value=-9e9), 2, padding=(0, 1, 1))
    ),
    ("pool5 of the other convention", "pool2"): bent(pool2=lambda x: F.max_pool3d(x, 2, ceil_mode=True)),
    ("a layer left out", "fc7"): bent(linear=lambda n, x: x if n == "fc7" else Tiny().linear(n, x)),
    ("a layer twice", "conv2"): conv_at(
        "conv2", lambda x, w, b: F.conv3d(F.conv3d(x, w, b, padding=1), w, b, padding=1)
    ),
    ("a layer's input added to its output", "conv2"): conv_at(
        "conv2", lambda x, w, b: F.conv3d(x, w, b, padding=1) + x
    ),
    ("BGR for RGB", "clip"): on_clip(lambda c: c[:, ::-1]),
    ("frames backwards", "clip"): on_clip(lambda c: c[:, :, ::-1]),
    ("frames off by one", "clip"): on_clip(lambda c: c[:, :, [1, 2, 3, 3]]),
    ("mirrored", "clip"): on_clip(lambda c: c[..., ::-1]),
    ("pixels divided by 255", "clip"): on_clip(lambda c: c / np.float32(255)),
    ("height and width turned", "clip"): on_clip(lambda c: c.swapaxes(3, 4)),
    ("items moved by one place", "clip"): on_clip(lambda c: np.roll(c, -1, 0)),
    ("items moved by one place", "logits"): on_answer(lambda y: np.roll(y, -1, 0)),
    ("items mixed by 0.1 %", "logits"): on_answer(lambda y: y * 0.999 + np.roll(y, -1, 0) * 0.001),
    ("the first item's output for all", "logits"): on_answer(lambda y: y[:1].repeat(len(y), 0)),
    ("classes in reverse order", "fc8"): on_answer(lambda y: y[:, ::-1]),
    ("classes moved by one", "fc8"): on_answer(lambda y: np.roll(y, 1, 1)),
    ("softmax added", "logits"): on_answer(lambda y: torch.softmax(torch.from_numpy(y), 1).numpy()),
    ("rounded to three decimals", "logits"): on_answer(lambda y: np.round(y, 3)),
}


@pytest.mark.parametrize(("kind", "where"), SEVERAL)
def test_a_fault_is_what_it_says(kind: str, where: str, original: OriginalGraph) -> None:
    feeds = clips(3) * np.float32(5)
    wanted = SEVERAL[kind, where](feeds)
    answer = run(planted(original, kind, where), feeds)
    assert np.abs(answer - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert np.abs(wanted - Tiny()(feeds)).max() > 1e-4 * np.abs(wanted).max()  # and it matters


def test_the_small_network_is_the_same_twice(original: OriginalGraph) -> None:
    assert np.abs(run(FaultyGraph(original), clips()) - Tiny()(clips())).max() < 1e-5


def test_pools_of_the_other_convention_take_the_same_faults(tmp_path: Path) -> None:
    (tmp_path / "apart").mkdir()
    right = split_model(save(tmp_path / "right.onnx", right=True), tmp_path / "apart")
    feeds = clips()
    back = run(planted(right, "pool5 of the other convention", "pool2"), feeds)
    assert np.abs(back - Tiny()(feeds)).max() < 1e-5
    first = bent(pool2=lambda x: x[:, :, ::2, ::2, ::2])(feeds)
    assert np.abs(run(planted(right, "first of each window for the largest", "pool2"), feeds) - first).max() < 1e-5
    for kind in GEOMETRY:
        for place in kind.find_sites(right):
            copy = FaultyGraph(right)
            place.inject(copy, np.random.default_rng(0))
            assert run(copy, feeds).shape == (2, 5), f"{kind.name}, {place.where}"


def test_every_kind_has_a_name_of_its_own() -> None:
    assert len({kind.name for kind in FAULTS}) == len(FAULTS) >= 40


def test_a_network_of_one_clip_has_no_faults_between_clips(tmp_path: Path) -> None:
    (tmp_path / "apart").mkdir()
    one = split_model(save(tmp_path / "one.onnx", batch=1), tmp_path / "apart")
    assert not sites_of(one, "items moved by one place")
    assert sites_of(one, "ReLU dropped")
