"""Files of class names in the formats that data sets publish, and files that are none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.manifests import MANIFEST

from models.class_names import get_class_names
from models.class_names.reading import MAX_BYTES, read_names
from models.errors import BadInputError

GOOD: dict[str, bytes] = {
    "lines": b"walk\nrun fast\njump\n",
    "no newline at the end": b"walk\nrun fast\njump",
    "empty lines at the end": b"walk\nrun fast\njump\n\n\n",
    "Windows": b"walk\r\nrun fast\r\njump\r\n",
    "old Macintosh": b"walk\rrun fast\rjump\r",
    "byte order mark": b"\xef\xbb\xbfwalk\nrun fast\njump\n",
    "spaces around": b"  walk\nrun fast \n\tjump\n",
    "from 1, as classInd.txt": b"1 walk\n2 run fast\n3 jump\n",
    "from 0, by a tab": b"0\twalk\n1\trun fast\n2\tjump\n",
    "in another order": b"3 jump\n1 walk\n2 run fast\n",
    "by a comma": b"0,walk\n1,run fast\n2,jump\n",
    "JSON list": b'["walk", "run fast", "jump"]',
    "JSON by index": b'{"0": "walk", "2": "jump", "1": "run fast"}',
    "JSON by name": b'{"jump": 2, "walk": 0, "run fast": 1}',
    "JSON from 1, with a mark": b'\xef\xbb\xbf {"1": "walk", "2": "run fast", "3": "jump"}',
}


@pytest.mark.parametrize("case", GOOD)
def test_formats(case: str, tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes(GOOD[case])
    assert read_names(tmp_path / "names") == ("walk", "run fast", "jump")


def test_names_of_other_scripts_are_kept(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("kyūdō\n柔道\nصعود\u200cرفتن\n", encoding="utf-8")
    assert read_names(tmp_path / "names.txt") == ("kyūdō", "柔道", "صعود\u200cرفتن")


def test_names_that_begin_with_numbers_are_names_beside_others(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("100 metres\nhurdles\n")
    assert read_names(tmp_path / "names.txt") == ("100 metres", "hurdles")


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no class names"),
    "only newlines": (b"\n\n", "no class names"),
    "an empty line": (b"walk\n\njump\n", "line 2 "),
    "an empty first line": (b"\nwalk\n", "line 1 "),
    "a duplicate": (b"walk\nrun\nwalk\n", "1 and 3"),
    "a number twice": (b"1 walk\n1 run\n", "1 twice"),
    "a missing number": (b"1 walk\n3 run\n", "2 is missing"),
    "numbers from 5": (b"5 walk\n6 run\n", "1 is missing"),
    "UTF-16": ("walk\nrun\n".encode("utf-16"), "UTF-8"),
    "UTF-16 without a mark": ("walk\nrun\n".encode("utf-16-le"), "UTF-8"),
    "UTF-32": ("walk\nrun\n".encode("utf-32"), "UTF-8"),
    "Latin-1": ("café\n".encode("latin-1"), "byte 3"),
    "a terminal sequence": (b"walk\n\x1b[2Jrun\n", "class 2 "),
    "a table": (b"n01\twalk\nn02\trun\n", "class 1 "),
    "broken JSON": (b'["walk", ', "JSON"),
    "JSON of numbers": (b"[1, 2]", "class 1 "),
    "JSON of empty names": (b'["walk", " "]', "class 2 "),
    "JSON of lists": (b'{"0": ["n01", "walk"]}', "class 1 "),
    "JSON of other keys": (b'{"classes": ["walk"]}', "neither"),
    "JSON with a key twice": (b'{"0": "walk", "0": "run"}', "twice"),
    "JSON with a name twice": (b'{"0": "walk", "1": "walk"}', "1 and 2"),
    "JSON without 1": (b'{"0": "walk", "2": "run"}', "1 is missing"),
    "JSON with a number of 5,000 digits": (b'{"' + b"1" * 5000 + b'": "walk"}', "neither"),
    "JSON, deep": (b"[" * 100_000, "JSON"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_list_of_names_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    content, reason = BAD[case]
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        read_names(tmp_path / "names.txt")
    assert reason in str(caught.value)
    assert "names.txt" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such"):
        read_names(tmp_path / "names.txt")
    with pytest.raises(BadInputError, match="not a file"):
        read_names(tmp_path)


def test_a_manifest_is_a_file_of_its_names(tmp_path: Path) -> None:
    path = tmp_path / "c3d.onnx.json"
    path.write_text(replace(MANIFEST, class_names=("a", "b")).to_json())
    assert read_names(path) == ("a", "b")
    path.write_text(replace(MANIFEST, class_names=None).to_json())
    with pytest.raises(BadInputError, match="neither a list of names"):
        read_names(path)


def test_names_that_a_manifest_has_no_room_for(tmp_path: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_text("x" * (MAX_BYTES + 1))
    with pytest.raises(BadInputError, match="too large"):
        read_names(long)
    many = tmp_path / "many.txt"  # small as text, large as JSON, where each name takes a line
    many.write_text("\n".join(map(str, range(10_000, 99_999))))
    with pytest.raises(BadInputError, match="do not fit"):
        read_names(many)


def test_the_package_s_own_lists_read_back_in_every_form(tmp_path: Path) -> None:
    names = get_class_names("sports1m")
    path = tmp_path / "names"
    path.write_text("\n".join(f"{number} {name}" for number, name in enumerate(names, 1)), encoding="utf-8")
    assert read_names(path) == names
    path.write_text(json.dumps({str(number): name for number, name in enumerate(names)}))
    assert read_names(path) == names
