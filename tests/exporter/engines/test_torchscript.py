"""TorchScript archives as an engine: signature, precision, every value of the graph."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.code_files import own

from exporter.engines.base import RuntimeOptions
from exporter.engines.torchscript import FloatScript, TorchScriptRuntime
from exporter.errors import ArtifactError, CheckFailedError, UnavailableError
from exporter.types import UNKNOWN_RANK
from models.specs import Signature, TensorSpec

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit")
X = {"x": np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)}


class Two(torch.nn.Module):
    """Two inputs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 4), (N, 3) -> (N, 3), (N, 3)."""
        y = torch.relu(self.linear(x))
        return y, y + shift


class One(Two):
    """One of each."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # pyright: ignore
        """(N, 4) -> (N, 3)."""
        return torch.relu(self.linear(x))


def save(path: Path, module: torch.nn.Module) -> Path:
    torch.manual_seed(0)
    torch.jit.save(torch.jit.script(module.eval()), str(path))  # pyright: ignore
    return own(path)


def test_a_signature_from_the_archive_where_none_is_stated(tmp_path: Path) -> None:
    with TorchScriptRuntime(save(tmp_path / "m.pt", Two()), RuntimeOptions()) as runtime:
        assert runtime.signature == Signature(
            (
                TensorSpec("x", "float32", ("batch", UNKNOWN_RANK)),
                TensorSpec("shift", "float32", ("batch", UNKNOWN_RANK)),
            ),
            (
                TensorSpec("output0", "float32", ("batch", UNKNOWN_RANK)),
                TensorSpec("output1", "float32", ("batch", UNKNOWN_RANK)),
            ),
        )
        outputs = runtime.run({**X, "shift": np.ones((2, 3), np.float32)})
        assert np.array_equal(outputs["output1"], outputs["output0"] + 1)
        assert runtime.placement.nodes == 3
    stated = Signature((TensorSpec("x", "float32", ("n", 4)),), (TensorSpec("scores", "float32", ("n", 3)),))
    with TorchScriptRuntime(save(tmp_path / "o.pt", One()), RuntimeOptions(signature=stated)) as runtime:
        assert runtime.signature is stated
        assert [*runtime.run(X)] == ["scores"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_same_archive_in_float64_and_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    module = One().to(dtype)
    path = save(tmp_path / "m.pt", module)
    weight, bias = (value.detach().double().numpy() for value in (module.linear.weight, module.linear.bias))
    wanted = np.maximum(X["x"].astype(np.float64) @ weight.T + bias, 0)
    with (
        TorchScriptRuntime(path, RuntimeOptions()) as own,
        FloatScript(path, RuntimeOptions(), "float32") as single,
        FloatScript(path, RuntimeOptions()) as exact,
    ):
        assert (own.precision, single.precision, exact.precision) == (str(dtype)[6:], "float32", "float64")
        outputs = [opened.run(X)["output0"] for opened in (own, single, exact)]
    assert np.abs(outputs[2] - wanted).max() < 1e-14
    assert 0 < np.abs(outputs[1] - wanted).max() < 1e-6
    assert np.abs(outputs[0] - wanted).max() < (1e-6 if dtype == torch.float32 else 3e-2)
    assert bool(np.abs(outputs[0] - wanted).max() > 1e-5) is (dtype != torch.float32)


@pytest.mark.parametrize("runtime", [TorchScriptRuntime, FloatScript])
def test_every_value_of_the_graph(runtime: type[TorchScriptRuntime], tmp_path: Path) -> None:
    with runtime(save(tmp_path / "m.pt", One()), RuntimeOptions(all_outputs=True)) as opened:
        values = [*opened.run(X).values()]
    assert [value.shape for value in values] == [(2, 3), (2, 3)]
    assert np.array_equal(values[1], np.maximum(values[0], 0))


def test_what_it_refuses_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"no archive")
    with (
        pytest.raises(ArtifactError, match="torch rejects it: ") as caught,
        TorchScriptRuntime(own(tmp_path / "m.pt"), RuntimeOptions()),
    ):
        pass
    assert "\n" not in str(caught.value)
    with TorchScriptRuntime(save(tmp_path / "o.pt", One()), RuntimeOptions()) as runtime:
        with pytest.raises(CheckFailedError, match=r"o.pt: fails on x \(2, 3\): ") as failed:
            runtime.run({"x": X["x"][:, :3]})
        assert "\n" not in str(failed.value)
    stated = Signature(
        (TensorSpec("x", "float32", ("n", 4)),),
        (TensorSpec("a", "float32", ("n",)), TensorSpec("b", "float32", ("n",))),
    )
    with (
        TorchScriptRuntime(tmp_path / "o.pt", RuntimeOptions(signature=stated)) as runtime,
        pytest.raises(CheckFailedError, match="returns torch.float32; its signature is"),
    ):
        runtime.run(X)


def test_devices_that_are_not_there(tmp_path: Path) -> None:
    for device, reported in (("tensorrt", "torch has no such device"), ("cuda", "cannot use CUDA here")):
        with (
            pytest.raises(UnavailableError, match=reported),
            TorchScriptRuntime(tmp_path / "m.pt", RuntimeOptions(device)),  # pyright: ignore
        ):  # pyright: ignore
            pass


class Dropping(torch.nn.Module):
    """Functional dropout, which `eval()` does not switch off."""

    def __init__(self, training: bool) -> None:
        super().__init__()
        self.always = training

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 4) -> (N, 4)."""
        return torch.nn.functional.dropout(x, 0.5, self.always)


@pytest.mark.parametrize("training", [True, False])
def test_an_archive_that_drops_at_random_is_recognised(training: bool, tmp_path: Path) -> None:
    path = tmp_path / "traced.pt"
    torch.jit.save(torch.jit.trace(Dropping(training), torch.ones(1, 4), check_trace=False), str(path))
    with TorchScriptRuntime(own(path), RuntimeOptions()) as runtime:
        assert ("aten::dropout in training mode" in (runtime.random_node or "")) == training


class Named(Two):
    """A dictionary of two outputs."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:  # pyright: ignore
        """(N, 4) -> (N, 3), (N, 3)."""
        y = self.linear(x)
        return {"scores": y, "positive": torch.relu(y)}


class Listed(Two):
    """A list of two outputs."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:  # pyright: ignore
        """(N, 4) -> (N, 3), (N, 3)."""
        y = self.linear(x)
        return [y, torch.relu(y)]


class Growing(Two):
    """A list whose length depends on the input."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:  # pyright: ignore
        """(N, 4) -> N of (3)."""
        return [self.linear(row) for row in x]


@pytest.mark.parametrize("runtime", [TorchScriptRuntime, FloatScript])
@pytest.mark.parametrize(("module", "names"), [(Named, ["scores", "positive"]), (Listed, ["output0", "output1"])])
def test_dictionaries_and_lists_are_flattened(
    module: type[Two], names: list[str], runtime: type[TorchScriptRuntime], tmp_path: Path
) -> None:
    with runtime(save(tmp_path / "m.pt", module()), RuntimeOptions()) as opened:
        assert [output.name for output in opened.signature.outputs] == names
        returned = opened.run(X)
    assert [*returned] == names
    assert np.array_equal(np.maximum(returned[names[0]], 0), returned[names[1]])


def test_a_list_of_unknown_length_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ArtifactError, match="cannot be named before it runs; return a tuple"),
        TorchScriptRuntime(save(tmp_path / "m.pt", Growing()), RuntimeOptions()),
    ):
        pass
