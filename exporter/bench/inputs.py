"""What every target is fed: the first artifact's inputs, at each batch size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.bench.types import DEFAULT_BATCHES
from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.errors import ArtifactError, BadInputError, UsageError
from exporter.load_checks import RECORDED_ONLY, Vouched
from exporter.onnx_io.dtypes import numpy_dtype
from exporter.parity.arrays import read_npy, read_npz, shape_fits
from exporter.parity.discovery import accepted_plan
from exporter.parity.input_plan import NO_ROLES, InputPlan, make_plans
from exporter.parity.input_roles import InputRoles, find_roles
from exporter.parity.sequences import is_nested
from exporter.types import UNKNOWN_RANK, FormatName, InputOptions, ValueRange, frames_shape
from models.config import INPUT_NAME
from models.paths import require_file
from models.specs import FRAMES_NAME, Signature, TensorSpec, takes_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Feeds:
    """The inputs: what the first artifact states, and what the user gives or is chosen where it leaves something open.

    Attributes:
        inputs: those of the first artifact.
        plan: their shapes at batch 1, and the numbers they are drawn from.
        files: {input: file and array in it} for those that are not drawn.
        roles: how the values of those in `plan.fixed` follow from the sizes, which differ with the batch.
    """

    inputs: tuple[TensorSpec, ...]
    plan: InputPlan
    files: Mapping[str, tuple[Path, str]] = field(default_factory=dict[str, tuple[Path, str]])
    roles: InputRoles = NO_ROLES

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size there is, None where the batch is dynamic."""
        first = next((value.shape for value in self.inputs if value.name not in self.plan.fixed), ())
        free = any(map(self._has_batch, self.inputs))
        return None if free or not first or not isinstance(first[0], int) else first[0]

    @property
    def unit(self) -> str:
        """What one input is called."""
        return "clips" if self.inputs[0].name in (INPUT_NAME, FRAMES_NAME) else "inputs"

    def sizes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Return {input name: sizes} of one batch; a free first size is the batch."""
        return self._drawn_sizes(batch) | {name: array.shape for name, array in self._derived(batch).items()}

    def _drawn_sizes(self, batch: int) -> dict[str, tuple[int, ...]]:
        shapes = self.plan.shapes
        return {
            value.name: (batch, *shapes[value.name][1:]) if self._has_batch(value) else shapes[value.name]
            for value in self.inputs
        }

    def _has_batch(self, value: TensorSpec) -> bool:
        """Return whether an input's first size is the batch; that of a shape or of axes never is."""
        return _free_batch(value) and value.name not in self.plan.fixed

    def _derived(self, batch: int) -> dict[str, NDArray[Any]]:
        """Return {input: array} of those whose value follows from the sizes, for a batch."""
        if not self.plan.fixed:
            return {}
        found = self.roles.derive(self.inputs, self._drawn_sizes(batch), {})
        arrays = {name: made.value for name, made in found.items() if not isinstance(made.value, ValueRange)}
        return {name: arrays.get(name, given) for name, given in self.plan.fixed.items() if name not in self.files}

    def messages(self, batch: int, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return the inputs as a worker takes them, under a target's own names."""
        sizes, derived = self.sizes(batch), self._derived(batch)
        messages: list[dict[str, Any]] = []
        for name, value in zip(names, self.inputs, strict=True):
            message: dict[str, Any] = {"name": name, "dtype": numpy_dtype(value.dtype).name, "shape": sizes[value.name]}
            if value.name in self.files:
                path, array = self.files[value.name]
                message |= {"path": str(path), "array": array}
            elif value.name in derived:
                message["values"] = derived[value.name].ravel().tolist()
            elif value.name in self.plan.values:
                message |= {"low": self.plan.values[value.name].low, "high": self.plan.values[value.name].high}
            messages.append(message)
        return messages

    def describe(self, seed: int) -> str:
        """Return a description of the inputs."""
        fixed = self._derived(1)
        named = {*self.files, *fixed, *self.plan.values}
        drawn = ["standard normal"] if any(value.name not in named for value in self.inputs) else []
        drawn += [f"{name} {given}" for name, given in self.plan.values.items() if name not in {*self.files, *fixed}]
        drawn += [f"{name} derived from the sizes" for name in fixed]
        drawn += [f"{name} from {path}" for name, (path, _) in self.files.items()]
        return f"{', '.join(map(str, self.inputs))}; {', '.join(drawn)}, seed {seed}"

    def batches(self, wanted: Sequence[int] | None) -> tuple[int, ...]:
        """Return the batch sizes to measure, ascending, so that the peak of memory grows with them.

        Raises:
            UsageError: another size than the model's only one is wanted.
        """
        fixed = self.fixed_batch
        if fixed is not None and wanted is not None and set(wanted) != {fixed}:
            raise UsageError(f"--batch {','.join(map(str, wanted))}: the model's batch is fixed: --batch {fixed}")
        return tuple(sorted(set(wanted or DEFAULT_BATCHES))) if fixed is None else (fixed,)


def make_feeds(
    path: Path,
    format_name: FormatName,
    signatures: Sequence[Signature | None],
    options: InputOptions,
    vouched: Vouched = RECORDED_ONLY,
) -> Feeds:
    """Return what to feed a model; the user gives what it leaves open, else the first default that it accepts is taken.

    Args:
        path: the first artifact.
        format_name: its format.
        signatures: what the artifacts state, the first one's first. A TorchScript file without a manifest states
            nothing: it takes what another artifact states, else what `--shape` says, in its order.
        options: what the user gives, by the first artifact's names.
        vouched: whether that artifact may run, if it is code.

    Raises:
        UsageError: sizes are missing, or an option is for an input that is not there or does not fit.
        ArtifactError: there are no inputs, or the file cannot be loaded.
        BadInputError: a file of the user cannot be read or does not fit.
    """
    signature = _find_signature(path, signatures, options)
    options, notes = _with_frame_sizes(signature, options)
    options, files = _read_files(signature, options)
    roles = _find_roles(path, format_name, signature, files)
    arrays_of_sizes = _fed_arrays(roles, signature)
    one = tuple(
        replace(
            value,
            shape=(1, *value.shape[1:]) if _free_batch(value) and value.name not in arrays_of_sizes else value.shape,
            dtype="float32" if value.name in files else value.dtype,  # nothing is drawn for it
        )
        for value in signature.inputs
    )
    free = {value.name for value in signature.inputs if _free_batch(value)}
    shapes = {name: (1, *sizes[1:]) if name in free and sizes else sizes for name, sizes in options.shapes.items()}
    drawn = replace(
        options, shapes=shapes, feeds={name: given for name, given in options.feeds.items() if name not in files}
    )
    plans = make_plans(Signature(one, ()), drawn, roles, batched=False)
    plan = _choose(path, format_name, RuntimeOptions(signature=signature, vouched=vouched), plans)
    return Feeds(signature.inputs, replace(plan, notes=(*plan.notes, *notes)), files, roles)


def _find_roles(
    path: Path, format_name: FormatName, signature: Signature, files: Mapping[str, tuple[Path, str]]
) -> InputRoles:
    """Return the inputs with a role; what the user's files hold is known to those that depend on it."""
    roles = find_roles(path, format_name)
    if not roles.uses:
        return roles
    known = {value.name: value for value in signature.inputs}
    archives = {file: read_npz(file, signature.inputs) for file, array in files.values() if array}
    given = {
        name: archives[file][array] if array else read_npy(file, known[name]) for name, (file, array) in files.items()
    }
    return replace(roles, constants={**roles.constants, **given})


def _fed_arrays(roles: InputRoles, signature: Signature) -> set[str]:
    """Return the inputs that are shapes, axes and the like; the first size of these is no batch where it is free."""
    sizes = {value.name: tuple(s if isinstance(s, int) else 1 for s in value.shape) for value in signature.inputs}
    return {name for name, made in roles.derive(signature.inputs, sizes, {}).items() if made.is_array}


def _find_signature(path: Path, signatures: Sequence[Signature | None], options: InputOptions) -> Signature:
    """Return the first signature that is stated, else one of the shapes that the user gives; raises as `make_feeds`."""
    signature = next((known for known in signatures if known is not None), None)
    if signature is None:
        if not options.shapes:
            raise UsageError(f"{path}: does not state its inputs; give each as --shape input=1x3x224x224")
        specs = tuple(TensorSpec(name, "float32", ("batch", *sizes[1:])) for name, sizes in options.shapes.items())
        signature = Signature(specs, ())
    if not signature.inputs:
        raise ArtifactError(f"{path}: takes no inputs")
    if nested := [value for value in signature.inputs if is_nested(value.dtype)]:
        raise UsageError(
            f"{path}: {nested[0].name} {nested[0].dtype}: only tensors are fed, not sequences or optional values; "
            "measure the part of the model that takes the tensors in it"
        )
    return signature


def _with_frame_sizes(signature: Signature, options: InputOptions) -> tuple[InputOptions, tuple[str, ...]]:
    """Return the options with a size for frames of any size that the user gives none for, and notes that say so."""
    sized = {
        value.name: frames_shape(value, 1)
        for value in signature.inputs
        if takes_frames(value) and not {value.name} & {*options.shapes, *options.feeds} and not options.arrays
    }
    notes = tuple(
        f"chosen for {name}: frames of {w}x{h} (--shape changes it)" for name, (_, _, h, w, _) in sized.items()
    )
    return replace(options, shapes={**options.shapes, **sized}), notes


def _read_files(signature: Signature, options: InputOptions) -> tuple[InputOptions, dict[str, tuple[Path, str]]]:
    """Return the options with the shapes of arrays in an archive, and `Feeds.files`; raises as `make_feeds`."""
    files = {name: (given, "") for name, given in options.feeds.items() if isinstance(given, Path)}
    for name, (given, _) in files.items():
        require_file(given, "file of values", BadInputError)
        known = {value.name: value for value in signature.inputs}
        if name not in known:
            raise UsageError(f"--feed {name}: no such input; there are {', '.join(known)}")
        read_npy(given, replace(known[name], shape=(UNKNOWN_RANK,)))  # its rows are repeated to fill a batch
    for archive in options.arrays[:1]:
        arrays = read_npz(archive, signature.inputs)
        files |= {name: (archive, name) for name in arrays if name not in files}
        options = replace(options, shapes={**{name: array.shape for name, array in arrays.items()}, **options.shapes})
    return options, files


def _choose(
    path: Path, format_name: FormatName, runtime_options: RuntimeOptions, plans: Iterable[InputPlan]
) -> InputPlan:
    """Return the first plan, or where it is a guess the first that the model runs on.

    Raises:
        UsageError: it runs on none.
    """
    plans = [*plans]
    if not plans[0].guessed:
        return plans[0]
    with find_engine(format_name).open(path, runtime_options) as runtime:
        plan, refusal = accepted_plan(plans, runtime)
    if plan is None:
        raise UsageError(
            f"{refusal}; give inputs that it accepts with --shape NAME=1x3x224x224 or --feed NAME=FILE|VALUE|RANGE"
        )
    return plan


def _free_batch(value: TensorSpec) -> bool:
    return bool(value.shape) and isinstance(value.shape[0], str)


def matching_names(path: Path, first: Feeds, signature: Signature | None) -> tuple[str, ...]:
    """Return another artifact's input names in the first one's order: by name where all agree, else by position.

    Raises:
        ArtifactError: it cannot take the same inputs.
    """
    if signature is None:
        return tuple(value.name for value in first.inputs)
    theirs = {value.name: value for value in signature.inputs}
    ours = tuple(value.name for value in first.inputs)
    order = [theirs[name] for name in ours] if set(ours) == set(theirs) else list(signature.inputs)
    pairs = zip(first.inputs, order, strict=False)
    if len(order) != len(first.inputs) or not all(
        a.dtype == b.dtype and shape_fits(a.shape, b.shape) for a, b in pairs
    ):
        raise ArtifactError(
            f"{path}: takes other inputs than the first artifact: {signature}; the first takes "
            f"{', '.join(map(str, first.inputs))}"
        )
    return tuple(value.name for value in order)
