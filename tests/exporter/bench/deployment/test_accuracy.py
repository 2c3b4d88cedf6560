"""The accuracy of a target on held-out clips."""

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.bench.deployment.accuracy import Accuracy, measure_accuracy
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputSet
from models.specs import Signature, TensorSpec

SCORES = np.array([[3.0, 4.0], [0.0, 10.0], [6.0, 8.0]])
FEATURES = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 4.0]])


class Runtime:
    """Returns the row of SCORES and FEATURES that its input names."""

    signature = Signature((TensorSpec("x", "float32", ("n", 1)),), ())
    notes = ()

    def run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        rows = feeds["x"][:, 0].astype(int)
        return {"scores": SCORES[rows], "fc6": FEATURES[rows]}


class Source:
    features = frozenset({"fc6"})
    decisions = None

    @contextmanager
    def open(self, *_: object, **__: object) -> Generator[Runtime]:
        yield Runtime()


@pytest.fixture
def golden() -> GoldenOutputs:
    inputs = InputSet.of_rows({"x": np.arange(3, dtype=np.float32)[:, None]}, ("a", "b", "c"))
    return GoldenOutputs(Source(), inputs)  # pyright: ignore[reportArgumentType] - as much of a source as it needs


def test_the_lowest_of_all_clips_and_outputs_is_stated(golden: GoldenOutputs) -> None:
    """Errors of 0.05 on 5, 0.01 on 10, 0.1 on 10: 40, 60 and 40 dB; of the features 0.2 on 2: 20 dB."""
    scores = SCORES + np.array([[0.05, 0.0], [0.0, 0.01], [0.1, 0.0]])
    assert measure_accuracy({"scores": scores}, golden).snr_db == pytest.approx(40)
    features = FEATURES + np.array([[0.0, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 0.0]])
    assert measure_accuracy({"scores": scores, "fc6": features}, golden).snr_db == pytest.approx(20)


def test_the_share_of_clips_with_the_same_highest_class(golden: GoldenOutputs) -> None:
    scores = SCORES + np.array([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert measure_accuracy({"scores": scores}, golden).top1 == pytest.approx(2 / 3)


def test_features_have_no_highest_class(golden: GoldenOutputs) -> None:
    assert measure_accuracy({"fc6": FEATURES}, golden) == Accuracy(math.inf, None)


def test_an_output_that_is_not_finite_has_no_accuracy(golden: GoldenOutputs) -> None:
    scores = SCORES.copy()
    scores[1, 0] = np.nan
    assert measure_accuracy({"scores": scores}, golden).snr_db == -math.inf


def test_outputs_that_are_not_the_networks_are_refused(golden: GoldenOutputs) -> None:
    with pytest.raises(ValueError, match="output scores has the shape"):
        measure_accuracy({"scores": SCORES[:, :1]}, golden)
    with pytest.raises(ValueError, match="returns y; the network returns scores, fc6"):
        measure_accuracy({"y": SCORES}, golden)
