"""Where a checkpoint comes from: a path, `https://…[#sha256=…]`, or `hf://owner/repo/file[@revision]`.

A file that was downloaded before is read from the cache, without a request. The bytes that are parsed must have its
SHA-256, which the user gives or the first download recorded (`models.checkpoints.loading`).
"""

from dataclasses import replace
from pathlib import Path

from models.checkpoints.download import ResolvedSource, download
from models.checkpoints.hub import from_hub
from models.checkpoints.tensorflow_files import find_tf_checkpoint
from models.errors import CheckpointError, UsageError
from models.http.addresses import SHA256_FRAGMENT, parse_address, parse_sha256, redact
from models.progress import Progress


def is_remote(source: str | Path) -> bool:
    """Return whether a source is an address, not a path."""
    return isinstance(source, str) and "://" in source


def resolve(source: str | Path, progress: Progress, sha256: str | None = None) -> ResolvedSource:
    """Return the file of a source; an address is downloaded.

    A TensorFlow checkpoint may be named by any of its files, its prefix, its state file or its folder.

    Args:
        source: the path or address.
        progress: called while something is downloaded.
        sha256: the SHA-256 of the file, in place of `#sha256=` after an address.

    Raises:
        CheckpointError: it is not available, or is not the file that its SHA-256 names, or is a part of a TensorFlow
            checkpoint whose index is missing.
        UsageError: an unsupported type of address, a malformed SHA-256, or two different ones.
        UnavailableError: `hf://` without huggingface_hub.
    """
    expected = None if sha256 is None else parse_sha256(sha256)
    if not is_remote(source):
        return replace(_local(Path(source)), sha256=expected)
    address, _, fragment = str(source).partition("#")
    found = SHA256_FRAGMENT.fullmatch(fragment)
    if fragment and found is None:
        raise UsageError(f"{redact(str(source))}: after # only sha256=<64 hexadecimal digits> is allowed")
    wanted = found.group(1).lower() if found else expected
    if expected not in (None, wanted):
        raise UsageError(f"{redact(str(source))}: #sha256= and the SHA-256 that is expected differ")
    scheme = address.partition("://")[0].lower()
    if scheme == "hf":
        return from_hub(address, wanted, progress)
    if scheme != "https":
        raise UsageError(
            f"{redact(address)}: weights are fetched from https:// or hf://owner/repo/file, not {scheme}://; "
            "for a local file, give its path"
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
        found, notes=(f"{path.name} belongs to a TensorFlow checkpoint, whose variables are read through {found.name}",)
    )
