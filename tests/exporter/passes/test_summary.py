"""Why nodes stayed as they are, each reason once."""

from exporter.passes.decisions import UNDONE, UNDONE_OPERATOR, Decision, summarise_unchanged


def test_reasons_that_differ_in_sizes_and_times_are_one() -> None:
    rows = [
        Decision("a", "Conv", "direct", "the size of its input is dynamic: (1, 3, t)", remedy="fix it"),
        Decision("b", "Conv", "direct", "winograd 2x2x2 is predicted to take 8.8 ms, not clearly less"),
        Decision("c", "Conv", "direct", "winograd 2x2x2 is predicted to take 12 ms, not clearly less"),
        Decision("d", "Conv", "direct", "the size of its input is dynamic: (1, 8, t)", remedy="fix it"),
        Decision("e", "Conv", "winograd 4x4x4", "direct is predicted to take 20 ms"),
        Decision("f", "BatchNormalization", "left", "its scale is not constant"),
        Decision("fold-constants", UNDONE_OPERATOR, UNDONE, "it failed: half done"),
    ]
    found = summarise_unchanged(rows)
    assert [(row.count, row.operator, row.example) for row in found] == [
        (1, UNDONE_OPERATOR, "fold-constants"),
        (2, "Conv", "a"),
        (2, "Conv", "b"),
        (1, "BatchNormalization", "f"),
    ]
    assert str(found[0]) == "fold-constants was undone: it failed: half done"
    assert str(found[1]) == "2 Conv: the size of its input is dynamic: (1, 3, t) (fix it)"


def test_a_measured_node_has_both_times() -> None:
    row = Decision("a", "Conv", "direct", "measured: conv2d 61.3 ms", measured_ms=47.61)
    (found,) = summarise_unchanged([row])
    assert found.reason == "measured: conv2d 61.3 ms; as it is 47.6 ms"
