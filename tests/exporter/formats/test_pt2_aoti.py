"""AOTInductor packages: what is compiled, which is kept, and what the file says of it."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from helpers.extras import needs_cxx_compiler
from helpers.residual import residual_network

from exporter.engines.aoti import AotiRuntime
from exporter.engines.aoti_metadata import CPU_FEATURES
from exporter.engines.base import RuntimeOptions
from exporter.errors import CheckFailedError, OutputError, UnavailableError, UsageError
from exporter.formats import FORMATS, find_format, load_artifact, pt2_aoti, runtime_options
from exporter.requests import ExportRequest
from exporter.system import cpu_features
from exporter.types import ParityOptions, PrecisionOptions
from exporter.workflows.export import export
from exporter.workflows.inspect import inspect
from models.built_model import BuiltModel
from models.temporary import remove_own_parts


@pytest.fixture(scope="module")
def residual() -> BuiltModel:
    return residual_network()


def test_without_a_compiler_nothing_is_built(
    residual: BuiltModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        UnavailableError, match="--format pt2-aoti .* no no-such-compiler; apt-get install g\\+\\+"
    ) as caught:
        export(ExportRequest(("pt2-aoti",), residual, output_dir=tmp_path / "out"))
    assert caught.value.exit_code == 4
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("raised", "wanted", "message"),
    [
        (OSError(28, "No space left on device"), OutputError, "cannot write .*: No space left on device"),
        (AssertionError("first line\nsecond"), UsageError, "AOTInductor cannot compile the network: first line$"),
    ],
)
def test_what_the_compiler_raises_is_one_line(
    raised: Exception, wanted: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("torch._inductor.aoti_compile_and_package", fail)
    with pytest.raises(wanted, match=message):
        pt2_aoti.compile_program(MagicMock(), tmp_path, "plain")


def test_a_network_that_torch_refuses_to_compile_for_any_batch_is_compiled_without_asking_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.fx.experimental import _config as tracing

    asked: list[bool] = []

    def compile_package(*_: object, **__: object) -> None:
        asked.append(tracing.backed_size_oblivious)
        if tracing.backed_size_oblivious:
            raise ValueError("Cannot view a tensor")

    monkeypatch.setattr("torch._inductor.aoti_compile_and_package", compile_package)
    assert pt2_aoti.compile_program(MagicMock(), tmp_path, "plain") == tmp_path / "plain.pt2"
    assert asked == [True, False]


@pytest.mark.parametrize(("winograd", "taken"), [(50.0, "winograd"), (99.0, "plain")])
def test_the_faster_one_is_kept_without_its_sources(
    winograd: float, taken: str, residual: BuiltModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_program(program: object, folder: Path, name: str) -> Path:
        with zipfile.ZipFile(folder / f"{name}.pt2", "w") as archive:
            for member in ("c.wrapper.cpp", "c.wrapper.so", "c.wrapper_metadata.json"):
                archive.writestr(f"{name}/data/aotinductor/model/{member}", f'{{"{CPU_FEATURES}": "avx2 {name}"}}')
        return folder / f"{name}.pt2"

    def measure(packages: Mapping[str, Path], model: BuiltModel, items: int) -> dict[str, float]:
        assert items == 1
        return {"plain": 100.0, "winograd": winograd}

    monkeypatch.setattr(pt2_aoti, "compile_program", compile_program)
    monkeypatch.setattr(pt2_aoti, "measure_packages", measure)
    monkeypatch.setattr("exporter.engines.torch_settings.require_compiler", lambda what: None)
    (artifact,) = export(ExportRequest(("pt2-aoti",), residual, output_dir=tmp_path, verify=False)).artifacts
    assert artifact.path.name == "preactivation.aoti.pt2"
    assert artifact.manifest.options["variant"] == taken
    assert artifact.manifest.options["target"] == "cpu"
    with zipfile.ZipFile(artifact.path) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".cpp")]
    assert load_artifact(artifact.path).format == "pt2-aoti"
    found = inspect(artifact.path)
    assert (found.kind, found.facts["needs"]) == ("AOTInductor package", f"avx2 {taken}")
    assert FORMATS["pt2-aoti"].read_embedded(artifact.path) == artifact.manifest.embedded()


def test_a_signal_while_it_compiles_leaves_nothing(
    residual: BuiltModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def compile_program(program: object, folder: Path, name: str) -> Path:
        (folder / name).write_text("half a package")
        remove_own_parts()  # what a signal's handler calls
        folders.append(folder)
        raise UsageError(f"there is {'still' if folder.exists() else 'no'} {name}")

    monkeypatch.setattr(pt2_aoti, "compile_program", compile_program)
    monkeypatch.setattr("exporter.engines.torch_settings.require_compiler", lambda what: None)
    with pytest.raises(UsageError, match="there is no plain"):
        export(ExportRequest(("pt2-aoti",), residual, output_dir=tmp_path, verify=False))
    assert folders


@pytest.mark.heavy
@needs_cxx_compiler
def test_a_compiled_network_in_bfloat16(residual: BuiltModel, tmp_path: Path) -> None:
    request = ExportRequest(
        ("pt2-aoti",), residual, precision=PrecisionOptions("bf16"), output_dir=tmp_path, verify=False
    )
    (artifact,) = export(request).artifacts
    volume = np.random.default_rng(0).standard_normal((2, 3, 4, 8, 8)).astype(np.float32)
    with AotiRuntime(artifact.path, runtime_options(load_artifact(artifact.path))) as runtime:
        output = runtime.run({"volume": volume})["features"]
        assert runtime.precision == "bfloat16"
    exact = residual_network().network.double()(torch.from_numpy(volume).double()).numpy()
    noise = np.linalg.norm(output - exact) / np.linalg.norm(exact)
    assert 1e-4 < noise < 1e-2


def test_the_longest_suffix_decides() -> None:
    found = [find_format(Path(name)) for name in ("c3d.pt2", "c3d.aoti.pt2", "c3d.onnx.aoti.pt2", "c3d.pt2.txt")]
    assert [None if one is None else one.name for one in found] == ["pt2", "pt2-aoti", "pt2-aoti", None]


@pytest.mark.heavy
@needs_cxx_compiler
def test_a_compiled_network_takes_any_batch_and_refuses_other_shapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pt2_aoti, "VARIANTS", ("winograd", "plain"))
    model = residual_network()
    request = ExportRequest(("pt2-aoti",), model, output_dir=tmp_path, parity=ParityOptions(input_types=("random",)))
    result = export(request)
    (artifact,), (report,) = result.artifacts, result.reports
    assert report.passed
    volume = np.random.default_rng(0).standard_normal((33, 3, 4, 8, 8)).astype(np.float32)
    needed = inspect(artifact.path).facts["needs"].split()
    assert set(needed) <= cpu_features()
    options = RuntimeOptions(signature=artifact.manifest.signature, threads=1)
    with AotiRuntime(artifact.path, options) as runtime:
        together = runtime.run({"volume": volume})["features"]
        for items in (1, 3, 16):
            fewer = runtime.run({"volume": volume[:items]})["features"]
            assert np.allclose(fewer, together[:items], rtol=0, atol=1e-5)
        with_an_added_axis = runtime.run({"volume": volume[0][np.newaxis]})["features"]  # its stride is 0
        assert np.allclose(with_an_added_axis, together[:1], rtol=0, atol=1e-5)
        with pytest.raises(CheckFailedError, match=r"fails on volume \(1, 3, 4, 8, 9\): "):
            runtime.run({"volume": np.zeros((1, 3, 4, 8, 9), np.float32)})
    with AotiRuntime(artifact.path, RuntimeOptions()) as unnamed:
        assert [*unnamed.run({"input0": volume})] == ["output0"]
    expected = residual_network().network.double()(torch.from_numpy(volume).double()).numpy()
    assert np.allclose(together, expected, rtol=0, atol=1e-5 * abs(expected).max())
