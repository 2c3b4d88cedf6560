"""Files of the Hugging Face Hub, through huggingface_hub, which caches, resumes, and works offline from its cache.

Its time limits are a socket's (`HF_HUB_DOWNLOAD_TIMEOUT`, 10 s without a byte); `--timeout` limits the whole command.
"""

import re
from pathlib import Path

from models.checkpoints.download import ResolvedSource
from models.errors import CheckpointError, UnavailableError, UsageError, first_line, install_command
from models.http.addresses import redact
from models.progress import Progress

HUB = re.compile(r"hf://([^/@#?:]+/[^/@#?:]+)/([^@#?]+?)(?:@([^@#?]+))?")
TOKEN = re.compile(r"hf_[A-Za-z0-9]{8,}")


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
    if wanted is not None and recorded is not None and wanted != recorded:
        raise CheckpointError(f"{address}: the Hub's file has SHA-256 {recorded[:16]}…, not {wanted[:16]}…")
    return ResolvedSource(
        path, f"hf://{repo}/{name}@{commit}", wanted or recorded, (f"from the Hub, revision {commit}",)
    )


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
