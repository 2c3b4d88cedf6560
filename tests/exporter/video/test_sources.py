"""Which videos a user names."""

from pathlib import Path

import fsspec
import numpy as np
import pytest
from helpers.videos import noise, write_video

from exporter import storage
from exporter.errors import BadInputError, C3DExportError, VideoError
from exporter.video import sources
from exporter.video.reader import open_video
from exporter.video.sampling import Sampling
from exporter.video.sources import Source, expand_sources, natural_order


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def test_a_folders_files_in_natural_order_without_hidden_ones_and_images(tmp_path: Path) -> None:
    folder = touch(tmp_path / "videos", "b10.mp4", "b9.MP4", ".hidden", "A.avi", "cover.jpg")
    (folder / "sub").mkdir()
    assert expand_sources([folder]) == [
        Source(str(folder / name), str(folder / name)) for name in ("A.avi", "b9.MP4", "b10.mp4")
    ]


def test_a_folder_of_images_is_one_video(tmp_path: Path) -> None:
    folder = touch(tmp_path / "frames", "f10.jpg", "f2.JPG", "f1.png")
    assert expand_sources([str(folder)]) == [
        Source(
            str(folder), str(folder), "images", tuple(str(folder / name) for name in ("f1.png", "f2.JPG", "f10.jpg"))
        )
    ]


@pytest.mark.parametrize(
    ("names", "taken", "kind", "left_out"),
    [
        (["v10.MP4", "README", "labels.txt", "v9.mkv", "a.jpg"], ["v9.mkv", "v10.MP4"], "file", "README, labels.txt"),
        (["2.png", "1.png", "Thumbs.db"], ["1.png", "2.png"], "images", "Thumbs.db"),
        (["clip", "other.bin"], ["clip", "other.bin"], "file", ""),  # no suffix is known: their content decides
        (["a.webm", ".DS_Store", "cover.png"], ["a.webm"], "file", ""),
    ],
)
def test_of_a_folder_what_is_no_video_is_left_out_and_named(
    names: list[str], taken: list[str], kind: str, left_out: str, tmp_path: Path
) -> None:
    folder = touch(tmp_path / "videos", *names)
    notes: list[str] = []
    found = expand_sources([folder], note=notes.append)
    files = [file for source in found for file in (source.images or (source.url,))]
    assert ([Path(file).name for file in files], {source.kind for source in found}) == (taken, {kind})
    assert len(notes) == bool(left_out)
    assert all(f": {left_out}; " in note and note.startswith(f"{folder}: ") for note in notes)


def test_the_files_of_a_folder_are_not_compared_with_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    class Name(str):
        __slots__ = ()

        def __hash__(self) -> int:
            hashed.append(self)
            return super().__hash__()

    files = [Name(f"{number}.mp4") for number in range(100)]
    monkeypatch.setattr(sources, "list_files", lambda _: files)
    assert len(expand_sources([tmp_path])) == len(files)
    assert len(hashed) <= 5 * len(files)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("f%03d.jpg", ["f003.jpg", "f004.jpg", "f005.jpg"]),  # f007 comes after a gap
        ("f%d.jpg", ["f3.jpg", "f4.jpg"]),
        ("g%02d.png", ["g99.png", "g100.png"]),
    ],
)
def test_numbered_images_from_the_lowest_number_without_a_gap(pattern: str, names: list[str], tmp_path: Path) -> None:
    touch(
        tmp_path, "f003.jpg", "f004.jpg", "f005.jpg", "f007.jpg", "f3.jpg", "f4.jpg", "g99.png", "g100.png", "f003.jpg~"
    )
    found = expand_sources([tmp_path / pattern])
    assert [Path(image).name for image in found[0].images] == names
    assert (len(found), found[0].kind, found[0].name) == (1, "images", str(tmp_path / pattern))


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "100%d.mp4", "a[1].mp4")
    for name in ("100%d.mp4", "a[1].mp4"):
        assert expand_sources([tmp_path / name]) == [Source(str(tmp_path / name), str(tmp_path / name))]


def test_stars_stand_for_every_file_that_matches(tmp_path: Path) -> None:
    touch(tmp_path, "b10.mp4", "b2.mp4", "b.avi")
    assert [Path(source.url).name for source in expand_sources([tmp_path / "*.mp4"])] == ["b2.mp4", "b10.mp4"]


def test_a_list_is_relative_to_itself_and_may_name_anything_but_a_list(tmp_path: Path) -> None:
    folder = touch(tmp_path / "videos", "a.mp4")
    (tmp_path / "list.txt").write_text(f"  mine.mp4  \n# theirs\n\nvideos\r\n{folder / 'a.mp4'}\ncamera:1\n")
    assert [(source.url, source.kind) for source in expand_sources([tmp_path / "list.txt"])] == [
        (str(tmp_path / "mine.mp4"), "file"),
        (str(folder / "a.mp4"), "file"),
        (str(folder / "a.mp4"), "file"),
        ("camera:1", "camera"),
    ]


def test_what_is_not_there_is_reported_when_it_is_opened() -> None:
    assert expand_sources(["none.mp4", Path("none.avi")]) == [
        Source("none.mp4", "none.mp4"),
        Source("none.avi", "none.avi"),
    ]


@pytest.mark.parametrize("content", [b"", b"# nothing\n\n", b"\xff\xfe"])
def test_a_list_that_names_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(VideoError, match=r"list.txt: (names no videos: the list is empty|not a list of videos)"):
        expand_sources([tmp_path / "list.txt"])


