"""Long measurements in pieces: results are stored in a file, and the next call continues where the last one stopped."""

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Pieces:
    """Results by name, in a JSON file.

    Attributes:
        path: the file, outside the repository.
        end: when this call has to stop, by `time.monotonic`.
        done: {name: result}.
        flags: the flags of the script that were given.
    """

    path: Path
    end: float
    done: dict[str, Any] = field(default_factory=dict[str, Any])
    flags: frozenset[str] = frozenset()

    @property
    def over(self) -> bool:
        """Whether this call has to stop."""
        return time.monotonic() > self.end

    def keep(self, name: str, result: Any) -> None:
        """Add a result to the file."""
        self.done[name] = result
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.done))
        part.replace(self.path)


def pieces(description: str, *flags: str) -> Pieces:
    """Read `--into FILE`, `--seconds N` and the script's own flags from the command line, and the results in FILE."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--into", type=Path, required=True, help="file of the results so far")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this time; another call continues")
    for flag in flags:
        parser.add_argument(f"--{flag}", action="store_true")
    given = parser.parse_args()
    done = json.loads(given.into.read_text()) if given.into.is_file() else {}
    set_flags = frozenset(flag for flag in flags if getattr(given, flag))
    return Pieces(given.into, time.monotonic() + given.seconds, done, set_flags)
