"""ONNX files that are damaged or make no sense, through inspect, verify parity and optimize."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from reliability_cases.base import Row, Run
from reliability_cases.forked import COMMAND_SECONDS, import_commands, run_cases, run_command

TIMEOUT = "20"
OPERATORS = (
    "Add",
    "Loop",
    "If",
    "Reshape",
    "Expand",
    "Tile",
    "Resize",
    "Gather",
    "Conv",
    "MaxPool",
    "RandomNormal",
    "Nope",
)
NUMBERS = (-(2**63), -1, 0, 1, 2, 7, 2**31 - 1, 2**31, 2**40, 2**63 - 1)
TEXTS = ("", "x", "\x1b[31m", "../../etc/passwd", "/etc/passwd", "y", "a" * 2000, "\u202e")


def families(run: Run) -> Iterator[Row]:
    """Yield the rows."""
    folder = run.folder / "onnx"
    folder.mkdir()
    _write_model(folder / "whole.onnx")
    import_commands()
    original = (folder / "whole.onnx").read_bytes()
    row = Row(
        "no ONNX file ends a command by a signal, a hang, a traceback or exit 70",
        "inspect, verify parity and optimize of models with changed bytes, fields, operators, shapes, references",
    )
    total = run.choose(8, 150)
    yield run_cases(row, 3 * total, lambda number: _try_model(folder, original, number), seconds=COMMAND_SECONDS)


def _write_model(path: Path) -> None:
    generator = np.random.default_rng(0)
    weights = {
        "w": generator.standard_normal((4, 3, 3, 3, 3)),
        "b": generator.standard_normal(4),
        "fc": generator.standard_normal((4 * 2 * 4 * 4, 5)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1] * 6, kernel_shape=[3, 3, 3]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("MaxPool", ["r"], ["p"], "pool", kernel_shape=[2, 2, 2], strides=[2, 2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "fc"], ["y"], "fc"),
    ]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 4, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], tensors), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    onnx.save(model, str(path))


def _try_model(folder: Path, original: bytes, number: int) -> tuple[str, str]:
    generator = random.Random(number // 3)
    place = folder / str(os.getpid())
    place.mkdir(exist_ok=True)
    (place / "m.onnx").write_bytes(_change(original, generator))
    commands = (
        ["c3d-export", "inspect", "m.onnx"],
        ["verify", "parity", "m.onnx", "--against", "m.onnx", "--inputs", "quick", "--timeout", TIMEOUT],
        ["c3d-export", "optimize", "m.onnx", "-o", "out.onnx", "--timeout", TIMEOUT],
    )
    command = commands[number % 3]
    done = run_command(command, place, float(TIMEOUT) + 20)
    (place / "out.onnx").unlink(missing_ok=True)
    what = f"{command[1]}: exit {done.code}"
    return what, f"model {number // 3}, {what}: {'; '.join(done.faults)}: {done.stderr[-200:]!r}" if done.faults else ""


def _change(original: bytes, generator: random.Random) -> bytes:
    if generator.random() < 0.3:
        changed = bytearray(original)
        for _ in range(generator.randrange(1, 4)):
            changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
        return bytes(changed[: generator.choice((len(changed), generator.randrange(1, len(changed))))])
    model = onnx.ModelProto.FromString(original)
    for _ in range(generator.randrange(1, 4)):
        generator.choice(_CHANGES)(model, generator)
    return model.SerializeToString()


def _operator(model: Any, generator: random.Random) -> None:
    generator.choice(model.graph.node).op_type = generator.choice(OPERATORS)


def _attribute(model: Any, generator: random.Random) -> None:
    node = generator.choice(model.graph.node)
    attribute = generator.choice(node.attribute) if node.attribute else node.attribute.add(name="axis", type=2)
    attribute.i = generator.choice(NUMBERS)
    if attribute.ints:
        attribute.ints[generator.randrange(len(attribute.ints))] = generator.choice(NUMBERS)


def _reference(model: Any, generator: random.Random) -> None:
    node = generator.choice(model.graph.node)
    names = generator.choice((node.input, node.output))
    if names:
        names[generator.randrange(len(names))] = generator.choice(("y", "x", "c", "w", "", "nothing"))


def _size(model: Any, generator: random.Random) -> None:
    value = generator.choice((*model.graph.input, *model.graph.output))
    dims = value.type.tensor_type.shape.dim
    if dims:
        generator.choice(dims).dim_value = generator.choice(NUMBERS)


def _element(model: Any, generator: random.Random) -> None:
    value = generator.choice((*model.graph.input, *model.graph.output))
    value.type.tensor_type.elem_type = generator.choice((0, 2, 7, 8, 10, 11, 16, 22, 99))


def _weight(model: Any, generator: random.Random) -> None:
    tensor = generator.choice(model.graph.initializer)
    if generator.random() < 0.5:
        tensor.data_type = generator.choice((0, 2, 7, 8, 10, 11, 16, 99))
    else:
        tensor.dims[generator.randrange(len(tensor.dims))] = generator.choice(NUMBERS)


def _external(model: Any, generator: random.Random) -> None:
    tensor = generator.choice(model.graph.initializer)
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    for key, value in (("location", generator.choice(TEXTS)), ("length", str(generator.choice(NUMBERS)))):
        tensor.external_data.add(key=key, value=value)


def _opset(model: Any, generator: random.Random) -> None:
    model.opset_import[0].version = generator.choice((-1, 0, 1, 6, 21, 28, 999, 2**62))
    if generator.random() < 0.5:
        model.opset_import.add(domain=generator.choice(TEXTS), version=generator.choice(NUMBERS))


def _names(model: Any, generator: random.Random) -> None:
    generator.choice(model.graph.node).name = generator.choice(TEXTS)
    model.graph.name = generator.choice(TEXTS)
    model.producer_name = generator.choice(TEXTS)


def _duplicate(model: Any, generator: random.Random) -> None:
    items = generator.choice((model.graph.node, model.graph.initializer, model.graph.input, model.graph.output))
    if items:
        items.add().CopyFrom(generator.choice(items))


def _remove(model: Any, generator: random.Random) -> None:
    items = generator.choice((model.graph.node, model.graph.initializer, model.graph.input, model.graph.output))
    if items:
        del items[generator.randrange(len(items))]


_CHANGES: tuple[Callable[[Any, random.Random], None], ...] = (
    _operator,
    _attribute,
    _reference,
    _size,
    _element,
    _weight,
    _external,
    _opset,
    _names,
    _duplicate,
    _remove,
)
