"""How the tests run: in processes, in which order, and with which fixtures, those of `helpers.fixtures`."""

import gc
import os

import pytest

from exporter.system import available_cpus

DEFAULT_MARKERS = "not heavy and not cluster and not cuda and not browser"
"""As in pyproject.toml."""


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures, and with them torch and onnx, where tests run: not in the process that hands them out.

    Its processes begin as soon as it has started.
    """
    processes = getattr(config.option, "tx", None) and not config.option.collectonly
    if not processes or hasattr(config, "workerinput"):
        config.pluginmanager.import_plugin("helpers.fixtures")


def pytest_collection_finish() -> None:
    """Leave what imports and collection have made, a million objects, out of garbage collection, and collect less often.

    It took a seventh of the time of tests that export.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process of one thread for each of at most four cores, for the whole default suite; all else runs in this process.

    So `--pdb`, `-s`, chosen files and tests and the marked ones work as without processes. Threads for networks as small
    as the tests' cost more than they gain. A process more than cores gains nothing: tests wait for a tenth of the time, but
    each process makes the fixtures again.
    """
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS and not config.option.keyword
    if not whole or config.option.capture == "no" or config.option.markexpr != DEFAULT_MARKERS:
        return 0
    os.environ["OMP_NUM_THREADS"] = "1"
    return min(available_cpus(), 4)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In processes, begin with the tests of the full network: one of the processes gets them all, and exports it once."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not (isinstance(item, pytest.Function) and "exported" in item.fixturenames))
