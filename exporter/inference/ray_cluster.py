"""The connection to a Ray cluster, without Ray's telemetry, logs and signal handlers.

A cluster that this module starts on this machine ends with the run, however that ends. From a cluster that was there
before, it only disconnects.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Generator
from typing import Any

import psutil

from exporter.errors import UnavailableError
from exporter.foreign_logging import log_level
from exporter.system import available_cpus
from models.errors import install_command

ADDRESS = "RAY_ADDRESS"
"""The environment variable with the address of the cluster, which Ray sets for jobs inside one."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # what the raylet prints about a worker that ended
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
"""Ray's settings that turn off its telemetry and what it prints; those of the user's environment come first."""
CONNECT_SECONDS = 10.0
TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)*")
LOGGERS = ("ray", "ray.data")

_STARTED: list[psutil.Process] = []
"""The processes of the cluster that this process started."""


@contextlib.contextmanager
def connect(address: str | None) -> Generator[Any]:
    """Connect to Ray for the block, and yield its module. What this process had connected to before stays so.

    Args:
        address: of the cluster; None for $RAY_ADDRESS, and without that for a cluster of this run on this machine.

    Raises:
        UnavailableError: Ray is not installed, or there is no cluster at the address.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import ray  # pyright: ignore[reportMissingImports] - an extra

            importlib.import_module("ray.data")
        except ImportError as error:
            raise UnavailableError(f"--runner ray needs Ray; {install_command('ray')}") from error
    with log_level(LOGGERS, logging.CRITICAL):  # after the import, which sets the levels
        if ray.is_initialized():
            yield ray
            return
        address = address or os.environ.get(ADDRESS) or "local"
        with _signal_handlers(), _stderr_to_nowhere(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            require_reachable(address)
            before = psutil.Process().children()
            try:
                ray.init(
                    address,
                    num_cpus=available_cpus() if address == "local" else None,
                    include_dashboard=False if address == "local" else None,
                    log_to_driver=False,
                    configure_logging=False,
                )
            except (ConnectionError, RuntimeError, OSError, ValueError) as error:
                raise UnavailableError(f"--ray-address {address}: cannot connect to Ray: {_reason(error)}") from error
        _STARTED.extend(child for child in psutil.Process().children() if child not in before)
        try:
            yield ray
        finally:
            ray.shutdown()
            _STARTED.clear()


def require_reachable(address: str) -> None:
    """Refuse an address at which nothing listens; Ray would try for minutes.

    Raises:
        UnavailableError: nothing does, or the name is of no machine.
    """
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UnavailableError(f"--ray-address {address}: no cluster there: {error}") from error


def _reason(error: BaseException) -> str:
    """Return an error and what caused it in one line, which names a missing token or another version of Ray.

    Ray puts the traceback of a cause into a message; its last line alone says what was wrong.
    """
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    return "; ".join(" ".join(TRACEBACK.sub("", str(cause)).split())[:300] for cause in causes)


def stop_cluster() -> None:
    """End the processes of a cluster that this process started; for a signal handler that ends it.

    Ray's own shutdown may wait for the call that the signal interrupted. Without either, Ray's processes end with their
    parent, but its agents only after they have tried to report that for some minutes.
    """
    trees = [(process, process.children(recursive=True)) for process in _STARTED if process.is_running()]
    for process in [each for root, children in trees for each in (root, *children)]:
        with contextlib.suppress(psutil.Error):
            process.kill()


@contextlib.contextmanager
def _stderr_to_nowhere() -> Generator[None]:
    """Suppress what C++ code writes to stderr: Ray states there that it has read its own log level."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def _signal_handlers() -> Generator[None]:
    """Set this process's own signal handlers again at the end: Ray puts its own in their place."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
