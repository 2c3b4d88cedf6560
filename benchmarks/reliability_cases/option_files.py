"""Files that options name, each of every wrong kind: keys, decisions, baselines, arrays, profiles, lists, caches."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from helpers.signing_keys import write_key
from helpers.small_video_model import PROFILE, make_small_video_model
from helpers.videos import moving, write_video
from numpy.typing import NDArray

from reliability_cases.base import Row, Run
from reliability_cases.forked import HEADROOM, Done, import_commands, run_cases, run_command

SECONDS = 20.0
"""Processor time of a command; those that load a model before they read the file take most of it."""

KNOWN = ("--preprocess", PROFILE)
PREDICT = ("c3d-export", "predict", "c3d.onnx", "clip.gif")
FEATURES = ("c3d-export", "features", "c3d.onnx", "clip.gif", *KNOWN, "-o")
PARITY = ("verify", "parity", "c3d.onnx", "--against", "plain.onnx", "--inputs", "zeros")
EXPORT = ("c3d-export", "--format", "onnx", "--no-verify", "-o", "out", "--weights", "c3d.onnx")
COMMANDS: dict[str, tuple[str, ...]] = {
    "manifest, inspect": ("c3d-export", "inspect", "c3d.onnx"),
    "manifest, verify parity": ("verify", "parity", "c3d.onnx"),
    "manifest, predict": (*PREDICT, *KNOWN),
    "manifest, sign": ("c3d-export", "sign", "c3d.onnx", "--sign-key", "sign.key"),
    "--sign-key": ("c3d-export", "sign", "c3d.onnx", "--sign-key", "FILE"),
    "--verify-key": ("c3d-export", "inspect", "c3d.onnx", "--verify-key", "FILE"),
    "--decisions": ("c3d-export", "optimize", "c3d.onnx", "--decisions", "FILE", "-o", "out.onnx"),
    "--baseline": (*PARITY, "--baseline", "FILE"),
    "--feed": (*PARITY, "--feed", "clip=FILE"),
    "--array": (*PARITY, "--array", "FILE"),
    "--labels": (*PREDICT, *KNOWN, "--labels", "FILE"),
    "--preprocess": (*PREDICT, "--preprocess", "FILE"),
    "--mean": (*PREDICT, "--preprocess", "caffe-sports1m", "--mean", "FILE"),
    "--key-map": (*EXPORT, "--key-map", "FILE"),
    "list of videos": ("c3d-export", "predict", "c3d.onnx", "FILE", *KNOWN),
    "features.json": (*FEATURES, "features"),
    "features, a video's record": (*FEATURES, "features"),
    "features, a Parquet file": (*FEATURES, "parquet", "--format", "parquet"),
    "config.pbtxt": ("c3d-export", "triton", "c3d.onnx", "-o", "repository"),
    "cached golden outputs": (*PARITY, "--cache", "cache"),
}
"""What is read, and a command that reads it."""


def families(run: Run) -> Iterator[Row]:
    """Yield the rows."""
    folder = run.folder / "option-files"
    make_small_video_model(folder)
    shutil.copyfile(folder / "c3d.onnx", folder / "plain.onnx")
    write_key(folder, "sign")
    write_video(folder / "clip.gif", moving(18), "gif", "rgb8")
    import_commands()
    for command in ("features, a Parquet file", "features.json", "config.pbtxt", "cached golden outputs"):
        done = run_command(list(COMMANDS[command]), folder)  # its output is what the next run finds
        if done.code:
            raise RuntimeError(f"{command}: exit {done.code}: {done.stderr.decode()[-300:]}")
    cases = [(command, kind) for command in COMMANDS for kind in KINDS]
    if not run.long:
        cases = cases[:: len(cases) // 40]
    row = Row(
        "a file that an option names, or an earlier run left, is refused or used: no hang, traceback or exit 70",
        f"{', '.join(COMMANDS)}; {len(KINDS)} kinds of content; twice the file and 512 MiB",
    )
    base = run_command(["c3d-export", "predict", "c3d.onnx", "clip.gif", "--preprocess", PROFILE], folder).peak
    yield run_cases(
        row, len(cases), lambda number: try_case(folder, *cases[number], base), seconds=SECONDS, own_memory=False
    )


def try_case(folder: Path, command: str, kind: str, base: int = 0) -> tuple[str, str]:
    """Run a command on a file of a kind."""
    place = folder.with_name(f"{folder.name}-{os.getpid()}")
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    file = _find(place, command)
    file.unlink(missing_ok=True)
    KINDS[kind](file)
    size = _size(file)
    done = run_command([word.replace("FILE", file.name) for word in COMMANDS[command]], place)
    faults = [*_faults(done, command), *(["it ran code"] * (place / "canary").exists())]
    if done.code and done.peak > base + HEADROOM + 2 * size:
        faults.append(f"{done.peak - base >> 20} MiB")
    return f"exit {done.code}", f"{command}, {kind}: {'; '.join(faults)}: {done.stderr[-200:]!r}" if faults else ""


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:  # a link to itself
        return 0


def _faults(done: Done, command: str) -> list[str]:
    listed = command in ("list of videos", "features, a video's record", "features, a Parquet file")
    return [fault for fault in done.faults if not (listed and done.code == 3 and fault == "0 lines of error")]


def _find(place: Path, command: str) -> Path:
    """Return where the file belongs."""
    names = {"list of videos": "list.txt", "--key-map": "names.txt", "--labels": "names.txt"}
    patterns = {
        "manifest": ("", "c3d.onnx.json"),
        "features.json": ("features", "features.json"),
        "features, a video's record": ("features/.run", "*.json"),
        "features, a Parquet file": ("parquet", "*.parquet"),
        "config.pbtxt": ("repository", "config.pbtxt"),
        "cached golden outputs": ("cache", "*.npz"),
    }
    folder, pattern = patterns.get(command) or patterns.get(command.partition(",")[0]) or ("", "")
    return next((place / folder).rglob(pattern)) if pattern else place / names.get(command, "file")


def _text(content: str | bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 30)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


class _Canary:
    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.run, (["touch", "canary"],)


def _npy(array: NDArray[Any], *, fortran: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asfortranarray(array) if fortran else array, allow_pickle=True)
    return stream.getvalue()


def _header(text: str) -> bytes:
    raw = text.encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(raw)) + raw + bytes(64)


def _npz(**members: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=True, **members)
    return stream.getvalue()


def _pem(kind: str) -> bytes:
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519

    makers: dict[str, Callable[[], Any]] = {
        "rsa": lambda: rsa.generate_private_key(65537, 1024),
        "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
        "dsa": lambda: dsa.generate_private_key(1024),
        "ed448": ed448.Ed448PrivateKey.generate,
        "x25519": x25519.X25519PrivateKey.generate,
    }
    key = makers.get(kind, ed25519.Ed25519PrivateKey.generate)()
    if kind == "public rsa":
        return makers["rsa"]().public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    if kind == "public":
        return key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    encoding = pem.Encoding.DER if kind == "der" else pem.Encoding.PEM
    style = pem.PrivateFormat.OpenSSH if kind == "openssh" else pem.PrivateFormat.PKCS8
    locked = pem.BestAvailableEncryption(b"p") if kind == "encrypted" else pem.NoEncryption()
    return key.private_bytes(encoding, style, locked)


def _key(kind: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(_pem(kind))

    return write


_HEAD = '{{"descr": {}, "fortran_order": False, "shape": {}, }}'
KINDS: dict[str, Callable[[Path], None]] = {
    "empty": _text(""),
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a dangling link": _link("nothing"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device": _link("/dev/zero"),
    "the process's memory": _link("/proc/self/mem"),
    "the kernel's messages": _link("/proc/kmsg"),
    "1 GiB of zeros": _sparse,
    "random bytes": _text(np.random.default_rng(0).bytes(4096)),
    "UTF-16": _text('{"version": 2}'.encode("utf-16")),
    "a byte order mark": _text(b'\xef\xbb\xbf{"version": 2}'),
    "invalid UTF-8": _text(b'{"version": 2, "\xff\xfe": "\xc3\x28"}'),
    "control characters": _text("\x1b]0;t\x07\u202e\u2066\n\x00\r\x9b31m\n"),
    "deep lists": _text("[" * 500_000),
    "deep objects": _text('{"a":' * 200_000),
    "NaN": _text('{"version": NaN}'),
    "digits": _text('{"version": ' + "9" * 500_000 + "}"),
    "a key twice": _text('{"version": 2, "version": 1, "version": 2}'),
    "a list": _text("[1, 2, 3]"),
    "null": _text("null"),
    "a text": _text('"x"'),
    "lines": _text("../../../../etc/passwd\n" * 2_000),
    "a long line": _text("x" * 5_000_000),
    "a pickle": _text(pickle.dumps(_Canary())),
    "npy, objects": _text(_npy(np.array([_Canary()], object))),
    "npy, Fortran order": _text(_npy(np.zeros((1, 3, 16, 112, 112), np.float32), fortran=True)),
    "npy, claims": _text(_header(_HEAD.format("'<f4'", "(1099511627776, 1048576)"))),
    "npy, negative": _text(_header(_HEAD.format("'<f4'", "(-1, 4)"))),
    "npy, product beyond 64 bits": _text(_header(_HEAD.format("'<f4'", "(4294967296, 4294967296, 4294967296)"))),
    "npy, sizes of zero": _text(_header(_HEAD.format("'<f4'", "(0, 9223372036854775807)"))),
    "npy, fields": _text(_header(_HEAD.format("[('a', '<f4'), ('b', '|O')]", "(4,)"))),
    "npy, nested fields": _text(_header(_HEAD.format("[('a', " * 40 + "'<f4'" + ")]" * 40, "(4,)"))),
    "npy, code": _text(_header("__import__('os').system('touch canary')")),
    "npy, version 9": _text(b"\x93NUMPY\x09\0" + bytes(64)),
    "npz, objects": _text(_npz(clip=np.array([_Canary()], object))),
    "npz, other names": _text(_npz(**{"../x": np.zeros(1), "float64/logits": np.zeros(1)})),
    "npz, other shapes": _text(
        _npz(**{"float64/logits": np.zeros(3), "float32/logits": np.zeros((2, 2)), "notes/all": np.array(["a"])})
    ),
    "npz, notes of numbers": _text(
        _npz(**{"float64/logits": np.zeros((1, 5)), "float32/logits": np.zeros((1, 5)), "notes/all": np.array(7)})
    ),
    "a zip archive": _text(b"PK\5\6" + bytes(18)),
    "Parquet's magic": _text(b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1"),
    "protobuf": _text(b"\x0a\xff\xff\xff\xff\x0f" + bytes(64)),
    "a private key": _key("private"),
    "a public key": _key("public"),
    "an RSA key": _key("rsa"),
    "a public RSA key": _key("public rsa"),
    "an EC key": _key("ec"),
    "a DSA key": _key("dsa"),
    "an Ed448 key": _key("ed448"),
    "an X25519 key": _key("x25519"),
    "an encrypted key": _key("encrypted"),
    "an OpenSSH key": _key("openssh"),
    "a key in DER": _key("der"),
    "JSON of everything": _text(
        json.dumps({"version": 2, "name": "x", "files": [], "mean": [1e400], "resize": [1 << 70]})
    ),
}
"""Content by kind."""
