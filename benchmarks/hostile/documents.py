"""Hostile manifests, profiles, class names, decisions, baselines, means, and OpenVINO's XML."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from hostile.case import INSPECT, Case, text
from hostile.containers import deep, header, npy
from hostile.wire import IN_OUT, caffe_blob, message, number, onnx, onnx_node

IR = '<?xml version="1.0"?><net name="m" version="11"><layers>{}</layers></net>'
LAYER = '<layer id="0" name="x" type="Parameter" version="opset1"><output><port id="0" precision="FP32"><dim>{}</dim></port></output></layer>'


def cases() -> Iterator[Case]:
    """Yield all of them."""
    yield from json_cases()
    yield from mean_cases()
    yield from ir_cases()


def json_cases() -> Iterator[Case]:
    """Yield JSON, TOML and text."""
    documents: dict[str, Callable[[], bytes]] = {
        "deep": lambda: deep("[", "]", 1_000_000),
        "deep-objects": lambda: deep('{"a":', "}", 1_000_000),
        "deep-format": lambda: b'{"version":2,"format":' + deep("[", "]", 1_000_000) + b"}",
        "infinite": lambda: b'{"version":1e400,"seed":1e400}',
        "digits": lambda: b'{"version":' + b"9" * 1_000_000 + b"}",
        "negative-digits": lambda: b'{"version":-' + b"9" * 1_000_000 + b"}",
        "fraction": lambda: b'{"version":0.' + b"9" * 3_000_000 + b"}",
        "twice": lambda: b'{"version":2,"version":2}',
        "large": lambda: b"[" + b"1," * 20_000_000 + b"1]",
        "strings": lambda: b'{"version":2,"a":["' + b'","' * 3_000_000 + b'"]}',
        "surrogates": lambda: b'{"version":"' + b"\\ud800" * 300_000 + b'"}',
        "list": lambda: b"[]",
        "nan": lambda: b'{"version":NaN}',
    }
    for name, content in documents.items():

        def beside(path: Path, content: Callable[[], bytes] = content) -> None:
            path.write_bytes(onnx(message(1, onnx_node()) + IN_OUT))
            path.with_name(path.name + ".json").write_bytes(content())

        yield Case(f"manifest-{name}.onnx", beside, INSPECT)
        yield Case(f"manifest-{name}.v.onnx", beside, ("verify", "parity", "{}"))
        yield text(
            f"profile-{name}.json",
            content,
            ("c3d-export", "--format", "onnx", "--no-verify", "--preprocess", "{}", "-o", "{folder}/out"),
        )
        yield text(
            f"decisions-{name}.json",
            content,
            ("c3d-export", "optimize", "ok.onnx", "--decisions", "{}", "-o", "{folder}/out.onnx"),
        )
        yield text(
            f"baseline-{name}.json",
            content,
            ("verify", "parity", "ok.onnx", "--against", "ok.onnx", "--baseline", "{}"),
        )
        if name not in ("list", "twice"):
            yield text(
                f"labels-{name}.json",
                content,
                ("c3d-export", "--format", "onnx", "--no-verify", "--labels", "{}", "-o", "{folder}/out"),
            )
    yield text(
        "profile-deep.toml",
        lambda: b"a=" + deep("[", "]", 1_000_000),
        ("c3d-export", "--format", "onnx", "--no-verify", "--preprocess", "{}", "-o", "{folder}/out"),
    )
    yield text(
        "profile-keys.toml",
        lambda: "a" + ".a" * 30_000 + "=1",
        ("c3d-export", "--format", "onnx", "--no-verify", "--preprocess", "{}", "-o", "{folder}/out"),
    )
    for name, content in {
        "long-line": lambda: b"a" * 20_000_000,
        "lines": lambda: b"a\n" * 300_000,
        "zeros": lambda: bytes(100_000),
        "digits": lambda: b"9" * 700_000,
        "spaces": lambda: b"1 " + b" " * 700_000 + b"\n",
    }.items():
        yield text(
            f"labels-{name}.txt",
            content,
            ("c3d-export", "--format", "onnx", "--no-verify", "--labels", "{}", "-o", "{folder}/out"),
            (2, 3),
        )


def mean_cases() -> Iterator[Case]:
    """Yield mean files."""
    mean = (
        "c3d-export",
        "--format",
        "onnx",
        "--no-verify",
        "--preprocess",
        "caffe-sports1m",
        "--mean",
        "{}",
        "-o",
        "{folder}/out",
    )
    yield text("mean-claims.npy", lambda: npy(header("(1099511627776, 1048576)")), mean)
    yield text("mean-axes.npy", lambda: npy(header(f"({'1,' * 3000})")) + bytes(4), mean)
    yield text("mean-dims.binaryproto", lambda: caffe_blob([(1 << 63) - 1] * 1_000_000), mean)
    yield text("mean-fields.binaryproto", lambda: number(1, 1) * 10_000_000, mean)


def ir_cases() -> Iterator[Case]:
    """Yield models of OpenVINO."""
    irs: dict[str, Callable[[], str]] = {
        "bomb": lambda: '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "&a;"}">' for n in range(20)) + "]><net>&a19;</net>",
        "external": lambda: '<?xml version="1.0"?><!DOCTYPE a SYSTEM "file:///etc/passwd"><net/>',
        "deep": lambda: "<net>" * 1_000_000,
        "layers": lambda: IR.format("".join(f'<layer id="{n}"/>' for n in range(800_000))),
        "same-layers": lambda: IR.format('<layer id="0"/>' * 1_000_000),
        "edges": lambda: IR.format(LAYER.format(1)).replace("</net>", "<edges>" + "".join(f'<edge to-layer="{n}"/>' for n in range(500_000)) + "</edges></net>"),
        "ports": lambda: IR.format('<layer id="0" name="x" type="Parameter"><output>' + "".join(f'<port id="{n}"/>' for n in range(700_000)) + "</output></layer>"),
        "dims": lambda: IR.format(LAYER.format("1</dim><dim>" * 1_000_000)),
        "digits": lambda: IR.format(LAYER.format("9" * 1_000_000)),
        "dim-text": lambda: IR.format(LAYER.format("<a/>".join("1" for _ in range(1_000_000)))),
        "attributes": lambda: "<net " + " ".join(f'a{n}=""' for n in range(1_000_000)) + "/>",
        "attribute": lambda: f'<net name="{"a" * 15_000_000}"/>',
        "names": lambda: IR.format('<layer id="0" name="x" type="Parameter"><output><port id="0" names="' + "a," * 5_000_000 + '"/></output></layer>'),
        "shape": lambda: IR.format('<layer id="0" name="x" type="Const"><data element_type="f32" shape="' + "1," * 5_000_000 + '1"/></layer>'),
        "info": lambda: IR.format(LAYER.format(1)).replace("</net>", "<rt_info>" + "".join(f'<a{n} value=""/>' for n in range(700_000)) + "</rt_info></net>"),
        "utf16": lambda: IR.format(LAYER.format(1)).replace('version="1.0"', 'version="1.0" encoding="UTF-16"'),
    }  # fmt: skip
    for name, ir in irs.items():
        read = name in ("names", "shape")  # only the weights are missing: described, and not run
        yield text(f"ir-{name}.xml", ir, INSPECT, (0,) if read else (3,))
        yield text(f"ir-{name}.v.xml", ir, ("verify", "parity", "{}", "--against", "ok.onnx"))
