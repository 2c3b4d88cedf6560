"""The machine that this runs on, as reports and caches name it.

Engines' adapters import this under interpreters that have no psutil and where `exporter` is only its modules.
"""

import platform
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy")
BFLOAT16_INSTRUCTIONS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
"""Instruction sets with which bfloat16 is faster than float32."""

CPUINFO = Path("/proc/cpuinfo")

_TORCH_NAMES = {"fma3": "fma"} | {f"avx512_{name}": f"avx512{name}" for name in ("f", "bw", "cd", "dq", "vl", "ifma")}
"""{torch's name of an instruction set: the kernel's}, where they differ."""


def cpu_model() -> str:
    """Return the processor's name. On Linux the kernel knows it, and Python's `platform` does not."""
    names = (value for name, value in _read_cpuinfo() if name == "model name")
    return next(names, platform.processor() or "unknown")


def cpu_features() -> frozenset[str]:
    """Return the processor's instruction sets by the kernel's names: `avx2`, `avx512_bf16`, `amx_bf16`, `amx_int8`.

    Linux lists them in /proc/cpuinfo for each core, after `flags` on x86 and after `Features` on Arm (`bf16`, `i8mm`);
    what every core has is returned. On other systems torch knows the common ones.
    """
    cores = [frozenset(value.split()) for name, value in _read_cpuinfo() if name in ("flags", "Features")]
    return frozenset.intersection(*cores) if cores else _features_by_torch()


def _read_cpuinfo() -> list[tuple[str, str]]:
    """Return the (name, value) pairs of Linux's list of cores; none on other systems."""
    try:
        lines = CPUINFO.read_text("utf-8").splitlines()
    except OSError:
        return []
    pairs = (line.partition(":") for line in lines)
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _features_by_torch() -> frozenset[str]:
    import torch

    return frozenset(
        _TORCH_NAMES.get(name, name) for name, value in torch.cpu.get_capabilities().items() if value is True
    )


def available_cpus() -> int:
    """Return how many cores this process may use: those of its affinity, where the system has one."""
    import psutil

    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # not on macOS
        return len(process.cpu_affinity() or ())
    return psutil.cpu_count() or 1


def library_version(name: str) -> str:
    """Return the version of an installed library, under whichever distribution it came.

    onnxruntime-gpu, onnxruntime-openvino and others install the module `onnxruntime`, and none of them is the
    distribution `onnxruntime`.

    Args:
        name: the name of the distribution, which is also that of the module up to `-` and `_`.

    Raises:
        PackageNotFoundError: no distribution has that name or that module.
    """
    try:
        return version(name)
    except PackageNotFoundError:
        providers = _distributions(tuple(sys.path)).get(name.replace("-", "_"))
        if not providers:
            raise
        return version(providers[0])


@cache
def _distributions(_search_path: tuple[str, ...]) -> Mapping[str, list[str]]:
    """Return {module: distributions}, which takes a tenth of a second: the files of every distribution are listed."""
    return packages_distributions()


def environment() -> dict[str, str]:
    """Return {what: value}: this tool, Python, the libraries that are installed, the system and its processor."""
    from exporter import __version__

    found = {"c3d-export": __version__, "Python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["system"] = f"{platform.system()} {platform.release()} {platform.machine()}"
    found["processor"] = f"{cpu_model()}, {available_cpus()} usable cores"
    return found
