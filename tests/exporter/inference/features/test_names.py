"""Names of videos among files: unique, plain, and the same in every order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.inference.features.names import choose_names, plain_name


@pytest.mark.parametrize(
    ("videos", "names"),
    [
        (["clips/bikes.mp4", "http://host/x/cars.avi?key=1"], ["bikes", "cars"]),
        (["a.mp4", "a.avi"], ["a.mp4", "a.avi"]),
        (["frames/run_1/%05d.jpg"], ["run_1"]),
        (["x.y.z.mkv"], ["x.y.z"]),
        (["видео.mp4", "动作.mp4"], ["видео", "动作"]),
    ],
)
def test_names(videos: list[str], names: list[str]) -> None:
    assert list(choose_names(videos, {}).values()) == names


def test_equal_names_in_two_folders_get_a_hash_of_the_path() -> None:
    names = choose_names(["x/a.mp4", "y/a.mp4", "b.mp4"], {})
    assert names["b.mp4"] == "b"
    assert len({names["x/a.mp4"], names["y/a.mp4"]}) == 2
    assert all(name.startswith("a.mp4-") for name in (names["x/a.mp4"], names["y/a.mp4"]))


def test_layers_of_any_model_become_parts_of_file_names() -> None:
    assert plain_name("fc6") == "fc6"
    made = {plain_name(name) for name in ("/fc6/Relu_output_0", "_fc6_Relu_output_0", "fc6:0")}
    assert len(made) == 3
    assert not any(set(name) & set("/:") for name in made)


def test_a_name_once_given_stays() -> None:
    names = choose_names(["x/a.avi", "x/a.mp4"], {"x/a.mp4": "a"})
    assert names == {"x/a.mp4": "a", "x/a.avi": "a.avi"}


@given(st.lists(st.text(alphabet=st.characters(codec=None), min_size=1), unique=True, max_size=6))
def test_names_are_unique_plain_and_do_not_depend_on_the_order(videos: list[str]) -> None:
    names = choose_names(videos, {})
    assert set(names) == set(videos)
    assert len({name.casefold() for name in names.values()}) == len(videos)
    for name in names.values():
        assert name not in ("", ".", "..")
        assert not set(name) & set('/\\:*?"<>|\0\n')
        assert name[0] not in ".-"
        assert len(name.encode()) <= 120
    assert choose_names(videos[::-1], {}) == names


def test_a_name_that_an_earlier_run_gave_is_not_given_again_in_other_letters() -> None:
    names = choose_names(["/b/BIKES.mp4"], {"/a/Bikes.mp4": "Bikes"})
    assert names["/b/BIKES.mp4"].casefold() != "bikes"
