"""Names from untrusted files in what is printed: none may move the cursor, forge a line, or break JSON."""

from __future__ import annotations

import json
import os
import pickle
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from helpers.hostile_files import FORGED, save_onnx, torch_zip
from helpers.manifests import MANIFEST
from onnx import helper
from safetensors.numpy import save_file

from exporter.artifacts.files import file_entry
from reliability_cases.base import Row, Run
from reliability_cases.forked import COMMAND_SECONDS, Done, import_commands, run_cases, run_command

NAMES = (
    FORGED,
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\r\nError: no\x08\x08",
    "\u202egnp.exe\u202c",
    "\u2066x\u2069",
    "a\u2028b\u2029c\x85d",
    "-rf",
    "$(touch canary)`touch canary`",
    "\x7f\x00",
    "n" * 70_000,
    "e\u0301" * 300,
    "[red]x[/red]",
)
"""Tensors, nodes, domains and files are called so."""


def families(run: Run) -> Iterator[Row]:
    """Yield the rows."""
    folder = run.folder / "names"
    folder.mkdir()
    import_commands()
    cases = [(writer, name, command) for writer in _WRITERS for name in NAMES for command in _COMMANDS]
    if not run.long:
        cases = cases[:: len(cases) // 24]
    row = Row(
        "no name in a file moves the cursor, forges a line, breaks JSON or a line of 500 characters",
        f"{len(NAMES)} names in {', '.join(_WRITERS)}; inspect, with --json, verify parity and optimize",
    )
    yield run_cases(row, len(cases), lambda number: _try_name(folder, *cases[number]), seconds=COMMAND_SECONDS)


def _try_name(folder: Path, writer: str, name: str, command: str) -> tuple[str, str]:
    place = folder / str(os.getpid())
    place.mkdir(exist_ok=True)
    for path in place.iterdir():
        path.unlink()
    file = _WRITERS[writer](place, name)
    if file is None:
        return "no such file on this system", ""
    arguments = [argument.replace("FILE", file) for argument in _COMMANDS[command]]
    done = run_command(arguments, place)
    faults = [*done.faults, *_forgeries(done)]
    if "--json" in arguments and done.code in (0, 1, 3, 4, 5):
        faults += _json_faults(done.stdout)
    if (place / "canary").exists():
        faults.append("a shell ran")
    failure = f"{command} of {name[:20]!r} in {writer}: {'; '.join(faults)}: {(done.stderr or done.stdout)[-120:]!r}"
    return f"exit {done.code}", failure if faults else ""


def _forgeries(done: Done) -> list[str]:
    found: list[str] = []
    for where, content in (("stdout", done.stdout), ("stderr", done.stderr)):
        try:
            text = content.decode()
        except UnicodeDecodeError:
            found.append(f"{where} is no UTF-8")
            continue
        bad = {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp")} - {"\n", "\t"}
        if bad:
            found.append(f"{where} holds U+{ord(min(bad)):04X}")
        if any(
            line.startswith(("integrity  the manifest beside", "loads     yes: 22 of 22")) for line in text.splitlines()
        ):
            found.append(f"{where} holds a forged line")
    return found


def _json_faults(content: bytes) -> list[str]:
    try:
        json.loads(content.decode())
    except ValueError as error:
        return [f"stdout is no JSON: {error}"]
    return []


def _safetensors(place: Path, name: str) -> str:
    save_file({name: np.ones(1, np.float32)}, place / "f.safetensors", {"note": name})
    return "f.safetensors"


def _npz(place: Path, name: str) -> str:
    with zipfile.ZipFile(place / "f.npz", "w") as archive, archive.open(f"{name[:60_000]}.npy", "w") as member:
        np.save(member, np.ones(1, np.float32))
    return "f.npz"


def _pickle(place: Path, name: str) -> str:
    torch_zip(place / "f.pth", pickle.dumps({name: {name: 1}, "state_dict": name}, 2))
    return "f.pth"


def _pickled_class(place: Path, name: str) -> str:
    raw = name.encode()
    text = b"X" + len(raw).to_bytes(4, "little") + raw
    torch_zip(place / "f.pth", b"\x80\x04}" + text + text + text + b"\x93)Rs.")
    return "f.pth"


def _onnx_names(place: Path, name: str) -> str:
    save_onnx(
        place / "f.onnx", [helper.make_node("Neg", ["x"], [name]), helper.make_node("Neg", [name], ["y"], name)], {}
    )
    model = onnx.load(str(place / "f.onnx"))
    model.producer_name = model.producer_version = model.graph.name = model.doc_string = name
    onnx.helper.set_model_props(model, {name: name, "note": name})
    onnx.save(model, str(place / "f.onnx"))
    return "f.onnx"


def _onnx_domain(place: Path, name: str) -> str:
    imports = [helper.make_opsetid(name, 1)]
    node = helper.make_node(name, ["x"], ["y"], name, domain=name)
    save_onnx(place / "f.onnx", [node], {}, opset_imports=imports)
    return "f.onnx"


def _manifest(place: Path, name: str) -> str:
    save_onnx(place / "f.onnx", [helper.make_node("Neg", ["x"], ["y"])], {})
    manifest = replace(MANIFEST, producer=name, name=name, versions={name: name}, files=(file_entry(place / "f.onnx"),))
    (place / "f.onnx.json").write_text(manifest.to_json())
    return "f.onnx"


def _file_name(place: Path, name: str) -> str | None:
    path = f"{name[:100]}.onnx"
    try:
        save_onnx(place / path, [helper.make_node("Neg", ["x"], ["y"])], {})
    except (OSError, ValueError):
        return None
    return f"./{path}"


_WRITERS: dict[str, Callable[[Path, str], str | None]] = {
    "safetensors": _safetensors,
    "npz": _npz,
    "pickle": _pickle,
    "classes of a pickle": _pickled_class,
    "ONNX": _onnx_names,
    "domains of ONNX": _onnx_domain,
    "manifests": _manifest,
    "file names": _file_name,
}
_COMMANDS = {
    "inspect": ("c3d-export", "inspect", "FILE"),
    "inspect --json": ("c3d-export", "inspect", "FILE", "--json"),
    "verify parity": ("verify", "parity", "FILE", "--against", "FILE", "--inputs", "quick"),
    "verify parity --json": ("verify", "parity", "FILE", "--against", "FILE", "--inputs", "quick", "--json"),
    "optimize": ("c3d-export", "optimize", "FILE", "-o", "out.onnx"),
}
