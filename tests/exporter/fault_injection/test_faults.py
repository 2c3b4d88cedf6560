"""Each fault type changes a small network as its name says: the outputs equal those of torch with the same fault."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import Tiny, clips, save
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.fault_injection.faults import FAULTS, FaultSite
from exporter.fault_injection.faults.geometry import GEOMETRY
from exporter.fault_injection.graph import FaultyGraph, OriginalGraph
from exporter.fault_injection.split import split_model

Network = Callable[[NDArray[np.float32]], NDArray[np.float64]]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> OriginalGraph:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "split").mkdir()
    return split_model(save(folder / "tiny.onnx"), folder / "split")


def run(faulty: FaultyGraph, feeds: NDArray[np.float32]) -> NDArray[np.float32]:
    path = faulty.write()
    with find_engine("onnx").open(path, RuntimeOptions()) as runtime:
        return runtime.run({"clip": feeds})["logits"]


def find_sites(original: OriginalGraph, kind: str) -> dict[str, FaultSite]:
    (row,) = [row for row in FAULTS if row.name == kind]
    return {site.where: site for site in row.find_sites(original)}


def inject(original: OriginalGraph, kind: str, where: str) -> FaultyGraph:
    faulty = FaultyGraph(original)
    find_sites(original, kind)[where].inject(faulty, np.random.default_rng(0))
    return faulty


def weight(name: str, change: Callable[[Tensor], Tensor]) -> Network:
    net = Tiny()
    net.state[name] = change(net.state[name].clone())
    return net


def with_steps(**steps: Callable[..., Tensor]) -> Network:
    net = Tiny()
    for name, step in steps.items():
        setattr(net, name, step)
    return net


def relu_at(where: str, other: Callable[[Tensor], Tensor]) -> Network:
    return with_steps(relu=lambda name, x: other(x) if name == where else torch.relu(x))


def conv_at(where: str, other: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Network:
    plain = Tiny()

    def conv(name: str, x: Tensor) -> Tensor:
        if name != where:
            return plain.conv(name, x)
        return other(x, plain.state[f"{name}.weight"], plain.state[f"{name}.bias"])

    return with_steps(conv=conv)


def bias_after_relu() -> Network:
    net = Tiny()
    bias = net.state["conv1.bias"]
    net.state["conv1.bias"] = torch.zeros_like(bias)
    net.relu = lambda name, x: torch.relu(x) + bias[:, None, None, None] if name == "conv1" else torch.relu(x)
    return net


def on_clip(change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Network:
    return lambda clip: Tiny()(np.ascontiguousarray(change(clip)))


def on_output(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Network:
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


EXPECTED: dict[tuple[str, str], Network] = {
    ("weights scaled by 1 %", "conv2"): weight("conv2.weight", lambda w: w * 1.01),
    ("weights rounded to bfloat16", "fc6"): weight("fc6.weight", bfloat16),
    ("weights rounded to float16", "conv1"): weight("conv1.weight", lambda w: w.half().double()),
    ("kernels flipped on every axis", "conv2"): weight("conv2.weight", lambda w: w.flip(2, 3, 4)),
    ("kernels with height and width swapped", "conv1"): weight("conv1.weight", lambda w: w.transpose(3, 4)),
    ("input and output channels swapped", "fc7"): weight("fc7.weight", lambda w: w.T),
    ("first convolution takes BGR for RGB", "conv1"): weight("conv1.weight", lambda w: w.flip(1)),
    ("flattened T,H,W,C for C,T,H,W", "fc6"): weight("fc6.weight", keras_order),
    ("bias dropped", "fc8"): weight("fc8.bias", lambda b: b * 0),
    ("bias added twice", "conv1"): weight("conv1.bias", lambda b: b * 2),
    ("ReLU dropped", "conv1.relu"): relu_at("conv1", lambda x: x),
    ("ReLU dropped", "fc7.relu"): relu_at("fc7", lambda x: x),
    ("leaky ReLU for ReLU", "conv2.relu"): relu_at("conv2", lambda x: F.leaky_relu(x, 0.01)),
    ("ELU for ReLU", "fc6.relu"): relu_at("fc6", F.elu),
    ("ReLU6 for ReLU", "conv1.relu"): relu_at("conv1", lambda x: x.clip(0, 6)),
    ("ReLU before the bias", "conv1"): bias_after_relu(),
    ("BatchNorm with another epsilon", "conv2"): conv_at("conv2", norm),
    ("dropout scaling applied", "fc6.relu"): relu_at("fc6", lambda x: torch.relu(x) / 2),
    ("padding only at the end", "conv1"): conv_at("conv1", lambda x, w, b: F.conv3d(F.pad(x, (0, 2) * 3), w, b)),
    ("padding only of the past", "conv2"): conv_at(
        "conv2", lambda x, w, b: F.conv3d(F.pad(x, (1, 1, 1, 1, 2, 0)), w, b)
    ),
    ("dilation 2", "conv1"): conv_at("conv1", lambda x, w, b: F.conv3d(x, w, b, padding=2, dilation=2)),
    ("edge padding for zeros", "conv2"): conv_at("conv2", lambda x, w, b: padded(x, w, b, "replicate")),
    ("reflect padding for zeros", "conv2"): conv_at("conv2", lambda x, w, b: padded(x, w, b, "reflect")),
    ("padding after the convolution", "conv2"): conv_at(
        "conv2", lambda x, w, b: F.pad(F.conv3d(x, w, b, padding=(1, 0, 0)), (1, 1, 1, 1))
    ),
    ("average for max pool", "pool1"): with_steps(pool1=lambda x: F.avg_pool3d(x, (1, 2, 2))),
    ("minimum for max pool", "pool1"): with_steps(pool1=lambda x: -F.max_pool3d(-x, (1, 2, 2))),
    ("first value for max pool", "pool1"): with_steps(pool1=lambda x: x[..., ::2, ::2]),
    ("pool windows shifted by one in space", "pool1"): with_steps(pool1=shifted_pool),
    ("pool windows shifted by one in time", "pool2"): with_steps(
        pool2=lambda x: F.max_pool3d(F.pad(x, (0, 0, 0, 0, 1, -1), value=-9e9), 2, padding=(0, 1, 1))
    ),
    ("pool padding of the other convention", "pool2"): with_steps(pool2=lambda x: F.max_pool3d(x, 2, ceil_mode=True)),
    ("a layer left out", "fc7"): with_steps(linear=lambda n, x: x if n == "fc7" else Tiny().linear(n, x)),
    ("a layer twice", "conv2"): conv_at(
        "conv2", lambda x, w, b: F.conv3d(F.conv3d(x, w, b, padding=1), w, b, padding=1)
    ),
    ("a layer's input added to its output", "conv2"): conv_at(
        "conv2", lambda x, w, b: F.conv3d(x, w, b, padding=1) + x
    ),
    ("BGR for RGB", "clip"): on_clip(lambda c: c[:, ::-1]),
    ("frames reversed", "clip"): on_clip(lambda c: c[:, :, ::-1]),
    ("frames off by one", "clip"): on_clip(lambda c: c[:, :, [1, 2, 3, 3]]),
    ("mirrored", "clip"): on_clip(lambda c: c[..., ::-1]),
    ("pixels divided by 255", "clip"): on_clip(lambda c: c / np.float32(255)),
    ("height and width swapped", "clip"): on_clip(lambda c: c.swapaxes(3, 4)),
    ("items shifted by one", "clip"): on_clip(lambda c: np.roll(c, -1, 0)),
    ("items shifted by one", "logits"): on_output(lambda y: np.roll(y, -1, 0)),
    ("items mixed by 0.1 %", "logits"): on_output(lambda y: y * 0.999 + np.roll(y, -1, 0) * 0.001),
    ("the first item's output for all", "logits"): on_output(lambda y: y[:1].repeat(len(y), 0)),
    ("classes in reverse order", "fc8"): on_output(lambda y: y[:, ::-1]),
    ("classes shifted by one", "fc8"): on_output(lambda y: np.roll(y, 1, 1)),
    ("softmax added", "logits"): on_output(lambda y: torch.softmax(torch.from_numpy(y), 1).numpy()),
    ("rounded to three decimals", "logits"): on_output(lambda y: np.round(y, 3)),
}


@pytest.mark.parametrize(("kind", "where"), EXPECTED)
def test_a_fault_changes_the_outputs_as_in_torch(kind: str, where: str, original: OriginalGraph) -> None:
    feeds = clips(3) * np.float32(5)
    wanted = EXPECTED[kind, where](feeds)
    output = run(inject(original, kind, where), feeds)
    assert np.abs(output - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert np.abs(wanted - Tiny()(feeds)).max() > 1e-4 * np.abs(wanted).max()


def test_without_a_fault_the_graph_equals_the_torch_network(original: OriginalGraph) -> None:
    assert np.abs(run(FaultyGraph(original), clips()) - Tiny()(clips())).max() < 1e-5


def test_pools_in_ceil_mode_can_have_the_same_faults(tmp_path: Path) -> None:
    (tmp_path / "split").mkdir()
    right = split_model(save(tmp_path / "right.onnx", right=True), tmp_path / "split")
    feeds = clips()
    back = run(inject(right, "pool padding of the other convention", "pool2"), feeds)
    assert np.abs(back - Tiny()(feeds)).max() < 1e-5
    first = with_steps(pool2=lambda x: x[:, :, ::2, ::2, ::2])(feeds)
    assert np.abs(run(inject(right, "first value for max pool", "pool2"), feeds) - first).max() < 1e-5
    for kind in GEOMETRY:
        for site in kind.find_sites(right):
            faulty = FaultyGraph(right)
            site.inject(faulty, np.random.default_rng(0))
            assert run(faulty, feeds).shape == (2, 5), f"{kind.name}, {site.where}"


def test_names_are_unique() -> None:
    assert len({kind.name for kind in FAULTS}) == len(FAULTS) >= 40


def test_faults_between_items_need_a_batch_of_several(tmp_path: Path) -> None:
    (tmp_path / "split").mkdir()
    one = split_model(save(tmp_path / "one.onnx", batch=1), tmp_path / "split")
    assert not find_sites(one, "items shifted by one")
    assert find_sites(one, "ReLU dropped")
