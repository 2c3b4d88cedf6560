"""The options that build an artifact's network are those it was exported with."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import narrow_state
from helpers.exported import NARROW
from helpers.manifests import MANIFEST

from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.rebuilding import rebuild_network
from exporter.artifacts.recorded_options import find_build_options
from exporter.errors import UsageError
from exporter.formats import load_artifact
from exporter.requests import ExportRequest
from exporter.workflows.export import export
from models.builder import build
from models.built_model import BuiltModel
from models.options import BuildOptions, WeightSelection
from models.preprocessing.profiles import JFZHANG95, UNKNOWN

NAMES = ("a", "b", "c", "d", "e")
PROFILE = {"channels": "BGR", "scale": 1.0, "mean": [90, 98, 102], "resize": [171, 128], "crop": [8, 30]}

ExportNetwork = Callable[[BuildOptions], LoadedArtifact]


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExportNetwork:
    """Return a function that exports a network in the current folder, which has checkpoints and what options name."""
    monkeypatch.chdir(tmp_path)
    torch.save(narrow_state(5), "c3d.pth")
    torch.save({"net": narrow_state(5), "average": narrow_state(5)}, "two.pth")
    torch.save({name: value + 1e-3 for name, value in narrow_state(5).items()}, "other.pth")
    Path("names.txt").write_text("\n".join(NAMES))
    Path("mine.json").write_text(json.dumps(PROFILE))
    np.save("mean.npy", np.full((3, 16, 128, 171), 100, np.float32))

    def run(options: BuildOptions) -> LoadedArtifact:
        request = ExportRequest(("torchscript",), options, output_dir=tmp_path / "out", verify=False)
        return load_artifact(export(request).artifacts[0].path)

    return run


def described(model: BuiltModel) -> tuple[object, ...]:
    """Return everything of a network that options choose, wherever their files are."""
    profile = model.preprocessing
    assert profile is not None
    return dict(model.settings), profile.without_path(), model.class_names, model.mean_cube is None


CHOSEN = {
    "nothing": BuildOptions(),
    "pool5": BuildOptions(pool5="right"),
    "class names": BuildOptions(labels="names.txt"),
    "a profile of a file": BuildOptions(preprocess="mine.json"),
    "a profile by name": BuildOptions(preprocess="jfzhang95"),
    "a mean file": BuildOptions(preprocess="jfzhang95", mean=Path("mean.npy")),
    "everything": BuildOptions(pool5="right", labels=NAMES, preprocess=Path("mine.json"), mean=Path("mean.npy")),
    "a key": BuildOptions(weights=Path("two.pth"), selection=WeightSelection(key="average")),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_they_build_the_network_with_everything_that_was_chosen(case: str, exported: ExportNetwork) -> None:
    chosen = CHOSEN[case]
    chosen = replace(chosen, weights=chosen.weights or Path("c3d.pth"))
    first, artifact = build(chosen), exported(chosen)
    options = find_build_options(artifact, BuildOptions())
    assert options is not None
    again = build(options)
    assert described(again) == described(first)
    assert again.checkpoint is not None
    assert again.checkpoint == replace(first.checkpoint or again.checkpoint, path=again.checkpoint.path)
    for name in ("pool5", "preprocess", "mean"):
        assert (getattr(options, name) is None) == (getattr(chosen, name) is None), name
    model, notes = rebuild_network(artifact, BuildOptions())
    assert described(model) == described(first)
    assert model.setting_sources == first.setting_sources
    known = [
        note for note in model.notes if "preprocessing is not known" in note or "class names are not known" in note
    ]
    assert len(known) == (chosen.preprocess is None) + (chosen.labels is None)
    assert not any("overrides" in note for note in (*model.notes, *notes))


def test_of_another_checkpoint_what_the_manifest_has_from_its_own_is_stated(exported: ExportNetwork) -> None:
    first = BuildOptions(weights=Path("c3d.pth"), pool5="right", preprocess="mine.json", labels="names.txt")
    artifact = exported(first)
    assert artifact.manifest is not None
    network = replace(artifact.manifest.network, setting_sources={"pool5": "layout"})
    artifact = replace(artifact, manifest=replace(artifact.manifest, network=network))
    options = find_build_options(artifact, BuildOptions(weights=Path("other.pth"), layout="identity"))
    assert options is not None
    assert (options.weights, options.layout) == (Path("other.pth"), "identity")
    assert described(build(options)) == described(build(first))


def test_of_another_checkpoint_a_profile_that_is_not_known_is_not_stated() -> None:
    """The other checkpoint may come with one of its own."""
    given = BuildOptions(weights=Path("other.pth"))
    for preprocessing, stated in ((UNKNOWN, None), (JFZHANG95, "jfzhang95")):
        manifest = replace(MANIFEST, preprocessing=preprocessing)
        options = find_build_options(LoadedArtifact(Path("c3d.onnx"), "onnx", manifest, ()), given)
        assert options is not None
        assert options.preprocess == stated


def test_without_a_manifest_file_the_names_themselves_are_stated(exported: ExportNetwork) -> None:
    artifact = exported(BuildOptions(weights=Path("c3d.pth"), labels="names.txt"))
    Path("out/c3d.pt.json").unlink()
    options = find_build_options(artifact, BuildOptions())
    assert options is not None
    assert options.labels == NAMES


def test_what_the_user_names_anew_is_taken(exported: ExportNetwork) -> None:
    artifact = exported(BuildOptions(weights=Path("c3d.pth"), labels="names.txt"))
    given = BuildOptions(labels=NAMES[::-1], preprocess="mmaction2")
    options = find_build_options(artifact, given)
    assert options is not None
    assert (options.labels, options.preprocess) == (NAMES[::-1], "mmaction2")
    model, _ = rebuild_network(artifact, given)
    assert model.class_names == NAMES[::-1]
    with pytest.raises(UsageError, match="4 names, but the network has 5 classes"):
        rebuild_network(artifact, BuildOptions(labels=NAMES[:4]))
    for other in (BuildOptions(num_classes=7), BuildOptions(new_head=True)):
        with pytest.raises(UsageError, match="--num-classes and --new-head are for files without one"):
            rebuild_network(artifact, other)


def test_a_network_of_a_seed(narrow_artifacts: Any) -> None:
    artifact = load_artifact(narrow_artifacts.artifacts[0].path)
    assert find_build_options(artifact, BuildOptions()) == NARROW


def test_a_file_without_a_manifest_has_the_options_given() -> None:
    given = BuildOptions(weights=Path("w.pth"))
    assert find_build_options(LoadedArtifact(Path("m.onnx"), "onnx", None, ()), given) is given
