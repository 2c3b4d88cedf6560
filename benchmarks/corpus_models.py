"""The models of the corpus: the backend tests of the installed onnx package, and the network files of a folder.

onnx defines its tests of single operators in Python and installs the others as files. The former are written to a
folder here, with the inputs of the tests.
"""

from __future__ import annotations

import pickle
import random
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

MODEL_FILE, INPUTS_FILE = "model.onnx", "inputs.pickle"
NETWORK, LIGHT = "network", "light"
"""The groups of models that were exported from networks (`corpus_networks.py`), and of onnx's networks."""


@dataclass(frozen=True)
class CorpusModel:
    """A model file.

    Attributes:
        name: unique in the corpus: `node/test_abs`.
        path: the file.
    """

    name: str
    path: Path

    @property
    def group(self) -> str:
        """The kind of onnx's test, or `network`."""
        return self.name.partition("/")[0]

    @property
    def is_large(self) -> bool:
        """Whether it is a whole network, onnx's included, which are checked last and get more time."""
        return self.group in (NETWORK, LIGHT)

    def inputs(self) -> list[Any] | None:
        """Return the inputs of onnx's first test of this model, in the graph's order; None where it has none.

        Each is an array, a list of arrays for a sequence, or None for an optional input without a value.
        """
        stored = self.path.with_name(INPUTS_FILE)
        if stored.is_file():
            return pickle.loads(stored.read_bytes())  # written by `write_node_tests`
        files = sorted(self.path.parent.glob("test_data_set_0/input_*.pb"), key=lambda file: int(file.stem[6:]))
        graph = onnx.load(self.path, load_external_data=False).graph if files else None
        types = [value.type for value in graph.input] if graph else []
        return [_read_value(file, kind) for file, kind in zip(files, types, strict=False)] or None


def _read_value(path: Path, kind: onnx.TypeProto) -> Any:
    """Read an input from the file in which onnx stores it."""
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(path.read_bytes()))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(path.read_bytes()))
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


def find_models(folder: Path, networks: Sequence[Path]) -> list[CorpusModel]:
    """Return onnx's backend tests and the networks' files: by name, large ones last.

    Args:
        folder: where the tests are written that onnx defines in Python.
        networks: folders of ONNX files.
    """
    write_node_tests(folder)
    from onnx.backend.test.loader import DATA_DIR

    data = Path(DATA_DIR)
    found = {f"node/{path.parent.name}": path for path in folder.glob(f"*/{MODEL_FILE}")}
    found |= {f"{path.parent.parent.name}/{path.parent.name}": path for path in data.glob(f"*/*/{MODEL_FILE}")}
    found |= {f"{LIGHT}/{path.stem}": path for path in data.glob(f"{LIGHT}/*.onnx")}
    found |= {f"{NETWORK}/{path.stem}": path for folder in networks for path in folder.glob("*.onnx")}
    return _ordered(CorpusModel(name, path) for name, path in found.items())


def _ordered(models: Iterable[CorpusModel]) -> list[CorpusModel]:
    return sorted(models, key=lambda model: (model.is_large, model.name))


def write_node_tests(folder: Path) -> None:
    """Write the models of onnx's operator tests and their inputs, once."""
    complete = folder / "complete"
    if complete.is_file() and complete.read_text() == onnx.__version__:
        return
    for name, model, inputs in _node_tests():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / MODEL_FILE).write_bytes(model.SerializeToString())
        (folder / name / INPUTS_FILE).write_bytes(pickle.dumps(inputs))
    complete.write_text(onnx.__version__)


def _node_tests() -> Iterator[tuple[str, onnx.ModelProto, list[Any] | None]]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some tests overflow on purpose
        cases = collect_testcases(None)  # pyright: ignore[reportArgumentType] - None stands for every operator
    for case in cases:
        if case.model is not None:
            sets = case.data_sets or []
            yield case.name, case.model, list(sets[0][0]) if sets else None


def sample(models: Sequence[CorpusModel], count: int, seed: int) -> list[CorpusModel]:
    """Return every network and a random selection of the other models."""
    others = [model for model in models if model.group != NETWORK]
    chosen = random.Random(seed).sample(others, min(count, len(others)))
    return _ordered([*chosen, *(model for model in models if model.group == NETWORK)])
