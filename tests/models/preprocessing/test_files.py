"""`--preprocess NAME|FILE`: profiles by name, and files with the same fields."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.manifests import MANIFEST

from exporter.artifacts.manifest import Manifest
from exporter.errors import ArtifactError
from models.errors import BadInputError, UsageError
from models.preprocessing.files import find_profile, format_profile
from models.preprocessing.profiles import JFZHANG95, MMACTION2, PROFILES
from models.preprocessing.recipe import Preprocessing
from models.preprocessing.selection import choose_profile, recorded_profile

SIZE = (16, 112, 112)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_profile_is_found_by_name_and_read_back_from_the_file_that_is_printed(
    profile: Preprocessing, tmp_path: Path
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(format_profile(profile))
    assert find_profile(profile.name) == profile
    assert find_profile(str(path)) == find_profile(path) == profile


def test_a_toml_file_needs_only_what_has_no_default(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('channels = "RGB"\nscale = 0.5\nmean = [1, 2, 3]\nresize = 120\nclips = 3\n')
    assert find_profile(path) == Preprocessing(
        "mine", "RGB", 0.5, (1.0, 2.0, 3.0), 120, None, "the file mine.toml", clips=3
    )


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no profile cafe; known are caffe-sports1m"):
        find_profile("cafe")
    with pytest.raises(UsageError, match=r"; did you mean caffe-sports1m\?$"):
        find_profile("cafe-sports1m")
    with pytest.raises(UsageError, match=r"; did you mean jfzhang95\?$"):
        find_profile("JFZ")


def test_a_pipe_in_place_of_a_profile_is_refused_without_reading_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    with pytest.raises(BadInputError, match="not a file: .*pipe.json; give the preprocessing profile itself"):
        find_profile(pipe)


GOOD = {"channels": "RGB", "scale": 1, "mean": [0, 0, 0], "resize": 128}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a preprocessing profile"),
        ("[]", "must be an object"),
        (json.dumps(GOOD | {"colours": "RGB"}), "unknown field colours; the fields are name, channels"),
        (json.dumps(GOOD | {"mean_cube": None}), "unknown field mean_cube"),
        (json.dumps({"channels": "RGB"}), "missing required field `scale`"),
        (json.dumps(GOOD | {"channels": "BRG"}), "'BRG' - at `\\$.channels`"),
        (json.dumps(GOOD | {"mean": [0, 0]}), "at `\\$.mean`"),
        (json.dumps(GOOD | {"resize": [171, 128, 3]}), "at `\\$.resize`"),
        (json.dumps(GOOD | {"resize": 0}), "resize must be from 1 to 16384"),
        (json.dumps(GOOD | {"resize": [1 << 20, 128]}), "resize must be from 1 to 16384"),
        (json.dumps(GOOD | {"crop": [-1, 0]}), "crop must be from 0"),
        (json.dumps(GOOD | {"std": [1, 0, 1]}), "must not be 0"),
        (json.dumps(GOOD | {"std": [1, 1e-300, 1]}), "must not be 0, in float32 too"),
        (json.dumps(GOOD | {"scale": -1e-300}), "must not be 0, in float32 too"),
        (json.dumps(GOOD | {"mean": [0, -1e39, 0]}), "must be finite, in float32 too"),
        (json.dumps(GOOD | {"scale": 1e300}), "must be finite, in float32 too"),
        (json.dumps(GOOD | {"scale": 1e400}), "not a preprocessing profile"),
        (json.dumps(GOOD | {"frame_step": 0}), "frame_step must be from 1"),
        (json.dumps(GOOD | {"clips": 0}), "clips must be from 1"),
        (json.dumps(GOOD | {"name": " "}), "name must not be empty"),
        ("\ud800", "not a preprocessing profile"),
    ],
)
def test_a_bad_file_is_one_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadInputError, match=message) as caught:
        find_profile(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    for name, size in (("mine.toml", 1 << 15), ("mine.json", 1 << 25)):
        with (tmp_path / name).open("wb") as stream:
            stream.truncate(size)
        with pytest.raises(BadInputError, match="too large"):
            find_profile(tmp_path / name)


def test_a_manifest_is_a_file_with_the_profile_that_it_records(tmp_path: Path) -> None:
    path = tmp_path / "c3d.onnx.json"
    path.write_text(replace(MANIFEST, preprocessing=JFZHANG95).to_json())
    assert find_profile(path) == JFZHANG95
    path.write_text(replace(MANIFEST, preprocessing=None).to_json())
    with pytest.raises(BadInputError, match="not a preprocessing profile"):
        find_profile(path)


def test_a_toml_file_that_is_not_finite_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('channels = "RGB"\nscale = inf\nmean = [1, 2, 3]\nresize = 120\n')
    with pytest.raises(BadInputError, match="must be finite"):
        find_profile(path)
    with pytest.raises(BadInputError, match="no such preprocessing profile: .*none.json"):
        find_profile(tmp_path / "none.json")
    with pytest.raises(BadInputError, match="not a file"):
        find_profile(tmp_path)


def test_a_known_profile_is_scaled_for_other_clips_and_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    assert choose_profile(MMACTION2, (16, 224, 224), "jfzhang95").preprocessing == find_profile("jfzhang95").scaled(
        224, 224
    )
    path = tmp_path / "mine.json"
    path.write_text(format_profile(replace(MMACTION2, name="mine", resize=(112, 112))))
    chosen = choose_profile(MMACTION2, SIZE, path)
    assert chosen.preprocessing == find_profile(path)
    assert chosen.notes == ("--preprocess mine overrides the checkpoint's profile, mmaction2",)
    with pytest.raises(UsageError, match="mine does not fit clips of 224x224"):
        choose_profile(MMACTION2, (16, 224, 224), path)


def test_the_recorded_profile_of_a_manifest_without_a_mean_file() -> None:
    assert recorded_profile(MMACTION2, SIZE, Path()).preprocessing == MMACTION2
    caffe = find_profile("caffe-sports1m")
    assert "without --mean FILE the channel means (90.25, 97.66, 101.41)" in choose_profile(caffe, SIZE).notes[0]


def test_a_manifest_with_an_impossible_profile_is_refused() -> None:
    for wrong, message in (
        ({"frame_step": 0}, "frame_step must be from 1"),
        ({"resize": (1 << 40, 128)}, "resize must be from 1"),
        ({"crop": (8, 100)}, "crop \\(8, 100\\) of \\(171, 128\\)"),
    ):
        profile = replace(find_profile("jfzhang95"), **wrong)
        with pytest.raises(ArtifactError, match=message):
            Manifest.from_json(replace(MANIFEST, preprocessing=profile).to_json())
        with pytest.raises(BadInputError, match="the profile jfzhang95 does not fit clips of 112x112"):
            choose_profile(profile, SIZE)


def test_a_manifest_from_before_these_fields_loads() -> None:
    text = json.loads(replace(MANIFEST, preprocessing=find_profile("jfzhang95")).to_json())
    for field in ("interpolation", "rounding", "clips", "average", "mean_cube"):
        del text["preprocessing"][field]
    assert Manifest.from_json(json.dumps(text)).preprocessing == find_profile("jfzhang95")
