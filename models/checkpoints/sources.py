"""Where a checkpoint comes from: a path, `https://…[#sha256=…]`, or `hf://owner/repo/file[@revision]`.

A file that was downloaded before is read from the cache, without a request. The bytes that are parsed must have its
SHA-256, which the user gives or the first download recorded (`models.checkpoints.loading`).

Files of the Hugging Face Hub come through huggingface_hub, which caches, resumes, and works offline from its cache. Its
time limits are a socket's (`HF_HUB_DOWNLOAD_TIMEOUT`, 10 s without a byte); `--timeout` limits the whole command.
"""

import re
from dataclasses import replace
from pathlib import Path

from models.checkpoints.download import ResolvedSource, download
from models.checkpoints.shards import INDEX_SUFFIX, MAX_INDEX, find_hub_checkpoint, parse_index
from models.checkpoints.tensorflow_files import find_tf_checkpoint
from models.errors import CheckpointError, UnavailableError, UsageError, first_line, install_command, naming
from models.http.addresses import SHA256_FRAGMENT, parse_address, parse_sha256, redact
from models.progress import Progress

HUB = re.compile(r"hf://([^/@#?:]+/[^/@#?:]+)/([^@#?]+?)(?:@([^@#?]+))?")
TOKEN = re.compile(r"hf_[A-Za-z0-9]{8,}")


def is_remote(source: str | Path) -> bool:
    """Return whether a source is an address, not a path."""
    return isinstance(source, str) and "://" in source


def resolve(source: str | Path, progress: Progress, sha256: str | None = None) -> ResolvedSource:
    """Return the file of a source; an address is downloaded.

    A TensorFlow checkpoint may be named by any of its files, its prefix, its state file or its folder; a checkpoint in
    shards by its index, one of its shards or its folder.

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
        raise UsageError(f"{redact(str(source))}: the hash after #sha256= is not the one that --expect-sha256 states")
    scheme = address.partition("://")[0].lower()
    if scheme == "hf":
        return from_hub(address, wanted, progress)
    if scheme != "https":
        raise UsageError(
            f"{redact(address)}: weights are fetched from https:// or hf://owner/repo/file, not {scheme}://; "
            "for a local file, give its path"
        )
    if address.partition("?")[0].endswith(INDEX_SUFFIX):
        raise UsageError(
            f"{redact(address)}: a checkpoint in shards is fetched from hf:// only; "
            "otherwise download the index and its shards into one folder, and give its path"
        )
    return download(parse_address(address), wanted, progress)


def find_index(path: Path) -> Path | None:
    """Return the file through which a checkpoint of several files is read; None where `path` is read itself.

    Args:
        path: any file of a TensorFlow checkpoint or of one in shards, or a folder with weights of a usual name.

    Raises:
        CheckpointError: it belongs to a checkpoint whose index is not there, or to several.
        OSError: it cannot be read.
    """
    return find_tf_checkpoint(path) or find_hub_checkpoint(path)


def _local(path: Path) -> ResolvedSource:
    try:
        found = find_index(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    if found is None or found == path:
        return ResolvedSource(path)
    return ResolvedSource(found, notes=(f"{path.name} is read through {found.name}",))


def from_hub(address: str, wanted: str | None, progress: Progress) -> ResolvedSource:
    """Return a file of the Hub, from its cache or the network.

    Args:
        address: `hf://owner/repo/path/to/file[@revision]`.
        wanted: the SHA-256 that it must have.
        progress: called before the request.

    Raises:
        CheckpointError: it is not available, or has another SHA-256.
        UsageError: another form of address.
        UnavailableError: huggingface_hub is not installed.
    """
    parts = HUB.fullmatch(address)
    if parts is None or ".." in parts[2].split("/"):
        raise UsageError(f"{redact(address)}: of the Hub, give hf://owner/repo/path/to/file[@revision]")
    repo, name, revision = parts.groups()
    path = _fetch(address, repo, name, revision, progress)
    # <cache>/snapshots/<commit>/<path> links to blobs/<SHA-256> where the Hub keeps large files
    parents = path.parents[len(Path(name).parts) - 1 :]
    commit = parents[0].name if parents[1].name == "snapshots" else revision
    blob = path.resolve().name
    recorded = blob if re.fullmatch(r"[0-9a-f]{64}", blob) else None
    if name.endswith(INDEX_SUFFIX):
        recorded = None  # the hash of a checkpoint in shards is of all its files
        _fetch_shards(address, repo, path, name.rpartition("/")[0], commit, progress)
    if wanted is not None and recorded is not None and wanted != recorded:
        raise CheckpointError(f"{address}: the Hub's file has SHA-256 {recorded[:16]}…, not {wanted[:16]}…")
    return ResolvedSource(
        path, f"hf://{repo}/{name}@{commit}", wanted or recorded, (f"from the Hub, revision {commit}",)
    )


def _fetch_shards(address: str, repo: str, index: Path, folder: str, commit: str | None, progress: Progress) -> None:
    """Download the shards of an index, which the Hub's cache keeps beside it."""
    with index.open("rb") as stream, naming(address):
        names = sorted(set(parse_index(stream.read(MAX_INDEX + 1)).values()))
    for name in names:
        _fetch(address, repo, f"{folder}/{name}".lstrip("/"), commit, progress)


def _fetch(address: str, repo: str, name: str, revision: str | None, progress: Progress) -> Path:
    try:
        from huggingface_hub import errors, hf_hub_download
        from huggingface_hub.utils import disable_progress_bars
    except ImportError as error:
        raise UnavailableError(f"{address} needs huggingface_hub; {install_command('hub')}") from error
    disable_progress_bars()  # the progress is ours, on a terminal only
    progress(f"downloading {name} of {repo} from the Hub")
    login = "log in with `hf auth login` or set HF_TOKEN"
    try:
        return Path(hf_hub_download(repo, name, revision=revision))
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{address}: the repository is gated; accept its terms on the Hub, and {login}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(f"{address}: no such repository; if it is private, {login}") from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{address}: the repository has no revision {revision}") from error
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(f"{address}: not in the cache, and the Hub cannot be reached") from error
    except errors.EntryNotFoundError as error:
        raise CheckpointError(f"{address}: the repository has no file {name}") from error
    except errors.HFValidationError as error:
        raise UsageError(f"{address}: {_reason(error)}") from error
    except Exception as error:
        raise CheckpointError(f"{address}: the download failed: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return TOKEN.sub("hf_…", first_line(error))
