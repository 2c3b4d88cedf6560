"""The truth is the network in float64, held against an independent computation."""

import numpy as np
from helpers import reference

from exporter.parity.inputs import ClipPool
from exporter.parity.truth import Truth
from models.builder import BuiltNetwork


def test_truth_equals_an_independent_computation(built: BuiltNetwork, pool: ClipPool, truth: Truth) -> None:
    state = {name: value.double().numpy() for name, value in built.network.state_dict().items()}
    place = pool.members["video"][0]
    expected = reference.answers(state, pool.clips[place].astype(np.float64), "symmetric")
    for name, values in truth.exact.items():
        assert values.dtype == np.float64
        assert np.abs(values[place] - expected[name]).max() <= 1e-12 * np.abs(expected[name]).max(), name


def test_pytorchs_float32_errs_a_little_and_everywhere(truth: Truth) -> None:
    for name in ("logits", "fc6", "fc7"):
        exact, single = truth.exact[name], truth.torch[name]
        assert single.dtype == np.float32
        errors = np.abs(single - exact).max(axis=1) / np.abs(exact).max(axis=1)
        assert (errors > 1e-8).all()
        assert (errors < 1e-5).all()
