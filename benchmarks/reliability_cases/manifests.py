"""Forged manifests: every field of one with all its fields takes hostile values, and each command reads the result."""

from __future__ import annotations

import json
import os
import random
import shutil
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import onnx
from helpers.signing_keys import write_key
from safetensors.torch import save_file

from exporter.artifacts.files import MANIFEST_SUFFIX, file_entry
from exporter.openvino_ir import MANIFEST_INFO
from exporter.requests import ExportRequest
from exporter.signing import SigningKey
from exporter.types import FormatName, PrecisionOptions
from exporter.workflows.export import export
from models.builder import build
from models.config import MANIFEST_KEY
from models.options import BuildOptions
from reliability_cases.base import Row, Run
from reliability_cases.forked import COMMAND_SECONDS, Done, import_commands, run_cases, run_command

SMALL = BuildOptions(num_classes=5, base_channels=2, feature_dim=8, input_size=(3, 16, 48, 48))
MODELS = ("c3d.onnx", "c3d.xml", "c3d.pt", "c3d.pt2")
ONNX = MODELS[0]
SHORT, LONG = 60, 1_500
"""Cases with the ONNX file, and as many with the others together."""
VALUES: tuple[object, ...] = (
    None,
    True,
    0,
    -1,
    (1 << 63) - 1,
    1 << 80,
    1e308,
    -1e-320,
    "",
    "../../etc/passwd",
    "/etc/passwd",
    "a\nError: no\u202e\x1b[31m",
    "x" * 100_000,
    "9" * 5_000,
    "=1+1",
    [],
    {},
    [[[]]],
    {"": 0},
)
"""What a field is replaced by, or an entry of a list or object is added with."""
OTHER_OPTIONS = ("with_preprocess", "clip_size", "raised_layers", "hint", "batch_profile", "min_snr", "new\u202eoption")
"""Options that other exports write, or none."""
COMMANDS: dict[str, tuple[str, ...]] = {
    "inspect": ("c3d-export", "inspect", "MODEL"),
    "inspect --json": ("c3d-export", "inspect", "MODEL", "--json"),
    "verify parity": ("verify", "parity", "MODEL", "--inputs", "quick", "--trust"),
    "verify integrity": ("verify", "integrity", "MODEL"),
    "predict": ("c3d-export", "predict", "MODEL", "clip.gif", "--json", "--trust"),
    "features": ("c3d-export", "features", "MODEL", "clip.gif", "-o", "features", "--trust"),
    "triton": ("c3d-export", "triton", "MODEL", "-o", "repository"),
    "sign": ("c3d-export", "sign", "MODEL", "--sign-key", "sign.key"),
    "optimize": ("c3d-export", "optimize", "MODEL", "-o", "out.onnx", "--no-verify"),
}
READS_ONLY = ("inspect", "inspect --json", "verify integrity", "sign")
"""The commands that run nothing."""


def families(run: Run) -> Iterator[Row]:
    """Yield the rows."""
    folder = run.folder / "manifests"
    write_artifact(folder)
    import_commands()
    generator = random.Random(11)
    chosen: list[tuple[str, FieldPath, object, str]] = []
    for models in (MODELS[:1], MODELS[1:]):
        cases = [(model, *case) for model in models for case in list_cases(folder, model)]
        chosen += generator.sample(cases, min(run.choose(SHORT, LONG), len(cases)))
    row = Row(
        "no forged manifest ends a command by a signal, a hang, a traceback or exit 70",
        f"each field of one, beside the model and inside it, takes {len(VALUES)} values; "
        f"{', '.join(MODELS)}; {', '.join(COMMANDS)}",
    )
    yield run_cases(row, len(chosen), lambda number: try_case(folder, *chosen[number]), seconds=COMMAND_SECONDS)


def write_artifact(folder: Path) -> None:
    """Export files whose manifests have every field: a precision, a checkpoint, a profile, classes, a signature."""
    folder.mkdir(parents=True)
    network = build(SMALL).network
    save_file(dict(network.state_dict()), folder / "c3d.safetensors")
    private, _ = write_key(folder, "sign")
    names = tuple(f"class {number}" for number in range(5))
    model = replace(
        SMALL,
        weights=folder / "c3d.safetensors",
        labels=names,
        preprocess="jfzhang95",
    )
    request = ExportRequest(("onnx",), model=model, output_dir=folder, precision=PrecisionOptions("fp16"))
    export(replace(request, sign=SigningKey.read(private)))
    others: tuple[FormatName, ...] = ("openvino", "torchscript", "pt2")
    export(replace(request, sign=SigningKey.read(private), formats=others, precision=PrecisionOptions("bf16")))
    _write_gif(folder / "clip.gif")


def _write_gif(path: Path) -> None:
    from helpers.videos import noise, write_video

    write_video(path, noise(16), "gif", "rgb8")


