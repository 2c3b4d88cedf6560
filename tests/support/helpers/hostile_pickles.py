"""Pickles that try to run code, each of a family (what is called), a form (by which opcodes) and a place in the file."""

import struct
from collections.abc import Callable, Iterator
from typing import Any

MARKER = "canary"
"""Part of every argument: no file of such a name may ever be opened or made."""

TARGETS: list[tuple[str, str, tuple[str, ...]]] = [
    ("os", "system", (f"touch {MARKER}",)),
    ("posix", "system", (f"touch {MARKER}",)),
    ("nt", "system", (f"echo > {MARKER}",)),
    ("os", "popen", (f"touch {MARKER}",)),
    ("os", "remove", (MARKER,)),
    ("subprocess", "Popen", (f"touch {MARKER}",)),
    ("subprocess", "check_output", (f"touch {MARKER}",)),
    ("builtins", "eval", (f"open('{MARKER}', 'w')",)),
    ("__builtin__", "eval", (f"open('{MARKER}', 'w')",)),
    ("builtins", "exec", (f"open('{MARKER}', 'w')",)),
    ("builtins", "compile", (f"open('{MARKER}')", MARKER, "exec")),
    ("builtins", "open", (MARKER, "w")),
    ("builtins", "__import__", (MARKER,)),
    ("builtins", "getattr", (MARKER, "upper")),
    ("importlib", "import_module", (MARKER,)),
    ("runpy", "run_path", (MARKER,)),
    ("pty", "spawn", (f"touch {MARKER}",)),
    ("shutil", "rmtree", (MARKER,)),
    ("socket", "create_connection", (MARKER,)),
    ("urllib.request", "urlopen", (f"http://{MARKER}.invalid",)),
    ("webbrowser", "open", (f"http://{MARKER}.invalid",)),
    ("ctypes", "CDLL", (MARKER,)),
    ("pickle", "loads", (MARKER,)),
    ("torch", "load", (MARKER,)),
    ("torch.hub", "load", (MARKER, MARKER)),
    ("torch.jit", "load", (MARKER,)),
    ("torch.serialization", "load", (MARKER,)),
    ("torch.storage", "_load_from_bytes", (MARKER,)),
    ("torch._utils", "_import_dotted_name", (MARKER,)),
    ("torch.utils.cpp_extension", "load", (MARKER, MARKER)),
    ("numpy", "load", (MARKER,)),
    ("numpy", "fromfile", (MARKER,)),
    ("numpy", "memmap", (MARKER,)),
    ("numpy.core.multiarray", "_reconstruct", (MARKER,)),
    ("collections", "OrderedDict", (MARKER,)),
    ("_codecs", "encode", (MARKER, MARKER)),
    ("codecs", "open", (MARKER,)),
    ("io", "FileIO", (MARKER, "w")),
    ("pathlib", "Path.touch", (MARKER,)),
    ("operator", "methodcaller", (MARKER,)),
    ("functools", "partial", (MARKER,)),
    (MARKER, MARKER, (MARKER,)),
]
"""(module, name, arguments)."""


class Runs:
    """Calls what it is given when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def short_text(value: str) -> bytes:
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def line(value: str) -> bytes:
    return b"S'" + value.encode().replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'\n"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def arguments(values: tuple[str, ...], write: Callable[[str], bytes] = text) -> bytes:
    return b"(" + b"".join(map(write, values)) + b"t"


Target = tuple[str, str, tuple[str, ...]]

FORMS: dict[str, Callable[[Target], bytes]] = {
    "REDUCE of protocol 0": lambda t: named(*t[:2]) + arguments(t[2], line) + b"R",
    "REDUCE of protocol 2": lambda t: b"\x80\x02" + named(*t[:2]) + arguments(t[2]) + b"R",
    "STACK_GLOBAL": lambda t: b"\x80\x04" + short_text(t[0]) + short_text(t[1]) + b"\x93" + arguments(t[2]) + b"R",
    "STACK_GLOBAL, dotted": lambda t: (
        b"\x80\x04" + short_text(t[0].partition(".")[0]) + short_text(f"{t[0]}.{t[1]}") + b"\x93" + arguments(t[2]) + b"R"
    ),
    "STACK_GLOBAL from the memo": lambda t: (
        b"\x80\x05" + text(t[1]) + b"\x94" + text(t[0]) + b"\x94" + b"h\x01h\x00\x93" + arguments(t[2]) + b"R"
    ),
    "NEWOBJ": lambda t: b"\x80\x02" + named(*t[:2]) + arguments(t[2]) + b"\x81",
    "NEWOBJ_EX": lambda t: b"\x80\x04" + named(*t[:2]) + arguments(t[2]) + b"}" + text("shell") + b"\x88s\x92",
    "INST": lambda t: b"(" + b"".join(map(line, t[2])) + f"i{t[0]}\n{t[1]}\n".encode(),
    "OBJ": lambda t: b"(" + named(*t[:2]) + b"".join(map(text, t[2])) + b"o",
    "copyreg.__newobj__": lambda t: named("copyreg", "__newobj__") + b"(" + named(*t[:2]) + b"".join(map(text, t[2])) + b"tR",
    "copyreg._reconstructor": lambda t: (
        named("copyreg", "_reconstructor") + b"(" + named(*t[:2]) + named("builtins", "object") + b"NtR"
    ),
    "BUILD of a placeholder": lambda t: (
        named("a", "B") + b")R}" + text("__setstate__") + named(*t[:2]) + b"sb(" + b"".join(map(text, t[2])) + b"tb"
    ),
    "rebuilt from a type": lambda t: (
        named("torch._tensor", "_rebuild_from_type_v2") + b"(" + named(*t[:2]) + named("torch", "Tensor")
        + arguments(t[2]) + b"}tR"
    ),
    "a call of a call": lambda t: named("builtins", "getattr") + b"(" + named(*t[:2]) + text("__call__") + b"tR" + arguments(t[2]) + b"R",
    "partial": lambda t: (
        named("functools", "partial") + b"(" + named(*t[:2]) + b"tR(" + named(*t[:2]) + arguments(t[2]) + b"}NtbR"[:-1] + b")R"
    ),
    "map": lambda t: named("builtins", "map") + b"(" + named(*t[:2]) + b"]" + text(MARKER) + b"a" + b"tR",
    "a factory of defaultdict": lambda t: named("collections", "defaultdict") + b"(" + named(*t[:2]) + b"tR",
    "a persistent id": lambda t: named(*t[:2]) + arguments(t[2]) + b"RQ",
    "a dtype": lambda t: named("numpy", "dtype") + b"(" + named(*t[:2]) + arguments(t[2]) + b"R" + b"K\x00K\x01tR",
}  # fmt: skip
"""{form: what is pushed}."""

PLACES: dict[str, Callable[[bytes], bytes]] = {
    "the value": lambda pushed: pushed + b".",
    "beside a weight": lambda pushed: b"}" + text("w") + b"K\x01s" + text("x") + pushed + b"s.",
    "dropped": lambda pushed: pushed + b"0" + b"}.",
    "a key": lambda pushed: b"}" + pushed + b"Ns.",
}
"""{place: the pickle with what is pushed there}."""


def hostile_pickles() -> Iterator[tuple[str, bytes]]:
    """Yield (description, pickle) of every target, form and place."""
    for target in TARGETS:
        for form, push in FORMS.items():
            for place, put in PLACES.items():
                yield f"{target[0]}.{target[1]}, {form}, {place}", put(push(target))
