"""The lists that ship with the package, and what `--labels` accepts."""

from pathlib import Path

import pytest

from models.checkpoints.layout import Layout
from models.checkpoints.layouts import LAYOUTS
from models.class_names import (
    CLASS_LISTS,
    ClassList,
    check_class_count,
    describe_class_names,
    get_class_names,
    load_class_names,
    suggest_labels,
)
from models.errors import BadInputError, UsageError

FACTS = {
    "sports1m": {0: "boomerang", 1: "boxing", 486: "model aircraft"},
    "ucf101": {0: "ApplyEyeMakeup", 34: "Hammering", 35: "HammerThrow", 46: "JumpingJack", 47: "JumpRope", 100: "YoYo"},
    "ucf101-sorted": {33: "Haircut", 34: "HammerThrow", 35: "Hammering", 46: "JumpRope", 47: "JumpingJack"},
    "hmdb51": {0: "brush_hair", 5: "climb", 6: "climb_stairs", 50: "wave"},
}
"""Positions in the files that the origins publish."""


@pytest.mark.parametrize("row", CLASS_LISTS, ids=lambda row: row.name)
def test_a_list_has_its_classes_in_order(row: ClassList) -> None:
    names = load_class_names(row.name)
    assert len(names) == len(set(names)) == row.count
    assert {index: names[index] for index in FACTS[row.name]} == FACTS[row.name]
    assert all(name == name.strip() for name in names)


def test_the_two_orders_of_ucf101_differ_in_two_pairs() -> None:
    official, by_code_point = get_class_names("ucf101"), get_class_names("ucf101-sorted")
    assert list(official) == sorted(official, key=str.lower)
    assert [index for index in range(101) if official[index] != by_code_point[index]] == [34, 35, 46, 47]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda row: row.name)
def test_layouts_name_lists_of_their_class_counts(layout: Layout) -> None:
    for classes, name in layout.class_lists.items():
        assert len(get_class_names(name)) == classes
        assert not layout.classes or classes in layout.classes


def test_a_list_goes_before_a_file_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hmdb51").write_text("one\ntwo\n")
    assert len(load_class_names("hmdb51")) == 51
    assert load_class_names("./hmdb51") == ("one", "two")


def test_names_themselves() -> None:
    assert load_class_names(("a", "b")) == ("a", "b")
    with pytest.raises(UsageError):
        load_class_names(("a", "a"))


def test_an_unknown_list_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"; did you mean ucf101\?$") as caught:
        load_class_names("ucf102")
    assert all(row.name in str(caught.value) for row in CLASS_LISTS)
    with pytest.raises(BadInputError, match=r"names\.txt: neither a file"):
        load_class_names("names.txt")


def test_a_count_that_does_not_fit_is_refused_with_both_numbers() -> None:
    names = get_class_names("ucf101")
    check_class_count(names, 101, "ucf101")
    with pytest.raises(UsageError, match="101 names.* 487 classes.*sports1m"):
        check_class_count(names, 487, "ucf101")
    with pytest.raises(UsageError, match="no class scores"):
        check_class_count(names, 0)


def test_what_fits_a_class_count_is_suggested() -> None:
    assert suggest_labels(101) == "--labels ucf101, --labels ucf101-sorted or --labels FILE"
    assert suggest_labels(7) == "--labels FILE"


def test_a_description_names_the_list() -> None:
    assert describe_class_names(get_class_names("hmdb51")).startswith("51 (hmdb51): brush_hair")
    assert describe_class_names(("a", "b")) == "2: a, b"
