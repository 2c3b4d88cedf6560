"""A folder that several runs write to: resumed, refused, replaced, locked, and killed at any moment."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.features import RECORD, files, items, stored_as

from exporter.errors import OutputError, UsageError
from exporter.inference.features.folder import Job, open_folder
from exporter.inference.features.record import FeatureRecord
from exporter.inference.features.writing import write_videos
from exporter.video.sources import Source

KINDS = ("npy", "c3d", "parquet")


def make_videos(folder: Path, count: int) -> list[Source]:
    """Write files that stand for videos."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"v{number}.mp4" for number in range(count)]
    for path in paths:
        path.write_bytes(b"video")
        os.utime(path, ns=(0, 10**18))
    return [Source(str(path), path.name) for path in paths]


def resume(folder: Path | str, record: FeatureRecord, videos: list[Source], *, overwrite: bool = False) -> list[Job]:
    """Write what is missing, two clips a video, and return the jobs that were done."""
    with open_folder(folder, record, overwrite=overwrite) as opened:
        todo = [job for job in opened.plan(videos, overwrite=overwrite) if job.done is None]
        numbers = [int.from_bytes(job.name.encode()) for job in todo]
        list(write_videos(items([2] * len(todo), videos=numbers), todo, opened))
        opened.finish()
    return todo


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_run_does_nothing_and_a_third_only_what_is_new(kind: str, tmp_path: Path) -> None:
    videos = make_videos(tmp_path / "in", 3)
    out = tmp_path / "out"
    assert len(resume(out, stored_as(kind), videos[:2])) == 2
    before = files(out)
    times = {name: (out / name).stat().st_mtime_ns for name in before}
    assert resume(out, stored_as(kind), videos[:2]) == []
    assert {name: (out / name).stat().st_mtime_ns for name in files(out)} == times
    assert [job.name for job in resume(out, stored_as(kind), videos)] == ["v2"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_video_that_changed_or_lost_its_files_is_computed_again(kind: str, tmp_path: Path) -> None:
    videos = make_videos(tmp_path / "in", 3)
    out = tmp_path / "out"
    resume(out, stored_as(kind), videos)
    (tmp_path / "in" / "v1.mp4").write_bytes(b"another video")
    assert [job.name for job in resume(out, stored_as(kind), videos)] == ["v1"]
    for path in [out / "v2.csv", out / "features.parquet"]:
        path.unlink(missing_ok=True)
    again = [job.name for job in resume(out, stored_as(kind), videos)]
    assert again == (["v0", "v1", "v2"] if kind == "parquet" else ["v2"])


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"model_sha256": "b" * 64}, "model"),
        ({"layers": {"fc7": (6,)}}, "layer fc6, not fc7"),
        ({"profile": {**RECORD.profile, "name": "jfzhang95"}}, "profile caffe-sports1m, not jfzhang95"),
        ({"profile": {**RECORD.profile, "mean_cube": {"sha256": "c" * 64}}}, "caffe-sports1m with another mean_cube"),
        ({"sampling": {**RECORD.sampling, "step": 16}}, "step 8, not 16"),
        ({"aggregate": "mean"}, "aggregate clips, not mean"),
        ({"format": "c3d"}, "format npy, not c3d"),
    ],
)
def test_features_made_in_another_way_are_refused_or_replaced(
    changed: dict[str, object], word: str, tmp_path: Path
) -> None:
    videos = make_videos(tmp_path / "in", 2)
    out = tmp_path / "out"
    resume(out, RECORD, videos)
    before = files(out)
    other = replace(RECORD, **changed)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match=f"{word}.*--overwrite"):
        resume(out, other, videos)
    assert files(out) == before
    if "layers" not in changed:
        assert [job.name for job in resume(out, other, videos[:1], overwrite=True)] == ["v0"]
        assert not [name for name in files(out) if name.startswith("v1")]  # made in the old way
        assert json.loads((out / "features.json").read_bytes())["model_sha256"] == other.model_sha256


def test_the_engine_and_the_name_of_the_model_do_not_count(tmp_path: Path) -> None:
    videos = make_videos(tmp_path / "in", 1)
    resume(tmp_path / "out", RECORD, videos)
    assert resume(tmp_path / "out", replace(RECORD, engine="OpenVINO", model="other.onnx"), videos) == []


def test_overwrite_computes_the_given_videos_again_and_keeps_the_others(tmp_path: Path) -> None:
    videos = make_videos(tmp_path / "in", 2)
    resume(tmp_path / "out", RECORD, videos)
    assert [job.name for job in resume(tmp_path / "out", RECORD, videos[:1], overwrite=True)] == ["v0"]
    assert resume(tmp_path / "out", RECORD, videos) == []


def test_equal_names_and_odd_names(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "x").mkdir(parents=True)
    (folder / "y").mkdir()
    paths = [folder / "a.mp4", folder / "a.avi", folder / "x" / "b.mp4", folder / "y" / "b.mp4", folder / "c:*?\n'.mp4"]
    paths.append(Path(os.fsdecode(bytes(folder / "z") + b"\xff.mp4")))
    for path in paths:
        path.write_bytes(b"video")
    videos = [Source(str(path), str(path)) for path in paths]
    for kind in KINDS:
        out = tmp_path / kind
        first = resume(out, stored_as(kind), videos)
        assert len({job.name for job in first}) == 6
        assert [job.bytes for job in first] == [5] * 6
        assert resume(out, stored_as(kind), videos[::-1]) == []
    assert {"a.mp4.npy", "a.avi.npy"} < set(files(tmp_path / "npy"))


