"""Class names: the lists that ship with the package, and the user's own.

The order of the names belongs to the origin of a checkpoint: two origins sort the classes of UCF-101 differently, and
no shape shows which of them trained a file. Each layout in `models.checkpoints.layouts` states which list its class
counts mean; `--labels` names one where no layout does. The command line lists the known lists in its help, so nothing
heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from models.errors import BadInputError, UsageError, count, did_you_mean, join_limited

ClassNames = tuple[str, ...]
Labels = str | Path | Sequence[str]
"""A known list's name, a file, or the names themselves."""


@dataclass(frozen=True)
class ClassList:
    """A list of class names that ships with the package.

    Attributes:
        name: what `--labels` calls it.
        count: the number of its classes.
        title: the data set and the order, for display.
        source: where the data set's authors publish the names.
        licence: under which they do.
        file: its names in this package, one a line.
        by_code_point: the names of the file are sorted by code point, as Python's `sorted` does.
    """

    name: str
    count: int
    title: str
    source: str
    licence: str
    file: str
    by_code_point: bool = False


CLASS_LISTS: tuple[ClassList, ...] = (
    ClassList(
        name="sports1m",
        count=487,
        title="Sports-1M",
        source="labels.txt of github.com/gtoderici/sports-1m-dataset (Karpathy et al., CVPR 2014)",
        licence="CC BY 3.0",
        file="sports1m.txt",
    ),
    ClassList(
        name="ucf101",
        count=101,
        title="UCF-101 in the data set's own order (classInd.txt), which does not distinguish upper from lower case",
        source="UCF101TrainTestSplits-RecognitionTask.zip of crcv.ucf.edu (Soomro et al., CRCV-TR-12-01)",
        licence="none stated",
        file="ucf101.txt",
    ),
    ClassList(
        name="ucf101-sorted",
        count=101,
        title="UCF-101 sorted by code point, as a training that sorts the folders does: HammerThrow before Hammering, "
        "JumpRope before JumpingJack",
        source="as ucf101",
        licence="none stated",
        file="ucf101.txt",
        by_code_point=True,
    ),
    ClassList(
        name="hmdb51",
        count=51,
        title="HMDB-51, by alphabet",
        source="serre-lab.clps.brown.edu (Kuehne et al., ICCV 2011)",
        licence="CC BY 4.0",
        file="hmdb51.txt",
    ),
)


@cache
def get_class_names(name: str) -> ClassNames:
    """Return the names of a known list, in order.

    Raises:
        KeyError: there is no such list.
    """
    row = {row.name: row for row in CLASS_LISTS}[name]
    from importlib import resources

    text = resources.files(__name__).joinpath(row.file).read_text(encoding="utf-8")
    names = text.splitlines()
    return tuple(sorted(names) if row.by_code_point else names)


def load_class_names(labels: Labels) -> ClassNames:
    """Return the class names of a known list or of a file, or check those that are given.

    Args:
        labels: a known list's name, or a file in a format of `models.class_names.reading`; a path that is called as a
            known list is written `./ucf101`. Or the names.

    Raises:
        BadInputError: there is no such file, or it is not a list of class names.
        UsageError: there is no such list, or the names that are given are not class names.
    """
    from models.class_names.reading import check_names, read_names

    if not isinstance(labels, str | Path):
        try:
            return check_names(labels)
        except BadInputError as error:
            raise UsageError(f"class names: {error}") from error
    known = [row.name for row in CLASS_LISTS]
    if str(labels) in known:
        return get_class_names(str(labels))
    if not Path(labels).exists():
        error = BadInputError if Path(labels).suffix else UsageError  # as for --preprocess
        similar = did_you_mean(str(labels), known)
        raise error(f"--labels {labels}: neither a file nor a known list; known are {list_known()}{similar}")
    return read_names(Path(labels))


def check_class_count(names: ClassNames, classes: int, labels: Labels | None = None) -> None:
    """Refuse names of another number than the network has classes.

    Args:
        names: the class names.
        classes: the network's classes; 0 for a network that returns features only.
        labels: what the user named; None where a program gave the names.

    Raises:
        UsageError: the numbers differ; the message states both.
    """
    if len(names) == classes:
        return
    given = f"--labels {labels}" if isinstance(labels, str | Path) else "the class names"
    has = f"the network has {count(classes, 'class')}" if classes else "the network returns no class scores"
    fitting = [row.name for row in CLASS_LISTS if row.count == classes]
    hint = f"; of that number are {join_limited(fitting)}" if fitting else ""
    raise UsageError(f"{given}: {count(len(names), 'name')}, but {has}{hint}")


def suggest_labels(classes: int) -> str:
    """Return what the user can give for a network of so many classes: `--labels ucf101, …`."""
    fitting = [f"--labels {row.name}" for row in CLASS_LISTS if row.count == classes]
    return ", ".join([*fitting, "--labels FILE"][:-1]) + (" or " if fitting else "") + "--labels FILE"


def describe_class_names(names: ClassNames) -> str:
    """Return `101 (ucf101): ApplyEyeMakeup, ApplyLipstick, Archery and 98 more`; the list where it is a known one."""
    known = [f" ({row.name})" for row in CLASS_LISTS if names == get_class_names(row.name)]
    return f"{len(names)}{''.join(known)}: {join_limited(names, 3)}"


def list_known() -> str:
    """Return the known lists with their numbers of classes, for display."""
    return ", ".join(f"{row.name} ({row.count})" for row in CLASS_LISTS)
