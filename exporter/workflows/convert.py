"""`convert()`: a checkpoint of any origin becomes this project's own, once and for all."""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from exporter.artifacts.files import file_entry
from exporter.artifacts.manifest_fields import FileEntry
from exporter.artifacts.store import check_name, staging
from exporter.errors import CheckFailedError, UsageError
from exporter.output_targets import check_output_folder, check_space, new_folder_notes
from exporter.requests import ConvertRequest
from exporter.storage import publish_file, translate_os_errors
from models.builder import build, state_sha256
from models.built_model import BuiltModel
from models.checkpoints.metadata import CONVENTIONS_KEY, describe_conventions
from models.checkpoints.sources import is_remote
from models.options import BuildOptions
from models.paths import same_file
from models.progress import Progress, no_progress

SUFFIX = ".safetensors"
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class ConvertResult:
    """What a conversion made.

    Attributes:
        path: the file written.
        entry: its name, size and SHA-256.
        built: the network it holds, and the account of where its weights came from.
        notes: what the user should know besides what the network's notes say.
    """

    path: Path
    entry: FileEntry
    built: BuiltModel
    notes: tuple[str, ...] = ()


def convert(request: ConvertRequest, progress: Progress = no_progress) -> ConvertResult:
    """Write a checkpoint as safetensors under canonical names, with its conventions in the metadata.

    The same checkpoint and options give the same bytes. The file is read back before it is published.

    Raises:
        CheckpointError: the checkpoint does not load completely.
        UsageError: the output is not called `.safetensors`, or is the checkpoint itself.
        OutputError: the folder cannot be written to, or is full.
        CheckFailedError: what was written does not read back as the same network.
    """
    output = request.output
    if output.suffix != SUFFIX:
        raise UsageError(f"the output must be called *{SUFFIX} (got {output})")
    check_name(output.stem)
    if output.is_dir():
        raise UsageError(f"the output is a folder: {output}; name the file")
    if request.model.weights is None:
        raise UsageError("name the checkpoint to convert")
    if not is_remote(request.model.weights) and same_file(output, Path(request.model.weights)):
        raise UsageError(f"{output} is the checkpoint itself; choose another --output")
    check_output_folder(output.parent, "--output", (output.name,))
    progress("reading the checkpoint")
    built = build(request.model, progress)
    check_space(output.parent, FLOAT32_BYTES * built.parameters, output.name, "--output")
    conventions, notes = describe_conventions(built), new_folder_notes(output.parent)
    with staging(output.parent) as stage:
        progress(f"writing {output.name}")
        staged = stage / output.name
        with translate_os_errors(output.parent):
            state = built.network.state_dict()
            floats = {name: state[name] for name in sorted(state) if state[name].is_floating_point()}
            save_file(floats, staged, metadata={CONVENTIONS_KEY: conventions.to_json()})
        progress("reading it back")
        again = build(BuildOptions(weights=staged))
        same = again.settings == built.settings and again.class_names == built.class_names
        if state_sha256(again.network) != state_sha256(built.network) or not same:
            raise CheckFailedError(
                f"{output}: what was written does not read back as the same network; nothing was kept"
            )
        entry = file_entry(staged)
        publish_file(staged, output)
    return ConvertResult(output, entry, built, notes)