def test_a_bad_line_of_a_list_is_refused_alone_with_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "good.mp4", "last.mp4")
    (tmp_path / "empty").mkdir()
    (tmp_path / "closed").mkdir()
    listing = storage.list_files

    def list_files(folder: storage.Location) -> list[str]:
        if str(folder).endswith("closed"):  # root may list any folder
            with storage._translate_listing(Path(folder)):  # pyright: ignore[reportPrivateUsage]
                raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(sources, "list_files", list_files)
    bad = [
        b"a" * 300,
        b"empty",
        b"none*.mp4",
        b"nosuch://host/a.mp4",
        b"a\0.mp4",
        b"\xff.mp4",
        b"f%d_%d.jpg",
        b"closed",
    ]
    bad += [b"b" * 300 + b"*.mp4", b"zip://a::b.mp4", b"other.txt"]
    (tmp_path / "list.txt").write_bytes(
        b"\n".join([b"\xef\xbb\xbf# names", b"good.mp4", *bad, b"*st.mp4", *[b"good.mp4"] * 2])
    )
    refused: dict[str, C3DExportError] = {}
    found = expand_sources([tmp_path / "list.txt", tmp_path / "empty"], refused.__setitem__)
    assert [Path(source.url).name for source in found] == ["good.mp4", "last.mp4", "good.mp4", "good.mp4"]
    lines = [f"{tmp_path / 'list.txt'}, line {number}" for number in range(3, 3 + len(bad))]
    assert [*refused] == [*lines, str(tmp_path / "empty")]
    assert all(str(refused[line]).startswith(f"{line}: ") for line in lines)
    assert [error.exit_code for error in refused.values()] == [3, 3, 3, 2, 3, 3, 3, 3, 3, 2, 3, 3]
    with pytest.raises(BadInputError, match=r"list.txt, line 3: "):  # of those who cannot go on without
        expand_sources([tmp_path / "list.txt"])


def test_a_video_that_cannot_be_opened_is_reported_with_the_line_of_its_list(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# mine\ngone.mp4\n")
    (source,) = expand_sources([tmp_path / "list.txt"])
    assert source == Source(str(tmp_path / "gone.mp4"), str(tmp_path / "gone.mp4"))
    with pytest.raises(VideoError) as caught:
        open_video(source)
    assert str(caught.value) == f"{tmp_path / 'list.txt'}, line 2: no such video: {tmp_path / 'gone.mp4'}"


def test_a_list_that_is_no_text_is_refused_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.mp4\nb.mp4\n", encoding="utf-16")
    refused: dict[str, C3DExportError] = {}
    assert expand_sources([tmp_path / "list.txt"], refused.__setitem__) == []
    assert [*refused] == [str(tmp_path / "list.txt")]


def test_names_that_stand_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, line in (
        ("empty", "names no videos: the folder holds no files"),
        ("f%05d.jpg", "no file matches the pattern"),
        ("none/f%05d.jpg", "no file matches the pattern"),
        ("*.mp4", "no file matches the pattern"),
        ("f%d_%d.jpg", "a pattern of images has one number, such as %05d"),
    ):
        with pytest.raises(VideoError) as raised:
            expand_sources([tmp_path / name])
        assert str(raised.value) == f"{tmp_path / name}: {line}"


def test_the_number_of_videos_and_the_size_of_a_list_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list.txt").write_text("a.mp4\n" * 11)
    monkeypatch.setattr(sources, "MAX_SOURCES", 10)
    with monkeypatch.context() as patch, pytest.raises(VideoError, match="more than 10 videos"):
        patch.setattr(sources, "is_folder", lambda name: pytest.fail("looked for") if name.endswith("mp4") else False)
        expand_sources([tmp_path / "list.txt"])
    with pytest.raises(VideoError, match=r"b.mp4: more than 10 videos"):
        expand_sources(["a.mp4"] * 10 + ["b.mp4"])
    monkeypatch.setattr(sources, "MAX_LIST_BYTES", 65)
    with pytest.raises(VideoError, match=r"list.txt: not a list of videos: more than 65 bytes"):
        expand_sources([tmp_path / "list.txt"])


def test_a_name_that_is_too_long_is_no_video() -> None:
    with pytest.raises(VideoError, match="File name too long"):
        open_video("a" * 300)


def test_natural_order_is_total() -> None:
    names = ["a", "a1", "a01", "a10", "a2", "B", "1", "01", "a1b"]
    assert (
        natural_order(names) == natural_order(reversed(names)) == ["01", "1", "B", "a", "a01", "a1", "a1b", "a2", "a10"]
    )


def test_urls_of_a_folder_a_list_and_a_pattern(tmp_path: Path) -> None:
    frames = noise(4)
    content = write_video(tmp_path / "a.mkv", frames).read_bytes()
    files = fsspec.filesystem("memory")
    for name, data in (
        ("a2.mkv", content),
        ("a10.mkv", content),
        ("list.txt", b"a2.mkv\n# none\n"),
        ("i/1.png", b""),
        ("i/2.png", b""),
    ):
        files.pipe_file(f"/videos/{name}", data)
    try:
        assert [source.url for source in expand_sources(["memory://videos/*.mkv", "memory://videos/list.txt"])] == [
            "memory://videos/a2.mkv",
            "memory://videos/a10.mkv",
            "memory://videos/a2.mkv",
        ]
        assert [source.images for source in expand_sources(["memory://videos/i"])] == [
            ("memory://videos/i/1.png", "memory://videos/i/2.png")
        ]
        with open_video(expand_sources(["memory://videos/a2.mkv"])[0]) as video:
            assert np.array_equal(next(video.clips(Sampling(4))).frames, frames)
        with pytest.raises(VideoError, match="memory://videos/none.mkv"):
            open_video("memory://videos/none.mkv")
    finally:
        files.rm("/videos", recursive=True)