def test_addresses_that_differ_in_their_query_are_two_videos_and_it_stays_secret(tmp_path: Path) -> None:
    urls = [f"https://user:word@host/get.mp4?id={number}" for number in (1, 2)]
    videos = [Source(url, "https://host/get.mp4") for url in urls]
    first = resume(tmp_path, RECORD, videos)
    assert len({job.name for job in first}) == 2
    assert resume(tmp_path, RECORD, videos) == []
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"id=" not in written
    assert b"word" not in written


@pytest.mark.parametrize("change", [{"files": {"../precious": 1}}, {"name": "../../precious"}])
def test_a_record_that_names_files_elsewhere_removes_none(change: dict[str, object], tmp_path: Path) -> None:
    """A folder of features may come from somebody else."""
    out, precious = tmp_path / "out", tmp_path / "precious"
    resume(out, RECORD, make_videos(tmp_path / "videos", 1))
    precious.mkdir()
    (record,) = (out / ".run" / "videos").iterdir()
    record.write_text(json.dumps(json.loads(record.read_text()) | change))
    for video in (tmp_path / "videos").iterdir():
        video.write_bytes(b"another video")
    with pytest.raises(OutputError, match="not a record of this tool .*precious' is not a file's name in its folder"):
        resume(out, RECORD, make_videos(tmp_path / "videos", 1), overwrite=True)
    assert precious.is_dir()


def test_a_second_run_at_the_same_time_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; from helpers.features import RECORD; from exporter.inference.features.folder import open_folder\n"
    )
    code += "with open_folder(__import__('pathlib').Path(sys.argv[1]), RECORD): pass"
    path = os.pathsep.join(["tests/support", *sys.path])
    with open_folder(tmp_path, RECORD):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            check=False,
        )
    assert b"OutputError: another run is writing to" in done.stderr
    with open_folder(tmp_path, RECORD):
        pass


def test_a_folder_that_cannot_be_written_to_or_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="file"), open_folder(tmp_path / "file", RECORD):
        pass
    (tmp_path / "features.json").write_bytes(b"{}")
    with pytest.raises(OutputError, match="not a record"), open_folder(tmp_path, RECORD):
        pass


KILLED = """
import os, sys
from pathlib import Path
import pyarrow.parquet  # once, not in every child
from helpers.features import files, items, stored_as
from exporter.inference.features.folder import open_folder
from exporter.video.sources import Source
from exporter.inference.features.writing import write_videos

kind, step, root, *paths = sys.argv[1:]

def run(out):
    with open_folder(out, stored_as(kind)) as opened:
        todo = [job for job in opened.plan([Source(path, path) for path in paths]) if job.done is None]
        numbers = [int(Path(job.video).stem[1:]) for job in todo]
        list(write_videos(items([2] * len(todo), videos=numbers), todo, opened))
        opened.finish()

def in_child(out, moment):
    child = os.fork()
    if not child:
        calls = [0]
        def count(event, arguments):  # before every change of a file
            if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir") or str(out) not in str(arguments[0]):
                return
            if event == "open" and not (arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                return
            calls[0] += 1
            if calls[0] == moment:
                os.kill(os.getpid(), 9)
        sys.addaudithook(count)
        run(out)
        os._exit(0)
    return os.waitpid(child, 0)[1]

in_child(Path(root) / "whole", 0)
whole = files(Path(root) / "whole")
moment = 0
while True:
    moment += int(step)
    out = Path(root) / str(moment)
    status = in_child(out, moment)
    left = files(out) if out.is_dir() else {}
    finished = {name for name in left if not name.startswith(".run")}
    if kind != "parquet":
        for name in finished:  # complete or not there
            assert left[name] == whole[name], (moment, name)
    if not status:
        break
    assert status == 9, (moment, status)
    assert not in_child(out, 0), moment
    assert files(out) == whole, moment
    left = {str(path.relative_to(out)) for path in out.rglob("*")}
    whole_left = {str(path.relative_to(Path(root) / "whole")) for path in (Path(root) / "whole").rglob("*")}
    assert left == whole_left, (moment, left ^ whole_left)
print(moment)
"""


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_change_of_a_file_a_run_leaves_whole_files_and_the_next_completes_them(
    kind: str, step: int, tmp_path: Path
) -> None:
    videos = [source.url for source in make_videos(tmp_path / "in", 2)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, kind, str(step), str(tmp_path), *videos],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["tests/support", *sys.path])},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15


@pytest.mark.parametrize("kind", KINDS)
def test_a_bucket_works_as_a_folder_does(kind: str, tmp_path: Path) -> None:
    import fsspec

    videos = make_videos(tmp_path / "in", 3)
    url = f"memory://{tmp_path.name}-{kind}"
    assert len(resume(url, stored_as(kind), videos[:2])) == 2
    assert [job.name for job in resume(url, stored_as(kind), videos)] == ["v2"]
    resume(tmp_path / "out", stored_as(kind), videos)
    fs = fsspec.filesystem("memory")
    root = f"/{tmp_path.name}-{kind}"
    found = {path.removeprefix(f"{root}/"): fs.cat_file(path) for path in fs.find(root)}
    seen = {name: content for name, content in found.items() if not name.startswith(".run")}
    if kind == "parquet":  # made by another number of runs, and the same
        assert list(found) == ["features.json", "features.parquet"]
    expected = files(tmp_path / "out")
    assert seen == expected
    with pytest.raises(UsageError, match="--overwrite"):
        resume(url, replace(stored_as(kind), aggregate="mean"), videos)
    resume(url, replace(stored_as(kind), aggregate="mean"), videos[:1], overwrite=True)
    left = [path.removeprefix(f"{root}/") for path in fs.find(root) if ".run" not in path]
    assert not [name for name in left if name.startswith(("v1", "v2"))]
