"""Where the weights lie in torch's archives, read without torch, against the tensors that torch wrote there."""

import io
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from exporter.errors import ArtifactError
from exporter.foreign_logging import suppress_foreign_logging
from exporter.formats.torch_stored import read_stored_archive
from exporter.stored_tensors import hash_tensors, tensor_sha256


class Small(nn.Module):
    """Weights in C order and channels last, of several types."""

    last: Tensor
    low: Tensor
    turned: Tensor
    index: Tensor

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("last", torch.randn(2, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last))
        self.register_buffer("low", torch.randn(3, 4, generator=generator).bfloat16())
        self.register_buffer("turned", torch.randn(6, 4, generator=generator).T)
        self.register_buffer("index", torch.tensor([2, 0, 1]))

    def forward(self, x: Tensor) -> Tensor:
        rows = x @ self.turned[:, self.index]
        return rows + self.last.sum() + self.low.float().sum()


def expected() -> set[str]:
    return {
        tensor_sha256(
            str(value.dtype).removeprefix("torch."), value.shape, bytes(value.contiguous().view(torch.uint8).numpy())
        )
        for value in Small().state_dict().values()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    with suppress_foreign_logging():
        torch.jit.save(torch.jit.script(Small().eval()), folder / "m.pt")
        torch.export.save(torch.export.export(Small().eval(), (torch.zeros(2, 4),)), folder / "m.pt2")
    return folder


def test_the_tensors_of_a_torchscript_archive(folder: Path) -> None:
    found = read_stored_archive(folder / "m.pt", "archive", "script")
    assert {*hash_tensors(found.tensors or ()).values()} == expected()
    assert [tensor.name for tensor in found.tensors or ()] == [f"data.{number}" for number in range(4)]


def test_the_weights_of_an_exported_program(folder: Path) -> None:
    found = read_stored_archive(folder / "m.pt2", "program", "program")
    hashes = hash_tensors(found.tensors or ())
    assert ({*hashes}, {*hashes.values()}) == ({*Small().state_dict()}, expected())


def change(folder: Path, member: str, content: bytes, target: Path) -> Path:
    with zipfile.ZipFile(folder) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, content if info.filename.endswith(member) else old.read(info))
    return target


@pytest.mark.parametrize(
    ("member", "content"),
    [("/data.pkl", b"\x80\x02(."), ("/data.pkl", b"\x80\x02q\x00."), ("/data.pkl", b"\x80"), ("/data/0", b"")],
)
def test_an_archive_that_torch_does_not_write(member: str, content: bytes, folder: Path, tmp_path: Path) -> None:
    changed = change(folder / "m.pt", member, content, tmp_path / "m.pt")
    with pytest.raises(ArtifactError, match=r"not a whole archive|does not hold the values of data.0"):
        read_stored_archive(changed, "archive", "script")


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(io.BytesIO(b"PK\x03\x04 and no more").getvalue())
    with pytest.raises(ArtifactError, match="not a whole archive"):
        read_stored_archive(tmp_path / "m.pt", "archive", "script")
