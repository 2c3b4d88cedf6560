"""What a process of this tool inherits, and with whom it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterable, MutableMapping

SECRET_WORDS = frozenset(
    {
        *("TOKEN", "TOKENS", "SECRET", "SECRETS", "PASSWORD", "PASSWORDS", "PASSWD", "PASSPHRASE", "PASS"),
        *("CREDENTIAL", "CREDENTIALS", "APIKEY"),
    }
)
"""Words of a variable's name, between underscores, that say that it holds a secret."""
SECRET_NAMES = re.compile(
    r"(^|_)(API|ACCESS|ACCOUNT|PRIVATE|SIGNING|ENCRYPTION|LICENSE)_?KEY(_|$)|^AWS_|^AZURE_|^SSH_AUTH_SOCK$|"
    r"CONNECTION_STRING|^DATABASE_URL$|^NETRC$|^KUBECONFIG$"
)
OWN_PREFIX = "C3D_EXPORT_"
"""Variables that the tool itself reads, such as the passphrase of a signing key."""
LIST_SUFFIXES = (".txt", ".csv", ".lst", ".list")
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
MAX_LIST_BYTES = 1 << 20
"""How much of a list of videos is searched for an address."""


def drop_secrets(arguments: Iterable[str], variables: MutableMapping[str, str] | None = None) -> tuple[str, ...]:
    """Remove variables that look like secrets, unless something on the command line is remote and may need them.

    Args:
        arguments: of the command line. One with `://`, or that names a list of videos with one, is remote.
        variables: the environment; None for this process's.

    Returns:
        The names that were removed.
    """
    variables = os.environ if variables is None else variables
    if any(map(_is_remote, arguments)):
        return ()
    secrets = tuple(name for name in variables if is_secret(name))
    for name in secrets:
        del variables[name]
    return secrets


def is_secret(name: str) -> bool:
    """Return whether a variable's name says that it holds a secret."""
    upper = name.upper()
    if upper.startswith(OWN_PREFIX):
        return False
    return not SECRET_WORDS.isdisjoint(upper.split("_")) or SECRET_NAMES.search(upper) is not None


def forbid_core_dumps() -> None:
    """Have the system write no core file where a process crashes: it would hold the weights and videos."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def cpu_limit() -> int | None:
    """Return after how many seconds of processor time the system ends a process (`ulimit -t`); None: never."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limits = [limit for limit in resource.getrlimit(resource.RLIMIT_CPU) if limit != resource.RLIM_INFINITY]
        return min(limits, default=None)
    return None


def _is_remote(argument: str) -> bool:
    if "://" in argument:
        return True
    path = argument.rpartition("=")[2] if argument.startswith("-") else argument
    if not path.lower().endswith(LIST_SUFFIXES):
        return False
    with contextlib.suppress(OSError, ValueError):
        # a pipe or a file of /proc is not waited for, and nothing is imported for it
        if not os.path.isfile(path) or not os.path.getsize(path):  # noqa: PTH113, PTH202
            return False
        with open(path, "rb") as stream:  # noqa: PTH123 - an argument, any text
            return b"://" in stream.read(MAX_LIST_BYTES)
    return False


def end_with_parent(parent: int | None = None) -> None:
    """Have the system end this process when the thread that started it is gone, where it can (Linux).

    Args:
        parent: the process that started it: where that is gone already, this one ends now; None for whoever it is.
    """
    set_process_option(_PR_SET_PDEATHSIG, getattr(signal, "SIGKILL", 9))
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of the processes that this one's children leave behind, where the system can (Linux)."""
    set_process_option(_PR_SET_CHILD_SUBREAPER, 1)


def set_process_option(option: int, value: int) -> None:
    """Call prctl, where there is one (Linux)."""
    with contextlib.suppress(OSError, AttributeError, ImportError, TypeError):  # TypeError: Windows has no CDLL(None)
        import ctypes

        ctypes.CDLL(None).prctl(option, value)
