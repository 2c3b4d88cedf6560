"""Three thousand pickles that try to run code are refused or read, and nothing happens: an audit hook would see it."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.hostile_pickles import FORMS, MARKER, PLACES, TARGETS, hostile_pickles

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.reader import read_pickle

CANARY = """
import io, os, pickle, sys, zipfile
from helpers.hostile_pickles import MARKER, hostile_pickles
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.reader import read_pickle, read_torch_zip

corpus = list(hostile_pickles())
read_pickle(memoryview(pickle.dumps({"warm": b"up"})))  # what Python itself imports at the first use is here now
seen, modules = [], set(sys.modules)


def watch(event, arguments):
    if event != "builtins.id":  # the reader's own sets of containers that were visited
        seen.append((event, repr(arguments)[:100]))


sys.addaudithook(watch)
outcomes = {"read": 0, "refused": 0}
for description, data in corpus:
    for read in (read_pickle, lambda view: read_torch_zip(view, {}.get, len(view), big_endian=False)):
        try:
            read(memoryview(data))
            outcomes["read"] += 1
        except PickleError as error:
            assert len(str(error)) < 400, description
            outcomes["refused"] += 1
        assert not seen, (description, seen)
assert set(sys.modules) == modules, set(sys.modules) - modules
os.listdir(".")
assert seen, "the hook sees nothing"
print(outcomes["read"], outcomes["refused"])
"""


def test_nothing_is_imported_opened_or_run(tmp_path: Path) -> None:
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-c", CANARY],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{root}:{root / 'tests' / 'support'}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stderr[-2000:]
    read, refused = map(int, done.stdout.split())
    assert read + refused == 2 * len(TARGETS) * len(FORMS) * len(PLACES)
    assert min(read, refused) > 600
    assert not list(tmp_path.iterdir())


def test_pythons_own_unpickler_would_run_them() -> None:
    """The corpus is what it claims: most of it makes Python look up what is called."""
    import pickle

    looked_up: set[tuple[str, str]] = set()

    class Looks(pickle.Unpickler):
        def find_class(self, module_name: str, global_name: str) -> object:
            looked_up.add((module_name, global_name))
            return lambda *_, **__: Stand()

        def persistent_load(self, pid: object) -> object:
            return pid

    import io

    for _, data in hostile_pickles():
        try:
            Looks(io.BytesIO(data)).load()
        except Exception:  # noqa: BLE001 - the stand-ins are no types
            continue
    assert {target[:2] for target in TARGETS} <= looked_up | {("__builtin__", "eval")}


class Stand:
    def __setstate__(self, state: object) -> None: ...

    def __call__(self, *arguments: object) -> "Stand":
        return self


@pytest.mark.parametrize(
    "target", [target for target in TARGETS if target[0] in ("os", "subprocess", "builtins")], ids=str
)
def test_the_hazard_is_named_wherever_it_stands(target: tuple[str, str, tuple[str, ...]]) -> None:
    if target[1] == "getattr":
        return
    for form, push in FORMS.items():
        for place, put in PLACES.items():
            try:
                result = read_pickle(memoryview(put(push(target))))
            except PickleError:
                continue
            assert any(name.endswith(target[1]) for name in result.hazards), (form, place)
            assert MARKER not in "".join(result.hazards)