FieldPath = tuple[str | int, ...]


def list_cases(folder: Path, model: str) -> Iterator[tuple[FieldPath, object, str]]:
    """Yield (field, value, command) of every case."""
    content = json.loads((folder / f"{model}{MANIFEST_SUFFIX}").read_bytes())
    for path in (*_paths(content), *(("options", name) for name in OTHER_OPTIONS)):
        for value in VALUES:
            for command in COMMANDS if model == ONNX else [*COMMANDS][:-1]:
                yield path, value, command


def _paths(content: object, path: FieldPath = ()) -> Iterator[FieldPath]:
    """Yield the path of every value in JSON, and of an entry after the last of each list."""
    entries: list[tuple[str | int, object]] = []
    if isinstance(content, dict):
        entries = list(cast("dict[str | int, object]", content).items())
    elif isinstance(content, list):
        values = cast("list[object]", content)
        entries = list(enumerate(values))
        yield (*path, len(values))
    for key, value in entries:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _set(content: Any, path: FieldPath, value: object) -> bool:
    """Replace a value, or append it to a list; return whether there is such a place."""
    for key in path[:-1]:
        if isinstance(content, dict) and key not in content:
            return False
        content = content[key]
    if isinstance(content, list) and path[-1] == len(cast("list[object]", content)):
        cast("list[object]", content).append(value)
    else:
        cast("dict[str | int, object]", content)[path[-1]] = value
    return True


def forge(folder: Path, name: str, path: FieldPath, value: object) -> None:
    """Change a field of the manifest beside the model and of that inside it; the hash of the model fits."""
    model = folder / name

    def change(text: str) -> str:
        inside = json.loads(text)
        return json.dumps(inside) if _set(inside, path, value) else text

    if path[0] not in ("files", "parity", "tensors", "signed"):
        INSIDE[model.suffix](model, change)
    beside = folder / f"{name}{MANIFEST_SUFFIX}"
    content = json.loads(beside.read_bytes())
    about = file_entry(model)
    content["files"][0] |= {"bytes": about.bytes, "sha256": about.sha256}
    _set(content, path, value)
    beside.write_text(json.dumps(content))


def _change_onnx(model: Path, change: Callable[[str], str]) -> None:
    file = onnx.load(str(model))
    entry = next(entry for entry in file.metadata_props if entry.key == MANIFEST_KEY)
    entry.value = change(entry.value)
    onnx.save(file, str(model))


def _change_ir(model: Path, change: Callable[[str], str]) -> None:
    tree = ET.parse(model)
    entry = tree.find(f"rt_info/{'/'.join(MANIFEST_INFO)}")
    assert entry is not None
    text = change(entry.attrib["value"])
    entry.attrib["value"] = "".join(letter for letter in text if letter >= " ")  # XML has no others
    tree.write(model, encoding="utf-8", xml_declaration=True)


def _change_archive(model: Path, change: Callable[[str], str]) -> None:
    with zipfile.ZipFile(model) as archive:
        members = [(member, archive.read(member)) for member in archive.infolist()]
    with zipfile.ZipFile(model, "w", zipfile.ZIP_STORED) as archive:
        for member, content in members:
            is_manifest = member.filename.endswith(f"/extra/{MANIFEST_KEY}")
            archive.writestr(member, change(content.decode()).encode() if is_manifest else content)


INSIDE = {".onnx": _change_onnx, ".xml": _change_ir, ".pt": _change_archive, ".pt2": _change_archive}
"""{suffix: what changes the manifest inside such a file}."""


def try_case(folder: Path, model: str, path: FieldPath, value: object, command: str) -> tuple[str, str]:
    """Run a command on the artifact with one field forged."""
    place = folder.with_name(f"{folder.name}-{os.getpid()}")
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    forge(place, model, path, value)
    before = _content(place)
    done = run_command([word.replace("MODEL", model) for word in COMMANDS[command]], place)
    faults = [*done.faults, *_odd_codes(done, command)]
    if command == "verify integrity" and b"FAIL " in done.stdout:
        faults = [fault for fault in faults if fault != "0 lines of error"]  # the artifact's row says it
    if done.code and command != "features" and _content(place) != before:
        faults.append("the folder is not as it was")
    what = f"{command} of {model} with {'.'.join(map(str, path))} = {str(value)[:30]!r}"
    return (
        f"exit {done.code}",
        f"{what}: {'; '.join(faults)}: {(done.stderr or done.stdout)[-160:]!r}" if faults else "",
    )


def _odd_codes(done: Done, command: str) -> list[str]:
    odd = done.code in (2, 4, 5) and command in READS_ONLY
    slow = done.code == 3 and done.processor > COMMAND_SECONDS / 2
    return [f"exit {done.code}"] * odd + [f"refused after {done.processor:.1f} s"] * slow


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
