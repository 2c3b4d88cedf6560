"""Inputs that cannot be drawn at random: what each is fed, and that the model then runs and equals itself."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import small_models
from helpers.graphs import make_model, node
from onnx import TensorProto, helper, numpy_helper

from exporter.onnx_io.signature import read_signature
from exporter.parity.discovery import find_inputs
from exporter.parity.input_roles.input_use import InputUse
from exporter.parity.input_roles.roles import InputRoles, find_roles
from exporter.parity.input_roles.sizes import block_shape
from exporter.parity.sources import FileSource
from exporter.types import InputOptions, ParityOptions, ValueRange
from exporter.workflows.verify import verify_parity

FLOAT, INT32, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8
Shape = list[int | str] | None
Port = tuple[int, Shape]
X = "x"


def save(path: Path, operator: str, inputs: dict[str, Port], output: Port, **attributes: Any) -> Path:
    """Write a model of one node; an input that is called `-` plus a number is absent."""
    names = " ".join("-" if name.startswith("-") else name for name in inputs)
    ports = [helper.make_tensor_value_info(n, *port) for n, port in inputs.items() if not n.startswith("-")]
    made = [node(operator, names, "y", **attributes)]
    return small_models.save(path, made, ports, [helper.make_tensor_value_info("y", *output)], {}, opset=20)


def feeds(path: Path, options: InputOptions | None = None) -> list[dict[str, Any]]:
    parity = ParityOptions(inputs=options or InputOptions(), input_types=("random", "constant"))
    return list(find_inputs(FileSource(path, "onnx"), read_signature(path), parity).feeds)


CASES: list[tuple[str, dict[str, Port], Port, dict[str, Any], dict[str, list[Any]]]] = [
    ("Reshape", {X: (FLOAT, [2, 6]), "s": (INT64, [3])}, (FLOAT, [3, 2, 2]), {}, {"s": [3, 2, 2]}),
    ("Reshape", {X: (FLOAT, [2, 3, 4]), "s": (INT64, [2])}, (FLOAT, ["a", "b"]), {}, {"s": [2, 12]}),
    ("Expand", {X: (FLOAT, [3, 1]), "s": (INT64, [3])}, (FLOAT, [2, 3, 6]), {}, {"s": [2, 3, 6]}),
    ("Expand", {X: (FLOAT, [3, 1]), "s": (INT64, [3])}, (FLOAT, ["a", "b", "c"]), {}, {"s": [1, 3, 1]}),
    ("Reshape", {X: (FLOAT, [2, 6]), "s": (INT64, ["k"])}, (FLOAT, [3, 2, 2]), {}, {"s": [3, 2, 2]}),
    ("Expand", {X: (FLOAT, [3, 1]), "s": (INT64, [1])}, (FLOAT, ["a", "b"]), {}, {"s": [1]}),
    ("Tile", {X: (FLOAT, [2, 3]), "r": (INT64, [2])}, (FLOAT, [4, 9]), {}, {"r": [2, 3]}),
    ("AffineGrid", {X: (FLOAT, [2, 2, 3]), "s": (INT64, [4])}, (FLOAT, [2, 5, 6, 2]), {}, {"s": [2, 1, 5, 6]}),
    (
        "Resize",
        {X: (FLOAT, [1, 1, 4, 6]), "-1": (FLOAT, []), "s": (FLOAT, [4])},
        (FLOAT, [1, 1, 8, 3]),
        {},
        {"s": [1, 1, 2, 0.5]},
    ),
    (
        "Resize",
        {X: (FLOAT, [1, 1, 4, 6]), "-1": (FLOAT, []), "-2": (FLOAT, []), "s": (INT64, [2])},
        (FLOAT, [1, 1, 7, 3]),
        {"axes": [2, 3]},
        {"s": [7, 3]},
    ),
    (
        "Resize",  # 7 / 6 in float32, times 6, is below 7
        {X: (FLOAT, [1, 1, 4, 6]), "-1": (FLOAT, []), "s": (FLOAT, [4])},
        (FLOAT, [1, 1, 4, 7]),
        {},
        {"s": [1, 1, 1, 1.25]},
    ),
    ("Unsqueeze", {X: (FLOAT, [3, 4]), "a": (INT64, [2])}, (FLOAT, [3, 1, 4, 1]), {}, {"a": [1, 3]}),
    ("Squeeze", {X: (FLOAT, [3, 1, 4, 1]), "a": (INT64, [1])}, (FLOAT, [3, 4, 1]), {}, {"a": [1]}),
    ("ReduceSum", {X: (FLOAT, [3, 2, 2]), "a": (INT64, [1])}, (FLOAT, [3, 1, 2]), {}, {"a": [1]}),
    ("ReduceMax", {X: (FLOAT, [3, 2, 4]), "a": (INT64, [2])}, (FLOAT, [2]), {"keepdims": 0}, {"a": [0, 2]}),
    ("ReduceMean", {X: (FLOAT, [3, 2, 4]), "a": (INT64, [0])}, (FLOAT, [1, 1, 1]), {}, {"a": []}),
    ("CumSum", {X: (FLOAT, [3, 4]), "a": (INT32, [])}, (FLOAT, [3, 4]), {}, {"a": [1]}),
    (
        "Slice",
        {X: (FLOAT, [8, 4]), "s": (INT64, [1]), "e": (INT64, [1]), "a": (INT64, [1]), "t": (INT64, [1])},
        (FLOAT, [8, 2]),
        {},
        {"s": [1], "e": [3], "a": [1], "t": [1]},
    ),
    ("Pad", {X: (FLOAT, [2, 3]), "p": (INT64, [4])}, (FLOAT, [2, 6]), {}, {"p": [0, 1, 0, 2]}),
    ("TopK", {X: (FLOAT, [2, 5]), "k": (INT64, [1])}, (FLOAT, [2, 3]), {}, {"k": [3]}),
    ("Range", {"s": (INT32, []), "l": (INT32, []), "d": (INT32, [])}, (INT32, [4]), {}, {"s": [1], "l": [9], "d": [2]}),
    (
        "STFT",
        {X: (FLOAT, [1, 32, 1]), "p": (INT64, []), "-1": (FLOAT, []), "l": (INT64, [])},
        (FLOAT, [1, 5, 9, 2]),
        {},
        {"p": [4], "l": [16]},
    ),
    ("DFT", {X: (FLOAT, [1, 8, 1]), "l": (INT64, [])}, (FLOAT, [1, 12, 2]), {}, {"l": [12]}),
    (
        "Col2Im",
        {X: (FLOAT, [1, 5, 5]), "i": (INT64, [2]), "b": (INT64, [2])},
        (FLOAT, [1, 1, 5, 5]),
        {},
        {"i": [5, 5], "b": [1, 5]},
    ),
    (  # 10 billion pairs of sizes; one in a hundred million has the right product
        "Col2Im",
        {X: (FLOAT, [1, 100_000, 9]), "i": (INT64, [2]), "b": (INT64, [2])},
        (FLOAT, [1, 1, 252, 402]),
        {},
        {"i": [252, 402], "b": [250, 400]},
    ),
    (
        "Col2Im",
        {X: (FLOAT, [1, 4, 9]), "i": (INT64, [2]), "b": (INT64, [2])},
        (FLOAT, [1, 1, 4, 4]),
        {"pads": [1, 1, 1, 1], "strides": [2, 2]},
        {"i": [4, 4], "b": [2, 2]},
    ),
    ("ScatterND", {X: (FLOAT, [8, 2]), "i": (INT64, [4, 1]), "u": (FLOAT, [4, 2])}, (FLOAT, [8, 2]), {}, {"i": [0, 2, 4, 6]}),
    (
        "ScatterElements",
        {X: (FLOAT, [2, 6]), "i": (INT64, [2, 3]), "u": (FLOAT, [2, 3])},
        (FLOAT, [2, 6]),
        {"axis": 1},
        {"i": [0, 2, 4, 0, 2, 4]},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "inputs", "output", "attributes", "expected"), CASES)
def test_a_value_follows_from_the_shapes_around_the_node(
    operator: str,
    inputs: dict[str, Port],
    output: Port,
    attributes: dict[str, Any],
    expected: dict[str, list[Any]],
    tmp_path: Path,
) -> None:
    path = save(tmp_path / "m.onnx", operator, inputs, output, **attributes) if operator != "TopK" else top_k(tmp_path)
    made = feeds(path)
    for name, value in expected.items():
        assert all(feed[name].ravel().tolist() == value for feed in made)
    types = {value.name: value.dtype for value in read_signature(path).inputs}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (first, *_) = session.run(None, {name: value.astype(types[name]) for name, value in made[0].items()})
    sizes = output[1] or []
    assert all(isinstance(size, str) or size == got for size, got in zip(sizes, np.asarray(first).shape, strict=True))


def top_k(folder: Path, size: int = 5, kept: int | str = 3) -> Path:
    ports = [helper.make_tensor_value_info("x", FLOAT, [2, size]), helper.make_tensor_value_info("k", INT64, [1])]
    outputs = [helper.make_tensor_value_info(name, dtype, [2, kept]) for name, dtype in (("y", FLOAT), ("i", INT64))]
    return small_models.save(folder / "m.onnx", [node("TopK", "x k", "y i")], ports, outputs, {}, opset=20)


@pytest.mark.parametrize(("size", "kept"), [(1, 1), (5, 2)])
def test_top_k_keeps_half_where_the_output_does_not_say(size: int, kept: int, tmp_path: Path) -> None:
    assert [feed["k"].tolist() for feed in feeds(top_k(tmp_path, size, "k"))] == [[kept]] * 2


def find(folder: Path, *nodes: onnx.NodeProto) -> InputRoles:
    """Return the roles of integers `i`, (3,), and floats `x`, (4,); `one` and `three` are constants in nodes."""
    ports = [helper.make_tensor_value_info("x", FLOAT, [4]), helper.make_tensor_value_info("i", INT64, [3])]
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array([value])))
        for name, value in (("one", 1), ("three", 3))
    ]
    model = make_model([*constants, *nodes], ports, [helper.make_tensor_value_info("y", FLOAT, None)], {}, 20)
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return find_roles(path, "onnx")


ARITHMETIC = {
    "added": ([node("Add", "i one", "a"), node("Sub", "a i", "y")], True),
    "moved, then added": ([node("Reshape", "i three", "a"), node("Add", "a one", "y")], True),
    "compared": ([node("Greater", "i one", "a"), node("Compress", "x a", "y")], True),
    "as a float": ([node("Cast", "i", "a", to=FLOAT), node("Exp", "a", "y")], True),
    "an index": ([node("Gather", "x i", "y")], False),
    "an index, after an addition": ([node("Add", "i one", "a"), node("Gather", "x a", "y")], False),
    "an index of another type": ([node("Cast", "i", "a", to=INT32), node("Gather", "x a", "y")], False),
    "a shape, after an addition": ([node("Add", "i one", "a"), node("Reshape", "x a", "y")], False),
    "added, and an index": ([node("Add", "i one", "a"), node("Gather", "x i", "y")], False),
    "of an unknown operator": ([node("Add", "i one", "y", domain="other")], False),
    "not used": ([node("Identity", "x", "y")], False),
}


@pytest.mark.parametrize("case", ARITHMETIC)
def test_integers_that_are_only_calculated_with_are_found(case: str, tmp_path: Path) -> None:
    nodes, expected = ARITHMETIC[case]
    assert find(tmp_path, *nodes).arithmetic == (frozenset({"i"}) if expected else frozenset())


MOVED = {
    "moved": ([node("Reshape", "i three", "a"), node("Cast", "a", "b", to=INT32), node("Gather", "x b", "y")], True),
    "calculated": ([node("Add", "i one", "a"), node("Gather", "x a", "y")], False),
    "the shape of what is moved": ([node("Reshape", "three i", "a"), node("Gather", "x a", "y")], False),
}


@pytest.mark.parametrize("case", MOVED)
def test_an_index_may_be_reshaped_and_cast_first(case: str, tmp_path: Path) -> None:
    nodes, expected = MOVED[case]
    uses = find(tmp_path, *nodes).uses.get("i", ())
    assert (("Gather", 1) in [(made.op_type, position) for made, position in uses]) is expected


def test_constants_are_those_of_nodes_and_of_initializers(tmp_path: Path) -> None:
    found = find(tmp_path, node("Gather", "x i", "y")).constants
    assert {name: values.tolist() for name, values in found.items()} == {"one": [1], "three": [3]}


@pytest.mark.parametrize(
    ("operator", "inputs", "output", "drawn", "limits"),
    [
        ("Div", {X: (INT32, [40]), "d": (INT32, [40])}, (INT32, [40]), "d", (1, 9)),
        ("Mod", {X: (UINT8, [40]), "d": (UINT8, [40])}, (UINT8, [40]), "d", (1, 9)),
        ("Gather", {X: (FLOAT, [4, 2]), "i": (INT64, [40])}, (FLOAT, [40, 2]), "i", (0, 3)),
        ("GatherND", {X: (FLOAT, [4, 2]), "i": (INT64, [40, 2])}, (FLOAT, [40]), "i", (0, 1)),
        ("NegativeLogLikelihoodLoss", {X: (FLOAT, [40, 3]), "t": (INT64, [40])}, (FLOAT, []), "t", (0, 2)),
    ],
)
def test_indices_and_divisors_are_drawn_from_all_that_are_valid(
    operator: str, inputs: dict[str, Port], output: Port, drawn: str, limits: tuple[int, int], tmp_path: Path
) -> None:
    made = [feed[drawn] for feed in feeds(save(tmp_path / "m.onnx", operator, inputs, output))]
    ends = min(int(values.min()) for values in made), max(int(values.max()) for values in made)
    assert limits[0] <= ends[0]
    assert ends[1] == limits[1]


@pytest.mark.parametrize(("rank", "expected"), [(3, (1, 1, 1)), (62, (1,) * 62), (63, None), (3000, None)])
def test_an_image_of_more_axes_than_arrays_have_has_no_block(rank: int, expected: tuple[int, ...] | None) -> None:
    shapes = {X: (1, 1, 1), "y": (1,) * (rank + 2)}
    assert block_shape(InputUse(node("Col2Im", "x i b", "y"), 2, "int64", rank, shapes, {})) == expected


def test_scales_of_quantised_numbers_are_positive(tmp_path: Path) -> None:
    inputs: dict[str, Port] = {X: (FLOAT, [40]), "s": (FLOAT, [])}
    made = feeds(save(tmp_path / "m.onnx", "QuantizeLinear", inputs, (UINT8, [40])))
    assert len({feed["s"].item() for feed in made}) > 1
    assert all(0 < feed["s"].item() < 1 for feed in made)


def test_the_report_states_the_value_and_the_operator(tmp_path: Path) -> None:
    inputs: dict[str, Port] = {X: (FLOAT, [2, 6]), "s": (INT64, [2]), "d": (INT64, [3, 4])}
    outputs: dict[str, Port] = {"y": (FLOAT, [3, 4]), "m": (INT64, [3, 4])}
    ports = [[helper.make_tensor_value_info(name, *port) for name, port in side.items()] for side in (inputs, outputs)]
    nodes = [node("Reshape", "x s", "y"), node("Mod", "c d", "m")]
    constants = {"c": np.arange(12).reshape(3, 4)}
    path = small_models.save(tmp_path / "m.onnx", nodes, ports[0], ports[1], constants, opset=20)
    (report,) = verify_parity([path], ParityOptions(against=path, input_types=("random",)))
    assert report.passed
    assert "s int64 (2): [3, 4], for Reshape" in " ".join(report.notes)
    assert "d int64 (3, 4): integers 1..9, for Mod" in " ".join(report.notes)


def test_the_user_s_value_and_constants_decide_the_others(tmp_path: Path) -> None:
    inputs: dict[str, Port] = {
        X: (FLOAT, [8, 4]), "s": (INT64, [1]), "e": (INT64, [1]), "a": (INT64, [1])
    }  # fmt: skip
    path = save(tmp_path / "m.onnx", "Slice", inputs, (FLOAT, ["n", "m"]))
    np.save(tmp_path / "a.npy", np.array([1]))
    np.save(tmp_path / "s.npy", np.array([2]))
    (made, *_) = feeds(path, InputOptions(feeds={"a": tmp_path / "a.npy", "s": tmp_path / "s.npy"}))
    assert (made["a"], made["s"], made["e"]) == ([1], [2], [4])
    (made, *_) = feeds(path, InputOptions(feeds={"e": ValueRange(7, 7)}))
    assert made["e"] == [7]


def test_a_constant_inside_a_subgraph_is_none_of_the_graph(tmp_path: Path) -> None:
    results = [helper.make_tensor_value_info("o", INT64, None)]
    inner = helper.make_graph(
        [node("Identity", "k", "o")], "g", [], results, [helper.make_tensor("k", INT64, [1], [7])]
    )
    nodes = [
        helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner),
        node("Identity", "s", "k"),
        node("Reshape", "x s", "r"),
        node("Sum", "r z k", "y"),
    ]
    inputs = [helper.make_tensor_value_info("x", INT64, [6]), helper.make_tensor_value_info("s", INT64, [1])]
    outputs = [helper.make_tensor_value_info("y", INT64, [6])]
    onnx.save(make_model(nodes, inputs, outputs, {"c": np.array(True)}, 18), tmp_path / "m.onnx")
    roles = find_roles(tmp_path / "m.onnx", "onnx")
    assert {*roles.constants} == {"c"}
