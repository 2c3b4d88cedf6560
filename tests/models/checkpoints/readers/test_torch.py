"""PyTorch's files and other pickles: the weights are read, whatever stands beside them, and nothing is executed."""

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import constant_state, narrow_state
from helpers.loaded import load_tensors
from numpy.typing import NDArray

from models import build
from models.c3d import C3D
from models.checkpoints.checkpoint import read_checkpoint
from models.checkpoints.readers import read_file
from models.errors import CheckpointError
from models.options import BuildOptions

ONE = np.ones((2, 3), np.float32)


class Calls:
    """Is pickled as a call of a function with arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
def test_what_would_run_code_beside_the_weights_is_named_and_not_run(zipped: bool, tmp_path: Path) -> None:
    system: Any = vars(os)["system"]
    content = {"state_dict": constant_state(), "extra": Calls(system, f"touch {tmp_path / 'ran'}")}
    torch.save(content, tmp_path / "c3d.pth", _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(tmp_path / "c3d.pth")
    assert checkpoint.tensors.keys() == constant_state().keys()
    assert checkpoint.raw.hazards == (f"{os.name}.system",)
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_model_is_read_as_its_state_dict(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = C3D()
    state = constant_state(101)
    network.load_state_dict(state, assign=True)
    torch.save(torch.nn.DataParallel(network), tmp_path / "model.pt")
    checkpoint = read_checkpoint(tmp_path / "model.pt")
    assert checkpoint.tensors.keys() == state.keys()
    assert all(torch.equal(checkpoint.tensors[name], value) for name, value in state.items() if value.dim() == 1)
    assert "models.c3d.C3D" in checkpoint.raw.not_built


def paddle_state() -> dict[str, NDArray[Any]]:
    return {name: np.full(tensor.shape[:1], 0.5, np.float32) for name, tensor in constant_state().items()}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_paddle_state_dicts(protocol: int, tmp_path: Path) -> None:
    """As `paddle.save` writes a layer's state_dict, a dict of tensors, and a program's LoDTensors."""
    arrays = paddle_state()
    forms: list[dict[str, Any]] = [
        {**arrays, "StructuredToParameterName@@": {name: f"conv3d_{n}.w_0" for n, name in enumerate(arrays)}},
        {name: Calls(tuple, (name, array)) for name, array in arrays.items()},
        {name: Calls(eval, "data", {"data": array}) for name, array in arrays.items()},
    ]
    for form in forms:
        (tmp_path / "c3d.pdparams").write_bytes(pickle.dumps(form, protocol))
        raw = read_file(tmp_path / "c3d.pdparams")
        assert raw.container == "pickle"
        assert {name: tensor.tolist() for name, tensor in load_tensors(raw).items()} == {
            name: array.tolist() for name, array in arrays.items()
        }


@pytest.mark.parametrize("names", ["conv1", "conv1a"])
@pytest.mark.parametrize("layers", [11, 9])
def test_paddles_linear_weights_are_transposed(names: str, layers: int, tmp_path: Path) -> None:
    """`paddle.nn.Linear` has weights (inputs, outputs); its BatchNorm has `_mean` and `_variance`."""
    state = dict(list(narrow_state().items())[: 2 * layers])
    theirs = {"conv1": names, "conv2": "conv2a" if names == "conv1a" else "conv2"}
    arrays: dict[str, Any] = {}
    for name, value in state.items():
        layer, _, parameter = name.partition(".")
        array = value.numpy()
        arrays[f"{theirs.get(layer, layer)}.{parameter}"] = array.T if layer.startswith("fc") else array
        if layer.startswith("conv") and parameter == "bias":
            parts = ("weight", "bias", "_mean", "_variance")
            norm = theirs.get(layer, layer).replace("conv", "bn")
            arrays |= {f"{norm}.{part}": np.full(len(array), n + 1, np.float32) for n, part in enumerate(parts)}
    (tmp_path / "c3d.pdparams").write_bytes(pickle.dumps(arrays, 4))
    built = build(BuildOptions(weights=tmp_path / "c3d.pdparams"))
    assert built.checkpoint is not None
    assert built.checkpoint.layout == "paddle"
    found = built.network.state_dict()
    assert all(torch.equal(found[name], value) for name, value in state.items())
    assert found["bn3a.running_var"].tolist() == [4] * 8


@pytest.mark.parametrize("marked", [True, False])
def test_square_linear_weights_are_paddles_where_its_table_is(marked: bool, tmp_path: Path) -> None:
    """Shapes and biases do not show the order of the axes; `paddle.save` adds a table of names."""
    arrays: dict[str, Any] = {name: value.numpy() for name, value in narrow_state().items() if name[:2] != "fc"}
    matrix = np.arange(256 * 256, dtype=np.float32).reshape(256, 256)
    arrays |= {"fc6.weight": matrix, "fc6.bias": np.zeros(256, np.float32)}
    table = {"StructuredToParameterName@@": {name: name for name in arrays}} if marked else {}
    (tmp_path / "c3d.pdparams").write_bytes(pickle.dumps(arrays | table, 4))
    found = build(BuildOptions(weights=tmp_path / "c3d.pdparams")).network.state_dict()["fc6.weight"]
    assert np.array_equal(found.numpy(), matrix.T if marked else matrix)


@pytest.mark.parametrize("protocol", range(6))
def test_a_list_of_arrays_has_the_names_that_savez_gives(protocol: int, tmp_path: Path) -> None:
    """As Lasagne's `c3d_model.pkl`."""
    arrays = [array for n in range(11) for array in (np.ones((2, 2, 3, 3, 3) if n < 8 else (2, 2)), np.ones(2))]
    (tmp_path / "c3d_model.pkl").write_bytes(pickle.dumps(arrays, protocol))
    checkpoint = read_checkpoint(tmp_path / "c3d_model.pkl")
    assert list(checkpoint.raw.tensors) == [f"arr_{n}" for n in range(22)]
    assert checkpoint.layout.name == "lasagne"
    assert checkpoint.pool5 is None  # numpy.savez calls any arrays so: only the published 487 classes prove the origin


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_known_by_its_first_bytes(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "weights.unknown").write_bytes(pickle.dumps({"args": argparse.Namespace(a=1), "w": ONE}, protocol))
    raw = read_file(tmp_path / "weights.unknown")
    assert list(load_tensors(raw)) == ["w"]
    assert raw.not_built == ("argparse.Namespace",)


