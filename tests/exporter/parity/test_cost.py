"""The cost of a comparison with a model file is known before it starts."""

from pathlib import Path

import onnx
import pytest
from helpers import graphs
from helpers.run import call

from exporter.errors import LimitError
from exporter.parity.cost import VerificationCost, require_memory


@pytest.fixture
def model(tmp_path: Path) -> Path:
    nodes = [graphs.node("Relu", "x", "a"), graphs.node("Neg", "a", "y")]
    onnx.save(graphs.graph(nodes, {"x": [1, 4]}, {"y": [1, 4]}, {}), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_a_comparison_beyond_the_limit_is_refused_before_it_starts(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["parity", "m.onnx", "--against", "m.onnx", "--inputs", "quick"]
    done = call("verify", *arguments, "--max-memory", "100MB", cwd=tmp_path, capture=capfd)
    assert done.returncode == 5
    assert "more than --max-memory (100 MB)" in done.stderr
    assert call("verify", *arguments, "--max-memory", "100GiB", cwd=tmp_path, capture=capfd).returncode == 0


def test_a_size_that_is_none_is_wrong_usage(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = call("verify", "parity", model, "--against", model, "--max-memory", "much", cwd=tmp_path, capture=capfd)
    assert done.returncode == 2


def test_the_limit_is_in_bytes() -> None:
    cost = VerificationCost(2 * 10**9, 12.4, complete=True)
    require_memory(cost, 2 * 10**9)
    require_memory(cost, None)
    with pytest.raises(LimitError, match=r"about 12 s and 2.0 GB of memory, more than --max-memory \(1.5 GB\)"):
        require_memory(cost, 1_500_000_000)


def test_memory_that_the_process_holds_already_is_stated_apart() -> None:
    cost = VerificationCost(3_200_000_000, 0.1, True, 3_100_000_000)
    assert str(cost) == "about 0 s and 3.2 GB of memory (3.1 GB of it held already)"
    assert not cost.is_large
