"""Which locations of external data are read: one rule and one message for every command."""

from pathlib import Path

from models.paths import is_plain_name


def link_fault(path: Path, location: str) -> str:
    """Return why weights at a location are not read: they are, or may be, a file of another folder; empty if not.

    A name with `..` or a folder, a symbolic link and a hard link can each make a tool read a file that its user did not
    give it. onnx refuses all of them, onnxruntime only some; here every command does.

    Args:
        path: the model file.
        location: where it says that its weights are.
    """
    data = path.with_name(location) if is_plain_name(location) else None
    if data is None or data.is_symlink():
        return f"{path}: refers to weights at {location!r}, which is not a file of its own folder"
    if data.is_file() and data.stat().st_nlink > 1:
        return (
            f"{path}: its data file {location} has hard links, which can be used to read a file elsewhere; copy it, "
            "and give the copy its name"
        )
    return ""