def test_a_message_is_short_whatever_the_keys_are(tmp_path: Path) -> None:
    aliased: Any = "x"
    for _ in range(40):
        aliased = [aliased, aliased]  # its text would have 2**40 letters
    key = Calls(argparse.Namespace)
    key.call = argparse.Namespace, (aliased,)  # pyright: ignore[reportAttributeAccessIssue]
    (tmp_path / "keys.pkl").write_bytes(pickle.dumps({"long\x1b" * 10_000: 1, key: 2, ("a", key): 3}, 4))
    with pytest.raises(CheckpointError, match=r"with the keys long\\x1blong.*but no tensors") as caught:
        read_file(tmp_path / "keys.pkl")
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


@pytest.mark.filterwarnings("ignore")
def test_sparse_and_quantised_weights_are_refused_with_a_way_out_that_works(tmp_path: Path) -> None:
    dense = {"conv1.weight": torch.eye(4)}
    others = [
        ({"conv1.weight": torch.eye(4).to_sparse()}, "_rebuild_sparse_tensor", torch.Tensor.to_dense),
        ({"conv1.weight": torch.quantize_per_tensor(torch.eye(4), 1.0, 0, torch.qint8)}, "_rebuild_qtensor", torch.dequantize),
    ]  # fmt: skip
    for state, name, plain in others:
        torch.save(state, tmp_path / "c3d.pth")
        with pytest.raises(
            CheckpointError, match=rf"conv1.weight is made by calling torch._utils.{name}.*to_dense\(\)"
        ):
            read_file(tmp_path / "c3d.pth")
        torch.save({key: plain(value) for key, value in state.items()}, tmp_path / "plain.pth")
        assert torch.equal(load_tensors(tmp_path / "plain.pth")["conv1.weight"], dense["conv1.weight"])


def test_a_big_endian_archive(tmp_path: Path) -> None:
    """As torch writes it on such a machine: the storages swapped, and a member that says so."""
    import zipfile

    torch.save({"w": torch.arange(6.0)}, tmp_path / "little.pth")
    with zipfile.ZipFile(tmp_path / "little.pth") as little, zipfile.ZipFile(tmp_path / "big.pth", "w") as big:
        for name in little.namelist():
            content = little.read(name)
            if name.endswith("data/0"):
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            big.writestr(name, b"big" if name.endswith("byteorder") else content)
    assert load_tensors(tmp_path / "big.pth")["w"].tolist() == [0, 1, 2, 3, 4, 5]


def test_tensors_of_a_zip_archive_are_views_of_the_file(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(100_000.0)}, tmp_path / "c3d.pth")
    raw = read_file(tmp_path / "c3d.pth")
    address = load_tensors(raw)["w"].data_ptr()
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no /proc")
    lines = [line.split() for line in maps.read_text().splitlines() if line.endswith("c3d.pth")]
    assert any(int(start, 16) <= address < int(end, 16) for start, end in (line[0].split("-") for line in lines))
