"""Where a checkpoint comes from: a path, `https://…[#sha256=…]`, or `hf://owner/repo/file[@revision]`.

What was fetched once is used from the cache without a request. Its SHA-256, given or recorded at the first download, is
what the bytes that are parsed must have (`models.checkpoints.loading`).
"""

from pathlib import Path

from models.checkpoints.addresses import SHA256_FRAGMENT, parse_address, redact
from models.checkpoints.download import ResolvedSource, download
from models.checkpoints.hub import from_hub
from models.checkpoints.tensorflow_files import find_tf_checkpoint
from models.errors import CheckpointError, UsageError
from models.progress import Progress


def is_remote(source: str | Path) -> bool:
    """Return whether a source is an address, not a path."""
    return isinstance(source, str) and "://" in source


def resolve(source: str | Path, progress: Progress) -> ResolvedSource:
    """Return the file of a source; an address is downloaded.

    Of a TensorFlow checkpoint any file, its prefix, its state file or its folder leads to the file to read.

    Raises:
        CheckpointError: it is not available, or is not the file that its SHA-256 names, or is a part of a TensorFlow
            checkpoint whose index is missing.
        UsageError: an unsupported type of address.
        UnavailableError: `hf://` without huggingface_hub.
    """
    if not is_remote(source):
        return _local(Path(source))
    address, _, fragment = str(source).partition("#")
    found = SHA256_FRAGMENT.fullmatch(fragment)
    if fragment and found is None:
        raise UsageError(f"{redact(str(source))}: after # only sha256=<64 hexadecimal digits> is allowed")
    wanted = found.group(1).lower() if found else None
    scheme = address.partition("://")[0].lower()
    if scheme == "hf":
        return from_hub(address, wanted, progress)
    if scheme != "https":
        raise UsageError(
            f"{redact(address)}: weights are fetched from https:// or hf://owner/repo/file, not {scheme}://; "
            "of a file, give the path"
        )
    return download(parse_address(address), wanted, progress)


def _local(path: Path) -> ResolvedSource:
    try:
        found = find_tf_checkpoint(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    if found is None:
        return ResolvedSource(path)
    return ResolvedSource(
        found, notes=(f"{path.name} is a TensorFlow checkpoint's: its variables are read by {found.name}",)
    )
