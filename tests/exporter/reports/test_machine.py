"""JSON for machines: finite numbers, nothing that a parser trips over."""

import json
import math

from helpers.reports import hostile, report

from exporter.reports.machine import dump, parity_object


def test_infinities_become_null() -> None:
    assert json.loads(dump({"a": math.inf, "b": [1.5, -math.inf], "c": {"d": math.nan}, "e": "é"})) == {
        "a": None, "b": [1.5, None], "c": {"d": None}, "e": "é",
    }  # fmt: skip


def test_every_number_is_there_and_no_picture() -> None:
    told = json.loads(dump(parity_object([report(), hostile()])))
    assert told["passed"] is False
    assert told["reports"][0]["comparisons"][0]["max_error"] == 0.07 * 8e-6
    assert told["reports"][0]["distributions"][0]["artifact"] == [11, 200, 270, 0, 0]
    assert all("shown" not in each for each in told["reports"])
