"""Rows in batches of a dynamic or fixed size."""

from exporter.parity.input_set import InputSet


def test_a_dynamic_batch_has_single_and_mixed_batches(inputs: InputSet) -> None:
    batches = inputs.batches(None)
    assert [len(batch.rows) for batch in batches] == [1, 1, 1, 1, 2, 3]
    assert all(len(set(batch.rows)) == len(batch.rows) for batch in batches)


def test_a_fixed_batch_is_filled(inputs: InputSet) -> None:
    assert [batch.rows for batch in inputs.batches(3)] == [(0, 1, 2), (3, 0, 1)]
    assert [batch.rows for batch in inputs.batches(2, skip=("zeros", "video"))] == [(0, 1)]
