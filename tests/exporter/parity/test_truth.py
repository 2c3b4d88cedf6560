"""The truth is the network in float64, held against an independent computation."""

from pathlib import Path

import numpy as np
from helpers import reference

from exporter.parity.inputs import InputPool
from exporter.parity.truth import Truth
from models.builder import BuiltNetwork
from models.spec import OUTPUTS


def test_truth_equals_an_independent_computation(built: BuiltNetwork, pool: InputPool, truth: Truth) -> None:
    state = {name: value.double().numpy() for name, value in built.network.state_dict().items()}
    place = pool.names.index("video")
    expected = reference.answers(state, pool.feeds["clip"][place].astype(np.float64), "symmetric")
    for name in OUTPUTS:
        values = truth.exact(name, [place])
        assert values.dtype == np.float64
        assert np.abs(values[0] - expected[name]).max() <= 1e-12 * np.abs(expected[name]).max(), name


def test_pytorchs_float32_errs_a_little_and_everywhere(truth: Truth) -> None:
    for name in ("logits", "fc6", "fc7"):
        rows = range(len(truth.pool.names))
        exact, single = truth.exact(name, rows), truth.single(name, rows)
        assert single.dtype == np.float32
        errors = np.abs(single - exact).max(axis=1) / np.abs(exact).max(axis=1)
        assert (errors > 1e-8).all()
        assert (errors < 1e-5).all()


def test_the_cache_answers_without_computing(tmp_path: Path, truth: Truth, pool: InputPool) -> None:
    few = InputPool(pool.take([1]), ("zeros",))
    first, again = (Truth(truth.source, few, tmp_path) for _ in range(2))
    first.ensure([0])
    again.ensure([0])
    assert (first.computed, again.computed) == (1, 0)
    assert np.array_equal(first.exact("logits", [0]), again.exact("logits", [0]))
    (damaged,) = tmp_path.glob("*.npz")
    damaged.write_bytes(b"torn")
    third = Truth(truth.source, few, tmp_path)
    third.ensure([0])
    assert third.computed == 1
