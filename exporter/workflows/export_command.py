"""The command line of an export request: what a user types again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from exporter.requests import ExportRequest
from exporter.types import OptimizeOptions, ParityOptions
from models.built_model import BuiltModel
from models.http.addresses import display_source
from models.options import BuildOptions
from models.pooling import format_size

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
    optimize, precision, parity, usual = request.optimize, request.precision, request.parity, OptimizeOptions()
    selection = model.selection
    values: list[tuple[str, Any, Any]] = [
        ("--target", optimize.target, usual.target),
        ("--weight-dtype", optimize.weight_dtype, usual.weight_dtype),
        ("--optimize-for", optimize.optimize_for, usual.optimize_for),
        ("--precision", precision.compute, "fp32"),
        ("--min-snr", precision.min_snr, None),
        ("--min-top1", precision.min_top1, None),
        ("--calibration-samples", precision.calibration.samples, None),
        ("--weights", model.weights, None),
        ("--layout", model.layout, "auto"),
        ("--key", selection.key, None),
        ("--prefix", selection.prefix, None),
        ("--pool5", model.pool5, None),
        ("--variant", model.variant, None),
        ("--input-size", model.input_size and format_size(model.input_size), None),
        ("--num-classes", model.num_classes, None),
        ("--labels", model.labels, None),
        ("--preprocess", model.preprocess, None),
        ("--mean", model.mean, None),
        ("--seed", model.seed, 0),
        ("--outputs", request.outputs and ",".join(request.outputs), None),
        ("--batch", request.batch, None),
        ("--opset", request.opset, ExportRequest(()).opset),
        ("--output-dir", request.output_dir, ExportRequest(()).output_dir),
        ("--name", request.name, None),
        ("--device", parity.device, ParityOptions().device),
    ]
    repeated = (
        ("--format", request.formats),
        ("--calibrate", precision.calibration.clips),
        ("--ignore", selection.ignore),
        ("--key-map", selection.key_map),
        ("--clip", parity.clips),
    )
    flags = (
        ("--autotune", optimize.autotune),
        ("--ema", selection.ema),
        ("--batch-norm", model.batch_norm),
        ("--new-head", model.new_head),
        ("--external-data", request.external_data),
        ("--with-preprocess", request.with_preprocess),
        ("--no-verify", not request.verify),
    )
    for option, given in repeated:
        for value in given:
            yield from (option, _text(value))
    for option, value, default in values:
        if value != default and value is not None:
            yield from (option, _text(value))
    yield from (option for option, given in flags if given)


def _text(value: Any) -> str:
    """Return an option's value; of an address without user, password and query, which may be secrets."""
    return f"{value:g}" if isinstance(value, float) else display_source(value) if isinstance(value, str) else str(value)


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
