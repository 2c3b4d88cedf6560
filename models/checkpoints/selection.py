"""Which network of a file is loaded, where it holds several: the usual one, or the one that was asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from models.checkpoints.contents import Contents
from models.checkpoints.detection import LayoutMatch
from models.errors import CheckpointError, join_limited

USUAL_KEYS = ("state_dict", "model_state_dict", "model", "net", "")
"""Keys under which training scripts keep the network being trained, the first of which is taken."""

USUAL_PREFIX = re.compile(r"((module|model|net|network|backbone|c3d|_orig_mod)\.)*")
"""Prefixes that wrappers put before the names of the only network."""

AVERAGE = re.compile(r"(^|[^a-z])(ema|swa|averaged?|shadow|polyak)([^a-z]|$)", re.IGNORECASE)
"""Names of averages over the course of training."""

OPTIMIZER = re.compile(r"(^|[^a-z])(optim(izer)?|opt|solver)(_?state)?(_?dict)?([^a-z]|$)", re.IGNORECASE)
"""Names of an optimizer's state, which may hold a tensor for each of the network's."""


@dataclass(frozen=True)
class Candidate:
    """A network in a file.

    Attributes:
        key: the path of the dict that holds it; "" for the top.
        prefix: the prefix of its names in that dict.
        matches: the layouts that match its tensors equally well.
    """

    key: str
    prefix: str
    matches: tuple[LayoutMatch, ...]

    @property
    def place(self) -> str:
        """Where it is, for display."""
        parts = [f"under {self.key!r}"] if self.key else []
        parts += [f"with the prefix {self.prefix!r}"] if self.prefix else []
        return " ".join(parts) or "at the top"

    @property
    def is_average(self) -> bool:
        """Whether its key or prefix says that it is an average over the course of training."""
        return AVERAGE.search(f"{self.key}.{self.prefix}") is not None

    @property
    def is_usual(self) -> bool:
        """Whether its key and prefix are what training scripts call the network."""
        return self.key in USUAL_KEYS and USUAL_PREFIX.fullmatch(self.prefix) is not None


def find_candidates(contents: Contents, networks: Sequence[tuple[LayoutMatch, ...]]) -> tuple[Candidate, ...]:
    """Return the networks of a file with their keys; an optimizer's copies are none."""
    found = [Candidate(*contents.split(matches[0].prefix), matches) for matches in networks]
    return tuple(one for one in found if not OPTIMIZER.search(f"{one.key}.{one.prefix}"))


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """Return the network to load: the only one, or the usual one.

    Raises:
        CheckpointError: there are several, of which none is the usual one.
    """
    if len(candidates) == 1:
        return candidates[0]
    usual = sorted((one for one in candidates if one.is_usual), key=lambda one: USUAL_KEYS.index(one.key))
    trained = [one for one in candidates if not one.is_average]
    if usual:
        return usual[0]
    if len(trained) == 1:
        return trained[0]
    places = join_limited((one.place for one in candidates), 10)
    raise CheckpointError(f"holds {len(candidates)} networks, of which one must be chosen: {places}")
