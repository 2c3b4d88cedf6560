"""Files of which one states what the other leaves open."""

from pathlib import Path

import pytest
import torch
from helpers import small_models
from helpers.code_files import own
from helpers.parity import FEW, verify

from exporter.errors import UsageError


def test_free_sizes_are_the_users_or_the_first_default_that_the_model_accepts(theirs: Path, tmp_path: Path) -> None:
    dynamic = small_models.network(tmp_path / "dynamic.onnx", sizes=("h", "w"))
    report = verify(dynamic, dynamic, input_types=FEW)  # its linear layer accepts 8x8 only
    assert report.passed
    assert "x float32 (n, 3, h, w): shape 1x3x8x8 (--shape changes it)" in report.notes[1]
    assert verify(theirs, dynamic, {"x": (1, 3, 8, 8)}, input_types=FEW).passed
    assert verify(dynamic, theirs, input_types=FEW).passed
    with pytest.raises(UsageError, match="--shape y: no such input; there are x"):
        verify(dynamic, theirs, {"y": (1, 3, 8, 8)})
    with pytest.raises(UsageError, match=r"--shape x=1x3x9x9 does not fit x float32 \(n, 3, 8, 8\)"):
        verify(dynamic, theirs, {"x": (1, 3, 9, 9)})


class Small(torch.nn.Module):
    """The same network as `small_models.network`, in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Conv2d(6, 8, 3, padding=1)
        self.linear = torch.nn.Linear(128, 7)
        for module, number in ((self.conv1, 1), (self.conv2, 2), (self.linear, 3)):
            weights = small_models.weights()
            module.weight.data = torch.from_numpy(weights[f"w{number}"])
            module.get_parameter("bias").data = torch.from_numpy(weights[f"b{number}"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 8, 8) -> (N, 7)."""
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        return self.linear(torch.flatten(torch.relu(self.conv2(x)), 1))


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_torchscript_is_compared_with_onnx_and_onnx_with_torchscript(theirs: Path, tmp_path: Path) -> None:
    archive, fault = (
        tmp_path / "mine.pt",
        small_models.network(tmp_path / "f.onnx", change=small_models.scaled("w2", 1.001)),
    )
    torch.jit.save(torch.jit.script(Small().eval()), str(archive))  # pyright: ignore
    own(archive)
    assert verify(archive, theirs, input_types=FEW).passed
    assert verify(theirs, archive, {"x": (1, 3, 8, 8)}, input_types=FEW, localize=True).passed
    assert verify(theirs, archive, input_types=FEW).passed  # with the shapes that theirs.onnx states
    with pytest.raises(UsageError, match="x float32 .*its rank is not stated; give its shape as --shape x="):
        verify(archive, archive)
    report = verify(archive, fault, input_types=FEW, localize=True)
    assert not report.passed
    assert report.localization is not None
    assert report.localization.first == "conv2"
    backwards = verify(fault, archive, {"x": (1, 3, 8, 8)}, input_types=FEW, localize=True)
    assert backwards.localization is not None
    assert "agrees up to" in backwards.localization.summary
    half = tmp_path / "half.pt"
    torch.jit.save(torch.jit.script(Small().eval().bfloat16()), str(half))  # pyright: ignore
    assert verify(own(half), theirs, input_types=FEW, localize=True).tolerance.startswith(
        "bfloat16: signal to noise at least 28 dB"
    )
