"""Hostile ONNX files, for each command that opens one."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from hostile.case import INSPECT, Case
from hostile.wire import (
    IN_OUT,
    external,
    message,
    nested,
    nested_subgraphs,
    number,
    onnx,
    onnx_node,
    onnx_tensor,
    onnx_value,
)


def cases() -> Iterator[Case]:
    """Yield all of them."""
    models: dict[str, Callable[[], bytes]] = {
        "nodes": lambda: onnx(message(1, b"") * 10_000_000 + IN_OUT),
        "nodes-5m": lambda: onnx(message(1, onnx_node()) * 1_500_000 + IN_OUT),
        "attributes": lambda: onnx(message(1, onnx_node(extra=message(5, b"") * 10_000_000)) + IN_OUT),
        "inputs-of-node": lambda: onnx(message(1, onnx_node(extra=message(1, b"") * 10_000_000)) + IN_OUT),
        "functions": lambda: onnx(message(1, onnx_node()) + IN_OUT, message(25, b"") * 10_000_000),
        "opsets": lambda: onnx(message(1, onnx_node()) + IN_OUT, message(8, b"") * 10_000_000),
        "metadata": lambda: onnx(message(1, onnx_node()) + IN_OUT, message(14, b"") * 10_000_000),
        "initializers": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(5, b"") * 10_000_000),
        "initializers-20k": lambda: onnx(
            message(1, onnx_node()) + IN_OUT + b"".join(message(5, onnx_tensor([1], b"w%d" % n)) for n in range(20_000))
        ),
        "graphs": lambda: onnx(message(1, onnx_node()) + IN_OUT, message(7, b"") * 10_000_000),
        "values": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(13, b"") * 10_000_000),
        "dims": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(5, onnx_tensor([(1 << 63) - 1] * 1_000_000))),
        "dims-of-input": lambda: onnx(message(1, onnx_node()) + message(11, onnx_value(b"x", [1] * 5_000_000)) + message(12, onnx_value(b"y", [1]))),
        "shape-overflow": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(5, onnx_tensor([1 << 32, 1 << 32]))),
        "shape-negative": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(5, onnx_tensor([-4, -4]))),
        "shape-claims": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(5, onnx_tensor([1 << 40]))),
        "nested-graphs": lambda: onnx(message(1, onnx_node(b"If", nested_subgraphs(50_000))) + IN_OUT),
        "nested-90": lambda: onnx(message(1, onnx_node(b"If", nested_subgraphs(30))) + IN_OUT),
        "nested-types": lambda: onnx(message(1, onnx_node()) + message(11, message(1, b"x") + message(2, nested(4, 100_000)))),
        "external-pb": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(5, onnx_tensor([1 << 48], extra=external(location="w.bin", length=1 << 50), data=b""))),
        "external-negative": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(5, onnx_tensor([4], extra=external(location="w.bin", offset=-4, length=-16), data=b""))),
        "external-huge-number": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(5, onnx_tensor([4], extra=external(location="w.bin", offset="9" * 1_000_000), data=b""))),
        "external-parent": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(5, onnx_tensor([4], extra=external(location="../w.bin"), data=b""))),
        "external-proc": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(5, onnx_tensor([4], extra=external(location="/proc/self/mem"), data=b""))),
        "external-many": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(5, onnx_tensor([4], extra=message(13, b"") * 5_000_000, data=b""))),
        "group": lambda: onnx(message(1, onnx_node()) + IN_OUT) + b"\x1b" * 100_000,
        "string-data": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(5, number(1, 1) + number(2, 8) + message(8, b"w") + message(6, b"") * 10_000_000)),
        "float-data": lambda: onnx(message(1, onnx_node()) + IN_OUT + message(5, number(1, 10_000_000) + number(2, 1) + message(8, b"w") + b"\x25\0\0\0\0" * 10_000_000)),
        "ints": lambda: onnx(message(1, onnx_node(extra=message(5, message(1, b"axes") + number(20, 7) + number(8, 0) * 20_000_000))) + IN_OUT),
        "constant-of-shape": lambda: onnx(message(5, number(1, 4) + number(2, 7) + message(8, b"s") + message(9, struct.pack("<4q", 1 << 20, 1 << 20, 4, 4))) + message(1, message(1, b"s") + message(2, b"y") + message(4, b"ConstantOfShape")) + IN_OUT),
        "expand": lambda: onnx(message(5, number(1, 2) + number(2, 7) + message(8, b"s") + message(9, struct.pack("<2q", 1 << 20, 1 << 24))) + message(1, message(1, b"x1") + message(1, b"s") + message(2, b"y") + message(4, b"Expand")) + message(5, onnx_tensor([1], b"x1")) + IN_OUT),
        "manifest-deep": lambda: onnx(message(1, onnx_node()) + IN_OUT, message(14, message(1, b"c3d_export") + message(2, b"[" * 3_000_000))),
    }  # fmt: skip
    run = (3, 5, 1)
    for name, write in models.items():
        may_run = name in ("constant-of-shape", "expand", "nested-90", "manifest-deep", "group", "float-data")

        def make(path: Path, write: Callable[[], bytes] = write) -> None:
            path.write_bytes(write())

        seen = name in (
            "shape-overflow",
            "shape-negative",
            "shape-claims",
            "float-data",
            "inputs-of-node",
            "ints",
            "string-data",
        )
        shown = (
            may_run
            or seen
            or name.startswith("external")
            or name in ("initializers-20k", "dims", "nested-90", "nested-graphs", "nested-types")
        )
        yield Case(f"{name}.onnx", make, INSPECT, (0, 3) if shown else (3,))
        codes = (0, *run) if may_run or name == "initializers-20k" else (3,)  # it is valid, and large only
        if not may_run and name not in ("inputs-of-node", "ints", "string-data"):
            yield Case(f"{name}.w.onnx", make, ("c3d-export", "convert", "{}", "-o", "{folder}/out.safetensors"), (3,))
        yield Case(f"{name}.p.onnx", make, ("verify", "parity", "{}", "--against", "{}", "--inputs", "quick"), codes)
        yield Case(f"{name}.o.onnx", make, ("c3d-export", "optimize", "{}", "-o", "{folder}/out.onnx"), codes)
