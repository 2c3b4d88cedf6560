"""Names that would run code if they were called are hazards; a file that refers to them is reported."""

import enum
import os
import pickle
import re
from typing import Any

import pytest
from helpers.hostile_pickles import Runs

from models.checkpoints.pickles.hazards import is_hazard
from models.checkpoints.pickles.reader import PickleContent, read_pickle

PROTOCOLS = range(6)


HERE = __name__


def read(value: object, protocol: int) -> PickleContent:
    return read_pickle(memoryview(bytearray(pickle.dumps(value, protocol))))


class Mode(enum.Enum):
    TRAIN = 1


class Config(dict[str, Any]):
    pass


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_would_run_code_is_named(protocol: int) -> None:
    system = getattr(os, "system")  # noqa: B009 - deprecated softly, pyright says
    result = read(
        {"w": 1, "x": Runs(system, "true"), "y": Runs(eval, "1"), "z": Runs(getattr, Config(), "x")}, protocol
    )
    assert result.hazards == ("builtins.eval", "builtins.getattr", f"{os.name}.system")
    assert set(result.hazards) - {"builtins.getattr"} <= set(result.not_built)


def test_a_member_of_an_enum_written_by_getattr_is_no_hazard() -> None:
    result = read(Runs(getattr, Mode, "TRAIN"), 4)
    content: Any = result.content
    assert content.name == f"{HERE}.Mode.TRAIN"
    assert result.hazards == ()


RUN_CODE = """
os.system posix.system nt.system subprocess.Popen subprocess.check_output builtins.exec builtins.eval builtins.open
builtins.__import__ runpy.run_path importlib.import_module pty.spawn shutil.rmtree socket.socket pickle.loads
_pickle.loads dill.loads torch.load torch.hub.load torch.jit.load numpy.load io.open sys.exit ctypes.CDLL
operator.attrgetter webbrowser.open urllib.request.urlopen multiprocessing.context.Process code.interact
torch.serialization.os.system numpy.f2py.os.system types.CodeType marshal.loads pip.main logging.config.dictConfig
torch.utils.cpp_extension.load concurrent.futures.ProcessPoolExecutor theirs.helpers.eval
"""


@pytest.mark.parametrize("name", RUN_CODE.split())
def test_names_that_run_code(name: str) -> None:
    module, _, function = name.rpartition(".")
    assert is_hazard(*name.split(".", 1))
    assert is_hazard(module, function) or re.search("serialization|theirs", name)  # led to through a module's imports


@pytest.mark.parametrize(
    "name", ["collections.OrderedDict", "argparse.Namespace", "pathlib.PosixPath", "torch.nn.modules.linear.Linear",
             "torch._utils._rebuild_tensor_v2", "numpy.ndarray", "mmengine.config.Config", "os.stat_result",
             "datetime.datetime", "omegaconf.dictconfig.DictConfig", "__main__.Config", "pandas.eval"]
)  # fmt: skip
def test_names_that_do_not(name: str) -> None:
    assert not is_hazard(*name.rsplit(".", 1))
    assert not is_hazard(*name.split(".", 1)) or name.startswith("torch._utils") or "eval" in name
