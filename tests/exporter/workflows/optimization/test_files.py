"""The files of optimize: what it reads, where it writes, and what stays as it was."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from helpers.exported import ExportedByCommand
from helpers.graphs import graph, node, normal
from helpers.manifests import MANIFEST
from helpers.optimizing import contents, request, saved, unet

from exporter.errors import ArtifactError, IntegrityError, UsageError
from exporter.workflows.optimize import optimize
from models.config import MANIFEST_KEY


def ineligible() -> onnx.ModelProto:
    return graph([node("Relu", "x", "y")], {"x": ("n", 6)}, {"y": ("n", 6)}, {})


def test_an_artifact_below_float32_is_refused(tmp_path: Path) -> None:
    model = ineligible()
    entry = model.metadata_props.add()
    entry.key, entry.value = MANIFEST_KEY, replace(MANIFEST, options={"precision": "fp16"}).embedded().to_json()
    path = saved(model, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="computes in fp16"):
        optimize(request(path))


def test_a_model_that_no_pass_changes_is_not_written(tmp_path: Path) -> None:
    path = saved(ineligible(), tmp_path / "m.onnx")
    before, when = contents(tmp_path), path.stat().st_mtime_ns
    done = optimize(request(path))
    assert (done.modified, done.path, done.files) == (False, path, ())
    assert (contents(tmp_path), path.stat().st_mtime_ns) == (before, when)


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
def test_an_ineligible_model_is_copied_where_asked(external: bool, tmp_path: Path) -> None:
    model = graph([node("Gemm", "x w", "y")], {"x": ("n", 64)}, {"y": ("n", 8)}, {"w": normal(64, 8)})
    path = saved(model, tmp_path / "m.onnx", external=external)
    done = optimize(request(path, tmp_path / "copy" / "c.onnx"))
    copied = contents(tmp_path / "copy")
    assert copied.pop("c.onnx") == path.read_bytes()
    assert copied == ({"m.onnx.bin": (tmp_path / "m.onnx.bin").read_bytes()} if external else {})
    assert done.files[0] == done.path == tmp_path / "copy" / "c.onnx"


def test_a_copy_does_not_overwrite_another_models_data_file(tmp_path: Path) -> None:
    model = graph([node("Gemm", "x w", "y")], {"x": ("n", 64)}, {"y": ("n", 8)}, {"w": normal(64, 8)})
    path = saved(model, tmp_path / "m.onnx", external=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "m.onnx.bin").write_bytes(b"theirs")
    with pytest.raises(UsageError, match="is another file"):
        optimize(request(path, tmp_path / "other" / "c.onnx"))
    assert contents(tmp_path / "other") == {"m.onnx.bin": b"theirs"}


def test_the_same_path_is_replaced(tmp_path: Path) -> None:
    path = saved(unet(), tmp_path / "unet.onnx")
    old = path.read_bytes()
    done = optimize(request(path, path))
    assert done.path == path
    assert path.read_bytes() != old
    assert list(contents(tmp_path)) == ["unet.onnx"]
    assert not optimize(request(path)).modified


def test_data_of_an_earlier_result_are_removed_and_never_those_of_the_input(tmp_path: Path) -> None:
    path = saved(unet(), tmp_path / "unet.onnx", external=True)
    stale = tmp_path / f"out.onnx.{'0' * 16}.data"
    stale.write_bytes(b"of an earlier result")
    done = optimize(request(path, tmp_path / "out.onnx"))
    assert sorted(contents(tmp_path)) == sorted(["unet.onnx", "unet.onnx.bin", *(file.name for file in done.files)])
    (tmp_path / "out.onnx").rename(tmp_path / "renamed.onnx")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="has weights of renamed.onnx"):
        optimize(request(tmp_path / "renamed.onnx", tmp_path / "out.onnx"))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
def test_a_file_under_several_names_is_read_and_its_data_file_is_not(external: bool, tmp_path: Path) -> None:
    path = saved(unet(), tmp_path / "unet.onnx", external=external)
    (tmp_path / "linked.onnx").hardlink_to(path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link.onnx").symlink_to(path)
    if not external:
        assert optimize(request(tmp_path / "linked.onnx")).modified
        assert optimize(request(tmp_path / "other" / "link.onnx")).modified
        return
    (tmp_path / "stolen.bin").hardlink_to(tmp_path / "unet.onnx.bin")
    with pytest.raises(ArtifactError, match=r"data file unet.onnx.bin has hard links"):
        optimize(request(path))


def broken(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are none, or not whole."""
    whole = saved(unet(), folder / "whole.onnx").read_bytes()
    for name, content in (("empty", b""), ("text", b"hello\n"), ("cut", whole[:5000])):
        (folder / f"{name}.onnx").write_bytes(content)
    saved(unet(), folder / "data.onnx", external=True)
    (folder / "data.onnx.bin").write_bytes(b"short")
    saved(unet(), folder / "lost.onnx", external=True)
    (folder / "lost.onnx.bin").unlink()
    wrong = unet()
    wrong.graph.node[0].input[0] = "undefined"
    onnx.save(wrong, folder / "wrong.onnx")
    sparse = unet()
    values = onnx.helper.make_tensor("sp", onnx.TensorProto.FLOAT, [1], [1.0])
    places = onnx.helper.make_tensor("spi", onnx.TensorProto.INT64, [1], [0])
    sparse.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, places, [4]))
    onnx.save(sparse, folder / "sparse.onnx")
    return {
        "no such file": (folder / "nothing.onnx", "no such"),
        "empty": (folder / "empty.onnx", "not a complete ONNX file"),
        "text": (folder / "text.onnx", "not a complete ONNX file"),
        "cut off": (folder / "cut.onnx", "not a complete ONNX file"),
        "short data": (folder / "data.onnx", "does not hold them"),
        "no data": (folder / "lost.onnx", "not beside it"),
        "no such input": (folder / "wrong.onnx", "undefined"),
        "sparse": (folder / "sparse.onnx", "sparse weights"),
    }


def test_bad_files_are_refused(tmp_path: Path) -> None:
    for case, (path, message) in broken(tmp_path).items():
        with pytest.raises(ArtifactError, match=message):
            optimize(request(path))
        assert not list(tmp_path.glob("*optimized*")), case


def test_bad_names_are_refused_before_any_work(tmp_path: Path) -> None:
    path = saved(unet(), tmp_path / "unet.onnx")
    for output, message in (("x.pt", "ends in .onnx"), (".onnx", "ends in .onnx"), ("-x.onnx", "plain file name")):
        with pytest.raises(UsageError, match=message):
            optimize(request(path, tmp_path / output))
    (tmp_path / "taken.onnx.json").write_text("{}")
    with pytest.raises(UsageError, match="describes another artifact"):
        optimize(request(path, tmp_path / "taken.onnx"))


def test_an_artifact_that_its_manifest_does_not_describe_is_refused(
    tmp_path: Path, exported: ExportedByCommand
) -> None:
    path = saved(unet(), tmp_path / "c3d.onnx")
    (tmp_path / "c3d.onnx.json").write_bytes(exported.onnx.with_name("c3d.onnx.json").read_bytes())
    with pytest.raises(IntegrityError):
        optimize(request(path))
