"""Which network of a file is loaded, where it holds several: the usual one, or the one that was asked for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from models.checkpoints.contents import TensorTree, unwrap
from models.checkpoints.detection import LayoutMatch
from models.checkpoints.layout import LAYERS
from models.errors import CheckpointError, UsageError
from models.options import WeightSelection

USUAL_KEYS = ("state_dict", "model_state_dict", "model", "net", "")
"""Keys under which training scripts keep the network being trained, the first of which is taken."""

USUAL_PREFIX = re.compile(r"((module|model|net|network|backbone|c3d)\.)*", re.IGNORECASE)
"""Prefixes that wrappers put before the names of the only network."""

AVERAGE = re.compile(
    r"(^|[^a-z])(ema|swa|averaged?|averages|shadow|polyak|exponentialmovingaverage)([^a-z]|$)", re.IGNORECASE
)
"""Names of averages over the course of training."""

OPTIMIZER = re.compile(
    r"(^|[^a-z])(optim(i[sz]ers?)?|opt|solver)(_?(states?|weights))?(_?dict)?([./]|$)", re.IGNORECASE
)
"""Names of an optimizer's state, which may hold a tensor for each of the network's."""

MAX_LISTED = 10


@dataclass(frozen=True)
class Candidate:
    """A network in a file.

    Attributes:
        key: the path of the dict that holds it; "" for the top.
        prefix: the prefix of its names in that dict.
        matches: the layouts that match its tensors equally well.
        same_as: further paths under which the file has the same dict.
    """

    key: str
    prefix: str
    matches: tuple[LayoutMatch, ...]
    same_as: tuple[str, ...] = ()

    @property
    def match(self) -> LayoutMatch:
        """The one layout that matches.

        Raises:
            CheckpointError: several do.
        """
        first, *others = self.matches
        if others:
            reported = "; ".join(
                f"--layout {match.layout.name} ({match.layout.disambiguation})" for match in self.matches
            )
            raise CheckpointError(
                f"names and shapes fit {len(self.matches)} origins whose numbers mean different things, so its layout "
                f"must be named: {reported}"
            )
        return first

    @property
    def place(self) -> str:
        """Where it is, for display."""
        keys = " and ".join(map(repr, (self.key, *self.same_as)))
        parts = [f"under {keys}, which are the same dict," if self.same_as else f"under {keys}"] if self.key else []
        parts += [f"with the prefix {self.prefix!r}"] if self.prefix else []
        return " ".join(parts).removesuffix(",") or "at the top"

    def path(self, name: str) -> str:
        """Return the path of a tensor that is called `name` below the key."""
        return f"{self.key}.{name}" if self.key else name

    @property
    def is_average(self) -> bool:
        """Whether its key or prefix says that it is an average over the course of training."""
        return AVERAGE.search(f"{self.key}.{self.prefix}") is not None

    @property
    def is_also_average(self) -> bool:
        """Whether it is an average under one of its keys: the same weights may be both."""
        return self.is_average or any(AVERAGE.search(key) for key in self.same_as)

    @property
    def is_usual(self) -> bool:
        """Whether its key and prefix are what training scripts call the network."""
        return self.key in USUAL_KEYS and USUAL_PREFIX.fullmatch(self.prefix) is not None

    @property
    def layers(self) -> frozenset[str]:
        """The layers whose weights it has, by their canonical names."""
        return frozenset(name.removesuffix(".weight") for name in self.matches[0].weights)

    def options(self, others: Sequence[Candidate]) -> str:
        """Return the command-line options that choose it among other networks of the file."""
        same_key = any(other.key == self.key for other in others if other != self)
        same_prefix = any(other.prefix == self.prefix for other in others if other != self)
        key = [f"--key {shlex.quote(self.key)}"] if same_prefix or not same_key else []
        prefix = [f"--prefix {shlex.quote(self.prefix)}"] if same_key else []
        return " ".join(key + prefix)


def find_candidates(contents: TensorTree, networks: Sequence[tuple[LayoutMatch, ...]]) -> tuple[Candidate, ...]:
    """Return the networks of a file with their keys, complete ones if there are any.

    A network whose key or prefix is an optimizer's counts only where there is no other: some scripts call the object
    that holds the network `solver`.
    """
    places = [contents.split(matches[0].prefix) for matches in networks]
    every = [
        Candidate(*place, found, contents.same_as(place[0])) for place, found in zip(places, networks, strict=True)
    ]
    found = [one for one in every if not OPTIMIZER.search(f"{one.key}.{one.prefix}")] or every
    return tuple([one for one in found if one.matches[0].fits] or found)


def choose(candidates: Sequence[Candidate], selection: WeightSelection) -> Candidate:
    """Return the network to load: the one that was asked for, the only one, or the usual one.

    Args:
        candidates: the networks of the file, at least one.
        selection: what was asked for.

    Raises:
        CheckpointError: there are several, none of which is the usual one, or another has more layers.
        UsageError: the file holds none at the key or prefix, or none that is an average.
    """
    wanted = [one for one in candidates if _is_wanted(one, selection)]
    if not wanted:
        if _asked(selection) == "--ema":
            raise UsageError(f"--ema: the file has no average of the weights; it has those {_list_paths(candidates)}")
        places = _list_paths(candidates)
        raise UsageError(f"{_asked(selection)}: no such network in the file; networks found: {places}")
    if len(wanted) == 1:
        return wanted[0]
    usual = sorted((one for one in wanted if one.is_usual), key=lambda one: USUAL_KEYS.index(one.key))
    first = [one for one in usual if one.key == usual[0].key]
    trained = [one for one in wanted if not one.is_average]
    taken = first[0] if len(first) == 1 else trained[0] if len(trained) == 1 else None
    if taken is None:
        why = "none of which is the usual one"
    elif longer := next((one for one in wanted if one.layers > taken.layers), None):
        more = ", ".join(layer for layer in LAYERS if layer in longer.layers - taken.layers)
        why = f"of which the usual one, {taken.place}, has no {more}, which another has"
    else:
        return taken
    raise CheckpointError(f"holds {len(wanted)} networks, {why}; choose with {list_options(wanted, candidates)}")


def list_options(chosen: Sequence[Candidate], candidates: Sequence[Candidate]) -> str:
    """Return the options that choose each of several networks: `--key model, --key teacher or --key ema`."""
    options = [one.options(candidates) for one in chosen]
    if len(options) > MAX_LISTED:
        return f"{', '.join(options[:MAX_LISTED])} and so on, {len(options)} in all"
    return " or ".join(filter(None, (", ".join(options[:-1]), options[-1])))


def _is_wanted(one: Candidate, selection: WeightSelection) -> bool:
    key, prefix = _plain(selection.key), _plain(selection.prefix)
    return (
        key in (None, one.key, *one.same_as)
        and prefix in (None, one.prefix.rstrip("./"))
        and (one.is_also_average or not selection.ema)
    )


def _plain(name: str | None) -> str | None:
    return None if name is None else unwrap(f"{name}.").rstrip("./")


def _asked(selection: WeightSelection) -> str:
    options = [f"--{name} {value!r}" for name in ("key", "prefix") if (value := getattr(selection, name)) is not None]
    return " ".join(options + ["--ema"] * selection.ema)


def _list_paths(candidates: Sequence[Candidate]) -> str:
    return "; ".join(one.place for one in candidates[:MAX_LISTED])
