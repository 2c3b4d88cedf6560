"""JSON for machines: finite numbers, nothing that a parser trips over."""

import json
import math

from helpers.reports import hostile, report

from exporter.reports.json_report import dump, parity_to_dict


def test_infinities_become_null() -> None:
    assert json.loads(dump({"a": math.inf, "b": [1.5, -math.inf], "c": {"d": math.nan}, "e": "é"})) == {
        "a": None,
        "b": [1.5, None],
        "c": {"d": None},
        "e": "é",
    }


def test_every_number_is_there_and_no_video_frame() -> None:
    reported = json.loads(dump(parity_to_dict([report(), hostile()])))
    assert reported["passed"] is False
    assert reported["reports"][0]["comparisons"][0]["max_error"] == 0.07 * 8e-6
    assert reported["reports"][0]["histograms"][0]["artifact"] == [11, 200, 270, 0, 0]
    assert all("previews" not in each for each in reported["reports"])


def test_what_is_not_printable_is_escaped() -> None:
    value = {"name\n\x1b[2K": "\x9b2J\u202e\udc80 動画", "list": ["a\tb"]}
    text = dump(value)
    assert text.replace("\n", "").isprintable()
    assert "動画" in text
    assert json.loads(text) == value
