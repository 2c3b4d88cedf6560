"""What `tensorrt` offers: the parameters of methods, and the members of enumerations, of the real package or the stand-in.

`tests/data/tensorrt_api.json` holds them of NVIDIA's wheels of several versions, as far as the stand-in has them. Where
the real package is installed, this adds its version:

    PYTHONPATH=tests/support python -m helpers.tensorrt_api tests/data/tensorrt_api.json
"""

import enum
import importlib
import inspect
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from helpers import fake_tensorrt

CLASSES = (
    "ILogger",
    "Builder",
    "INetworkDefinition",
    "OnnxParser",
    "ParserError",
    "IBuilderConfig",
    "IOptimizationProfile",
    "ITimingCache",
    "IHostMemory",
    "Runtime",
    "ICudaEngine",
    "IExecutionContext",
)
CONSTRUCTED = ("ILogger", "Builder", "OnnxParser", "Runtime")
"""Those that a user constructs; TensorRT makes the others."""
ENUMERATIONS = ("NetworkDefinitionCreationFlag", "BuilderFlag", "TensorIOMode", "DataType")
PROPERTY = ["<property>"]


def describe(module: ModuleType) -> dict[str, list[list[str]]]:
    """Return {`Builder.create_network`: parameters of each overload}, and {`BuilderFlag`: [members]}."""
    found = {name: [sorted(getattr(module, name).__members__)] for name in ENUMERATIONS}
    found["ILogger.Severity"] = [sorted(module.ILogger.Severity.__members__)]
    for name in CLASSES:
        for attribute in sorted(dir(getattr(module, name))):
            value = inspect.getattr_static(getattr(module, name), attribute)
            hidden = attribute.startswith("_") and not (attribute == "__init__" and name in CONSTRUCTED)
            if hidden or isinstance(value, type):
                continue
            if parameters := _parameters(value):
                found[f"{name}.{attribute}"] = parameters
    return found


def _parameters(value: Any) -> list[list[str]]:
    if isinstance(value, property):
        return [PROPERTY]
    if inspect.isfunction(value):
        return [[*inspect.signature(value).parameters]]
    if isinstance(value, enum.Enum) or not callable(value):
        return []
    # pybind11 states each overload as `name(self: type, other: type = default) -> type`
    stated = re.findall(r"^(?:\d+\. )?\w+\((self: .*)\) -> ", str(value.__doc__), re.MULTILINE)
    return [re.findall(r"(?:^|, )(\w+): ", signature) for signature in stated]


def main() -> None:
    """Add the real package's interface to a file."""
    module, path = importlib.import_module("tensorrt"), Path(sys.argv[1])
    known = json.loads(path.read_text()) if path.exists() else {}
    used = describe(fake_tensorrt)
    known[module.__version__] = {name: entry for name, entry in describe(module).items() if name in used}
    path.write_text(_one_entry_a_line(known))


def _one_entry_a_line(known: dict[str, dict[str, list[list[str]]]]) -> str:
    versions: list[str] = []
    for version, entries in sorted(known.items()):
        lines = (f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
        versions.append(f"{json.dumps(version)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(versions) + "\n}\n"


if __name__ == "__main__":
    main()
