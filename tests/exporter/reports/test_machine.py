"""JSON for machines: finite numbers, nothing that a parser trips over."""

import json
import math

from exporter.reports.machine import dump


def test_infinities_become_null() -> None:
    assert json.loads(dump({"a": math.inf, "b": [1.5, -math.inf], "c": {"d": math.nan}, "e": "é"})) == {
        "a": None, "b": [1.5, None], "c": {"d": None}, "e": "é",
    }  # fmt: skip
