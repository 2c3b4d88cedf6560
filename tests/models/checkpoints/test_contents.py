"""Every tensor of a file is found, however the file nests it."""

from typing import Any

import pytest

from models.checkpoints.contents import MAX_DEPTH, MAX_KEY_LENGTH, MAX_TENSORS, NotBuilt, flatten
from models.checkpoints.dtypes import FLOAT32
from models.checkpoints.file_tensor import FileTensor

ONE, TWO = (FileTensor(FLOAT32, (1,), (1,), None) for _ in range(2))


@pytest.mark.parametrize(
    ("content", "paths"),
    [
        ({"a.weight": ONE, "b": TWO}, ["a.weight", "b"]),
        ({"epoch": 3, "net": {"state_dict": {"a": ONE}, "lr": 0.1}, "b": TWO}, ["net.state_dict.a", "b"]),
        ([{"a": ONE}, (TWO, "text")], ["0.a", "1.0"]),
        ({0: ONE, (1, 2): TWO}, ["0", "<tuple>"]),
        (
            {"m._orig_mod.conv1._checkpoint_wrapped_module.weight": ONE, "_orig_mod": {"a": TWO}},
            ["m.conv1.weight", "a"],
        ),
        ({"my_orig_mod.a": ONE, "_orig_mod.a": TWO, "a": ONE}, ["my_orig_mod.a", "a", "a#2"]),
        ({b"conv1.weight": ONE, b"\xff": TWO}, ["conv1.weight", "\\xff"]),
        (ONE, [""]),
        ({"epoch": 3}, []),
    ],
)
def test_each_tensor_has_the_path_at_which_it_is(content: object, paths: list[str]) -> None:
    assert list(flatten(content).tensors) == paths


def test_what_an_object_that_was_not_built_holds_is_found() -> None:
    linear = NotBuilt("torch.nn.Linear", [{"_parameters": {"weight": ONE}, "_buffers": {"n": TWO}, "in_features": 1}])
    model = NotBuilt("train.Net", [(), {"_modules": {"fc": linear}}])
    assert list(flatten({"model": model}).tensors) == ["model.fc.weight", "model.fc.n"]


def test_a_tree_that_contains_itself_ends() -> None:
    cyclic: dict[str, Any] = {"a": ONE}
    cyclic["self"] = [cyclic]
    assert list(flatten(cyclic).tensors) == ["a"]


def test_a_dict_under_several_keys_is_found_once_and_all_its_keys_are_known() -> None:
    state = {"a": ONE}
    contents = flatten({"model": {"net": state}, "best": state, "log": [log := [3], log]})
    assert list(contents.tensors) == ["model.net.a"]
    assert contents.aliases == {"model.net": ["best"]}
    wrapped = {"net": state}
    contents = flatten([wrapped, wrapped])
    assert contents.same_as("0.net") == ("1.net",)
    assert contents.same_as("x") == contents.same_as("") == ()
    cyclic: dict[str, Any] = {"a": ONE}
    cyclic["self"] = [cyclic]
    assert flatten(cyclic).aliases == flatten({"model": cyclic}).aliases == {}


def test_depth_and_count_and_length_of_names_are_bounded() -> None:
    deep: Any = {"x": ONE}
    for _ in range(100_000):
        deep = {"d": deep}
    assert flatten({"near": {"x": ONE}, "deep": deep}).tensors.keys() == {"near.x"}
    assert len(flatten(["d"] * MAX_DEPTH).containers) == 1
    assert len(flatten([ONE] * (2 * MAX_TENSORS)).tensors) == MAX_TENSORS + 1
    twins = flatten({"x" * 1000 + end: ONE for end in "ab"}).tensors
    cut = "x" * MAX_KEY_LENGTH + "…(1,001 characters)"
    assert list(twins) == [cut, f"{cut}#2"]


def test_a_record_of_a_call_that_makes_one_tensor_of_several_is_not_searched() -> None:
    sparse = NotBuilt("torch._utils._rebuild_sparse_tensor", ["torch.sparse_coo", [ONE, TWO]])
    contents = flatten({"net": {"conv1.weight": sparse, "conv1.bias": ONE}, "args": NotBuilt("argparse.Namespace")})
    assert list(contents.tensors) == ["net.conv1.bias"]
    assert contents.unbuilt == {
        "net.conv1.weight": "torch._utils._rebuild_sparse_tensor",
        "args": "argparse.Namespace",
    }


def test_only_containers_of_tensors_have_a_path() -> None:
    assert flatten({"log": [[1], [2]], "net": {"a": ONE}}).containers == {"", "net"}


def test_a_prefix_is_split_into_the_key_of_its_dict_and_the_rest() -> None:
    contents = flatten({"model": {"ema": {"module.a": ONE}}, "flat": ONE})
    assert contents.split("model.ema.module.") == ("model.ema", "module.")
    assert contents.split("flat.") == ("", "flat.")
