"""`torch.export` programs as an engine: signature, precision, every value of the program, errors in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.code_files import own

from exporter.engines.base import RuntimeOptions
from exporter.engines.pt2 import ExportedProgramRuntime, FloatProgram
from exporter.errors import ArtifactError, CheckFailedError, UnavailableError
from models.specs import Signature, TensorSpec

X = {"x": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}


class Linear(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 4) -> (N, 3), (N, 3)."""
        dtype = self.linear.weight.dtype
        y = torch.relu(self.linear(x.to(dtype)))
        return y.to(torch.float32), torch.zeros(y.shape, dtype=dtype).add_(y).to(torch.float32)


class Named(Linear):
    def forward(self, x: torch.Tensor) -> dict[str, object]:  # pyright: ignore
        """(N, 4) -> (N, 3), (N, 3)."""
        y = self.linear(x)
        return {"scores": y, "others": [torch.relu(y)]}


class Dropout(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(x, training=self.training)


def save(path: Path, module: torch.nn.Module) -> Path:
    program = torch.export.export(module, (torch.rand(2, 4),), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(program, path)
    return own(path)


def linear(dtype: torch.dtype = torch.float32) -> Linear:
    torch.manual_seed(0)
    return Linear().eval().to(dtype)


def test_a_signature_from_the_program_where_none_is_stated(tmp_path: Path) -> None:
    with ExportedProgramRuntime(save(tmp_path / "m.pt2", linear()), RuntimeOptions()) as runtime:
        assert runtime.signature.inputs == (TensorSpec("x", "float32", ("batch", 4)),)
        assert [(output.dtype, output.shape) for output in runtime.signature.outputs] == [("float32", ("batch", 3))] * 2
        assert len({*runtime.run(X)}) == 2
    stated = Signature(
        (TensorSpec("x", "float32", ("n", 4)),),
        (TensorSpec("scores", "float32", ("n", 3)), TensorSpec("again", "float32", ("n", 3))),
    )
    with ExportedProgramRuntime(tmp_path / "m.pt2", RuntimeOptions(signature=stated)) as runtime:
        assert runtime.signature is stated
        assert [*runtime.run(X)] == ["scores", "again"]


def test_dictionaries_and_lists_are_flattened(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with ExportedProgramRuntime(save(tmp_path / "m.pt2", Named().eval()), RuntimeOptions()) as runtime:
        first, second = (output.name for output in runtime.signature.outputs)
        returned = runtime.run(X)
    assert [*returned] == [first, second]
    assert np.array_equal(np.maximum(returned[first], 0), returned[second])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_program_in_float64_and_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    module = linear(dtype)
    path = save(tmp_path / "m.pt2", module)
    weight, bias = (value.detach().double().numpy() for value in (module.linear.weight, module.linear.bias))
    wanted = np.maximum(X["x"].astype(np.float64) @ weight.T + bias, 0)
    with (
        ExportedProgramRuntime(path, RuntimeOptions()) as own,
        FloatProgram(path, RuntimeOptions(), "float32") as single,
        FloatProgram(path, RuntimeOptions()) as exact,
    ):
        assert own.precision == str(dtype).removeprefix("torch.")
        outputs = [[*opened.run(X).values()] for opened in (own, single, exact)]
    for index in range(2):
        errors = [np.abs(values[index] - wanted).max() for values in outputs]
        assert errors[2] < 1e-14
        assert 0 < errors[1] < 1e-6
        assert bool(errors[0] > 1e-5) is (dtype == torch.bfloat16)
        assert errors[0] < 3e-2


def test_every_value_of_the_program(tmp_path: Path) -> None:
    with FloatProgram(save(tmp_path / "m.pt2", linear()), RuntimeOptions(all_outputs=True)) as runtime:
        values = runtime.run(X)
    assert [name for name in values if name in ("linear", "relu")] == ["linear", "relu"]
    assert np.array_equal(np.maximum(values["linear"], 0), values["relu"])


def test_a_wrong_shape_fails_in_one_line(tmp_path: Path) -> None:
    with (
        ExportedProgramRuntime(save(tmp_path / "m.pt2", linear()), RuntimeOptions()) as runtime,
        pytest.raises(CheckFailedError, match=r"m.pt2: fails on x \(2, 5\): ") as caught,
    ):
        runtime.run({"x": np.zeros((2, 5), np.float32)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("training", [False, True])
def test_an_operator_that_draws_random_numbers_is_named(training: bool, tmp_path: Path) -> None:
    with ExportedProgramRuntime(save(tmp_path / "m.pt2", Dropout().train(training)), RuntimeOptions()) as runtime:
        assert runtime.random_node == ("dropout (aten::dropout in training mode)" if training else None)


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_bytes(b"text")
    with pytest.raises(ArtifactError, match="m.pt2: torch rejects it: "):
        ExportedProgramRuntime(own(tmp_path / "m.pt2"), RuntimeOptions()).load()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_no_gpu(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="--device cuda"):
        ExportedProgramRuntime(tmp_path / "m.pt2", RuntimeOptions("cuda")).load()
