"""The command line of an export request: what a user types again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from exporter.requests import ExportRequest
from models.built_model import BuiltModel
from models.command_line import build_words, option_words
from models.http.addresses import display_source
from models.options import BuildOptions

WITHOUT_OPTION = ("base_channels", "feature_dim", "fc7_dim")
"""Fields of `BuildOptions` that only Python sets."""


def export_command(request: ExportRequest) -> str:
    """Return the `c3d-export` command of a request, quoted for a shell.

    Only what differs from the defaults is named. A network that no option describes (one built in Python, or of another
    width than the published one) has no such command: then Python's is returned.
    """
    model = request.model
    if not isinstance(model, BuildOptions) or isinstance(model.labels, tuple):
        return _python_call(request)
    if any(getattr(model, name) != getattr(BuildOptions(), name) for name in WITHOUT_OPTION):
        return _python_call(request)
    return shlex.join(["c3d-export", *_arguments(request, model)])


def _arguments(request: ExportRequest, model: BuildOptions) -> Iterator[str]:
    optimize, precision, usual = request.optimize, request.precision, ExportRequest(())
    yield from option_words(repeated=[("--format", request.formats)])
    yield from build_words(model)
    yield from option_words(
        [
            ("--target", optimize.target, usual.optimize.target),
            ("--weight-dtype", optimize.weight_dtype, usual.optimize.weight_dtype),
            ("--optimize-for", optimize.optimize_for, usual.optimize.optimize_for),
            ("--precision", precision.compute, usual.precision.compute),
            ("--min-snr", precision.min_snr, None),
            ("--min-top1", precision.min_top1, None),
            ("--calibration-samples", precision.calibration.samples, None),
            ("--outputs", request.outputs and ",".join(request.outputs), None),
            ("--batch", request.batch, None),
            ("--opset", request.opset, usual.opset),
            ("--output-dir", request.output_dir, usual.output_dir),
            ("--name", request.name, None),
            ("--device", request.parity.device, usual.parity.device),
        ],
        [("--calibrate", precision.calibration.clips), ("--clip", request.parity.clips)],
        [
            ("--autotune", optimize.autotune),
            ("--external-data", request.external_data),
            ("--with-preprocess", request.with_preprocess),
            ("--no-verify", not request.verify),
        ],
    )


def _python_call(request: ExportRequest) -> str:
    """Return the request in Python: a shell's command where it can be typed, the call where `model` is an object."""
    parts = ", ".join(f"{name}={_literal(value)}" for name, value in _changed(request))
    call = f"export(ExportRequest({parts}))"
    if not isinstance(request.model, BuildOptions):
        return f"exporter.{call}"
    names = [name for name in ("export", *_CALLED) if f"{name}(" in call]
    imports = f"from exporter import {', '.join(names)}"
    if "Path(" in call:
        imports = f"from pathlib import Path; {imports}"
    return shlex.join(["python", "-c", f"{imports}; {call}"])


_CALLED = (
    *("ExportRequest", "BuildOptions", "WeightSelection", "OptimizeOptions", "PrecisionOptions"),
    *("CalibrationOptions", "ParityOptions"),
)
"""Classes that a request is made of, as `exporter` has them."""


def _changed(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a dataclass that differ from their defaults, with their values."""
    for field in fields(value):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if (given := getattr(value, field.name)) != default:
            yield field.name, given


def _literal(value: Any) -> str:
    """Return a value as Python writes it, strings in double quotes, which a shell's single quotes hold."""
    if isinstance(value, BuiltModel):
        return "model"
    if is_dataclass(value):
        return f"{type(value).__name__}({', '.join(f'{name}={_literal(given)}' for name, given in _changed(value))})"
    if isinstance(value, Path):
        return f"Path({_literal(str(value))})"
    if isinstance(value, str):
        return json.dumps(display_source(value), ensure_ascii=False)
    if isinstance(value, tuple):
        items = ", ".join(map(_literal, cast("tuple[object, ...]", value)))
        return f"({items},)" if len(value) == 1 else f"({items})"
    return repr(value)
