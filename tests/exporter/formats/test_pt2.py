"""`torch.export` files: they run without this project, carry their manifest, and hold nothing of this machine."""

import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from helpers.residual import residual_network
from helpers.run import HIDE_PROJECT, python

from exporter.artifacts.files import read_manifest, sha256_file
from exporter.engines.base import RuntimeOptions
from exporter.engines.pt2 import FloatProgram
from exporter.errors import ArtifactError, UsageError
from exporter.formats import FORMATS, load_artifact, pt2
from exporter.formats.exported_program import export_program
from exporter.passes.winograd import torch_module
from exporter.requests import ExportRequest
from exporter.types import OptimizeOptions, ParityOptions
from exporter.workflows.export import ExportResult, export
from exporter.workflows.inspect import inspect
from models.built_model import BuiltModel
from models.specs import OutputSpec, TensorSpec

ALONE = f"""{HIDE_PROJECT}
import torch

extra = {{"c3d_export.manifest": ""}}
module = torch.export.load(sys.argv[1], extra_files=extra).module()
torch.manual_seed(7)
torch.save(module(torch.rand(3, 3, 4, 8, 8)), sys.argv[2])
print(extra["c3d_export.manifest"])
"""


@pytest.fixture(scope="module")
def residual() -> BuiltModel:
    return residual_network()


@pytest.fixture(scope="module")
def written(residual: BuiltModel, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    folder = tmp_path_factory.mktemp("pt2")
    return export(ExportRequest(("pt2",), residual, output_dir=folder, parity=ParityOptions(input_types=("random",))))


def test_a_file_runs_without_this_project_on_any_batch(
    written: ExportResult, residual: BuiltModel, tmp_path: Path
) -> None:
    (artifact,) = written.artifacts
    assert artifact.path.name == "preactivation.pt2"
    done = python(ALONE, artifact.path, tmp_path / "output.pt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    torch.manual_seed(7)
    expected = residual.network(torch.rand(3, 3, 4, 8, 8))
    output = torch.load(tmp_path / "output.pt", weights_only=True)
    assert torch.allclose(output, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    assert '"state_sha256"' in done.stdout


def test_the_manifest_inside_is_the_one_beside_it(written: ExportResult) -> None:
    path = written.artifacts[0].path
    beside = read_manifest(path.with_name(f"{path.name}.json"))
    assert FORMATS["pt2"].read_embedded(path) == beside.embedded()
    assert beside.parity is not None
    assert beside.parity.passed


def test_the_same_network_gives_the_same_bytes_and_nothing_of_this_machine(
    written: ExportResult, residual: BuiltModel, tmp_path: Path
) -> None:
    (again,) = export(ExportRequest(("pt2",), residual, output_dir=tmp_path, verify=False)).artifacts
    assert sha256_file(again.path) == sha256_file(written.artifacts[0].path)
    with zipfile.ZipFile(again.path) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
        assert archive.testzip() is None
    assert str(Path(torch.__file__).parent).encode() not in content
    assert str(Path(__file__).parents[3]).encode() not in content


def test_inspect_reads_it_as_data(written: ExportResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.export, "load", None)
    found = inspect(written.artifacts[0].path)
    assert (found.kind, found.integrity) == ("torch.export program", "ok")
    assert found.facts["producer"].startswith("c3d-export ")
    assert found.facts["written by"] == f"torch {torch.__version__}"
    assert found.facts["operators"] == "1 aten.add.Tensor, 2 aten.conv3d.default, 1 aten.relu.default"


@pytest.mark.parametrize(("batch", "min_together"), [(None, 1), (None, 1 << 30), (2, 1)])
def test_for_cpus_the_fastest_variant_that_passes(
    batch: int | None, min_together: int, residual: BuiltModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_module, "MIN_TOGETHER", min_together)  # 1 << 30: every layer loops over the clips

    def measure(programs: Mapping[str, object], x: torch.Tensor) -> dict[str, float]:
        assert x.shape == (batch or 1, 3, 4, 8, 8)
        return dict(zip(programs, (100.0, 80.0, 50.0), strict=True))

    request = ExportRequest(
        ("pt2",),
        residual,
        batch=batch,
        optimize=OptimizeOptions("cpu"),
        output_dir=tmp_path,
        parity=ParityOptions(input_types=("random",)),
    )
    with patch.object(pt2, "measure", measure):
        result = export(request)
    (artifact,) = result.artifacts
    assert artifact.manifest.options["variant"] == "winograd"
    assert artifact.manifest.options["measured"] == (
        f"plain 100 ms, channels_last 80 ms, winograd 50 ms for a batch of {batch or 1}"
    )
    assert any("the file holds winograd" in note for note in result.notes)
    volume = torch.rand(batch or 3, 3, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.5
    with FloatProgram(artifact.path, RuntimeOptions(signature=artifact.manifest.signature)) as runtime:
        assert runtime.placement.nodes > 20, "a rewritten convolution has many operators"
        output = runtime.run({"volume": volume.numpy()})["features"]
    expected = residual_network().network.double()(volume).numpy()
    assert abs(output - expected).max() < 1e-6 * abs(expected).max(), "float32 transforms of the weights remain"
    assert "aten.bmm.default" in inspect(artifact.path).facts["operators"], "a loop's operators are listed too"


class Loop(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu() if x.sum() > 0 else x


def test_a_network_that_cannot_be_traced_is_refused_in_one_line() -> None:
    model = BuiltModel(Loop().eval(), TensorSpec("x", "float32", ("batch", 2)), (OutputSpec("y", (2,)),))
    with pytest.raises(UsageError, match="torch.export cannot trace Loop: ") as caught:
        export_program(model.network, model, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"text"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.pt2").write_bytes(content)
    with pytest.raises(ArtifactError, match="not a whole torch.export program"):
        load_artifact(tmp_path / "x.pt2")


def test_a_program_that_torch_did_not_write_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt2", "w") as archive:
        archive.writestr("archive/models/model.json", "[1, 2]")
    with pytest.raises(ArtifactError, match="its program is not what torch.export writes: Expected `object`"):
        inspect(tmp_path / "x.pt2")


def test_what_a_program_states_beside_its_operators_takes_no_memory(tmp_path: Path) -> None:
    """A file of 40 kB, unpacked and decoded, would take 1.5 GB."""
    lists = ",".join(["[]"] * 300_000)
    with zipfile.ZipFile(tmp_path / "x.pt2", "w") as archive:
        archive.writestr(
            "a/models/model.json",
            f'{{"torch_version": "3", "graph_module": {{"graph": {{"nodes": []}}, "x": [{lists}]}}}}',
        )
    tracemalloc.start()
    try:
        assert pt2.program_facts(tmp_path / "x.pt2")["written by"] == "torch 3"
        assert tracemalloc.get_traced_memory()[1] < 8 * len(lists)
    finally:
        tracemalloc.stop()
