"""Names that run code of the file's choice when another program unpickles the file. Here they are only reported.

A pickle without any of them can still be dangerous elsewhere; the list serves to tell a user what stands in a file, not
to decide what is read: everything outside the table of constructors is not called, hazard or not.
"""

_MODULES = """
_aix_support _osx_support _posixsubprocess _pyrepl _thread aiohttp asyncio bdb cProfile code codeop commands concurrent
ctypes dill distutils ensurepip fileinput ftplib http httplib idlelib imp importlib lib2to3 linecache marshal mmap
multiprocessing nt os pdb pip pickle _pickle cloudpickle joblib pkgutil platform popen2 posix profile pty pydoc
requests runpy select setuptools shelve shutil signal site smtplib socket sqlite3 ssl subprocess sys sysconfig
telnetlib tempfile threading timeit trace turtle types urllib urllib2 venv webbrowser xmlrpc zipimport
"""

_BUILTINS = """
eval exec execfile compile open file input raw_input __import__ globals locals vars setattr delattr apply map filter
breakpoint
"""

MODULES = frozenset(_MODULES.split())
"""Modules of which every function counts, those of their submodules too."""

NAMES = frozenset(
    {f"builtins.{name}" for name in _BUILTINS.split()}
    | {
        "_io.FileIO",
        "_io.open",
        "_operator.attrgetter",
        "_operator.methodcaller",
        "doctest.debug_script",
        "io.FileIO",
        "io.open",
        "io.open_code",
        "logging.config.dictConfig",
        "logging.config.fileConfig",
        "numpy.fromfile",
        "numpy.load",
        "numpy.loadtxt",
        "numpy.memmap",
        "operator.attrgetter",
        "operator.methodcaller",
        "torch.compile",
        "torch.classes.load_library",
        "torch.ops.load_library",
        "torch.load",
    }
)
"""Functions of other modules."""

PREFIXES = (
    "numpy.distutils.",
    "numpy.f2py.",
    "numpy.testing.",
    "test.support.",
    "torch._dynamo.",
    "torch._inductor.",
    "torch.hub.",
    "torch.jit.",
    "torch.package.",
    "torch.serialization.load",
    "torch.utils._config_module.",
    "torch.utils.bottleneck.",
    "torch.utils.collect_env.",
    "torch.utils.cpp_extension.",
)

HARMLESS = frozenset(
    {
        "joblib.numpy_pickle.NumpyArrayWrapper",
        "os.stat_result",
        "os.terminal_size",
        "posix.stat_result",
        "torch.jit._pickle.build_boollist",
        "torch.jit._pickle.build_doublelist",
        "torch.jit._pickle.build_intlist",
        "torch.jit._pickle.build_tensorlist",
        "torch.jit._pickle.restore_type_tag",
        "types.SimpleNamespace",
    }
)
"""Plain records and lists from those modules."""


def is_hazard(module: str, name: str) -> bool:
    """Return whether unpickling a call of `module.name` would run code of the file's choice, or reach outside."""
    full = f"{module}.{name}"
    if full in HARMLESS:
        return False
    parts = name.split(".")  # protocol 4 allows `torch.serialization` and `os.system`
    reexported = any(part in MODULES for part in parts[:-1]) or (len(parts) > 1 and f"builtins.{parts[-1]}" in NAMES)
    return reexported or module.partition(".")[0] in MODULES or full in NAMES or full.startswith(PREFIXES)
