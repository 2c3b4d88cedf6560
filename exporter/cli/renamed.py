"""Names of earlier versions, and others that are not there: using one is an error that states the right one."""

import os
import sys

import click

RENAMED_OPTIONS = {
    "--growth": "--max-growth",
    "--peer-python": "--engine-python",
    "--peers": "--engines",
    "--plain": "--engine-model",
    "--prefer": "--optimize-for",
    "--runtime": "--engine",
    "--sign": "--sign-key",
    "--tune": "--autotune",
    "--weights-as": "--weight-dtype",
}
RENAMED_COMMANDS = {"checkpoints": "layouts"}
NO_COMMANDS = {"export": "there is no command export: c3d-export exports by its options, c3d-export --format onnx"}
"""{what is taken for a command: what to write instead}"""
MISSING = {
    "videos": "The model comes first, then the videos: {command} MODEL VIDEO",
    "output": "Name the file to write: {command} CHECKPOINT -o c3d.safetensors",
    "sign_key": "Name the file of the private key: {command} ARTIFACT --sign-key sign.key",
}
"""{parameter that is missing: what to write}"""
RENAMED_INPUT_TYPES = {"bright pixel": "impulse"}


def explain_renaming(error: click.ClickException) -> click.ClickException:
    """Return a usage error that states the right name of an option or command, or what is missing, else the error."""
    if isinstance(error, click.MissingParameter) and error.ctx and error.param and error.param.name in MISSING:
        return click.MissingParameter(
            MISSING[error.param.name].format(command=error.ctx.command_path), error.ctx, error.param
        )
    if isinstance(error, click.NoSuchOption):
        old, new = error.option_name, RENAMED_OPTIONS.get(error.option_name)
        known = [name for option in error.ctx.command.params for name in option.opts] if error.ctx else []
        if new in known:
            return click.UsageError(f"option {old} was renamed; use {new}", error.ctx)
        if files := [given for given in sys.argv[1:] if given.startswith(old) and os.path.exists(given)]:  # noqa: PTH110 - False where no file can have the name
            return click.UsageError(f"{files[0]} is read as an option; a file of that name is ./{files[0]}", error.ctx)
    if isinstance(error, click.NoSuchCommand) and (new := RENAMED_COMMANDS.get(error.command_name)):
        return click.UsageError(f"command {error.command_name} was renamed; use {new}", error.ctx)
    if isinstance(error, click.NoSuchCommand) and (instead := NO_COMMANDS.get(error.command_name)):
        return click.UsageError(instead, error.ctx)
    return error
