"""Where a checkpoint comes from: a path, `https://…[#sha256=…]`, or `hf://owner/repo/file[@revision]`.

What was fetched once is used from the cache without a request. Its SHA-256, given or recorded at the first download, is
what the bytes that are parsed must have (`models.checkpoints.loading`).
"""

import re
from pathlib import Path
from urllib.parse import urlsplit

from models.checkpoints.download import ResolvedSource, download
from models.checkpoints.tensorflow_files import find_tf_checkpoint
from models.errors import CheckpointError, UnavailableError, UsageError
from models.progress import Progress

HASH = re.compile(r"sha256=([0-9a-fA-F]{64})")
HUB = re.compile(r"hf://([^/@#]+/[^/@#]+)/([^@#]+?)(?:@([^@#]+))?")


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
    found = HASH.fullmatch(fragment)
    if fragment and found is None:
        raise UsageError(f"{redact(address)}: after # only sha256=<64 hexadecimal digits> is allowed")
    wanted = found.group(1).lower() if found else None
    scheme = address.partition("://")[0].lower()
    if scheme == "hf":
        return _from_hub(address, wanted, progress)
    if scheme != "https":
        raise UsageError(
            f"{redact(address)}: weights are fetched from https:// or hf://owner/repo/file, not {scheme}://; "
            "of a file, give the path"
        )
    try:
        host = urlsplit(address).hostname
    except ValueError:
        host = None
    if not host:
        raise UsageError(f"{address!r} is no address: https://host/path/file")
    return download(address, redact(address), wanted, progress)


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


def redact(address: str) -> str:
    """Return an address without user, password and query."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return address.partition("://")[0] + "://…"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def _from_hub(address: str, wanted: str | None, progress: Progress) -> ResolvedSource:
    """Fetch through huggingface_hub, which caches, resumes, and works offline from its cache."""
    parts = HUB.fullmatch(address)
    if parts is None or ".." in parts[2].split("/"):
        raise UsageError(f"{address}: of the Hub, give hf://owner/repo/path/to/file[@revision]")
    repo, name, revision = parts.groups()
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
        from huggingface_hub.utils import disable_progress_bars
    except ImportError as error:
        raise UnavailableError(f"{address} needs huggingface_hub; pip install 'c3d-export[hub]'") from error
    disable_progress_bars()  # the progress is ours, on a terminal only
    progress(f"downloading {name} of {repo} from the Hub")
    try:
        path = Path(hf_hub_download(repo, name, revision=revision))
    except LocalEntryNotFoundError as error:
        raise CheckpointError(f"{address}: not in the cache, and the Hub cannot be reached") from error
    except HFValidationError as error:
        raise UsageError(f"{address}: {_first_line(error)}") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(f"{address}: {_first_line(error)}") from error
    # <cache>/snapshots/<commit>/<path> links to blobs/<SHA-256> where the Hub keeps large files
    parents = path.parents[len(Path(name).parts) - 1 :]
    commit = parents[0].name if parents[1].name == "snapshots" else revision
    blob = path.resolve().name
    recorded = blob if re.fullmatch(r"[0-9a-f]{64}", blob) else None
    if wanted is not None and recorded is not None and wanted != recorded:
        raise CheckpointError(f"{address}: the Hub's file has SHA-256 {recorded[:16]}…, not {wanted[:16]}…")
    return ResolvedSource(
        path, f"hf://{repo}/{name}@{commit}", wanted or recorded, (f"from the Hub, revision {commit}",)
    )


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
