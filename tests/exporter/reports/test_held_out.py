"""Reports of artifacts below float32 state which bound applied, the accuracy, and the raised layers."""

import io
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from helpers.reports import comparison, report
from rich.console import Console

from exporter.reports.json_report import parity_to_dict
from exporter.reports.junit import junit
from exporter.reports.parity import print_parity
from exporter.reports.parity_page import parity_page
from exporter.results import HeldOutAccuracy
from exporter.workflows.candidates import ParityFailedError

FOUND = HeldOutAccuracy(8, 30.0, 33.44, "ride.mp4", "logits", 0.9, 0.875)
LOW = replace(
    report(),
    comparisons=(
        replace(comparison("random", 0.5), snr_db=21.04, min_snr_db=15.0),
        replace(comparison("ride.mp4", 0.7), snr_db=33.44, min_snr_db=30.0),
    ),
    held_out=FOUND,
    raised_layers={"fc8": ("fp32", 3.21)},
)


def test_the_console_prints_ratio_and_bound_of_each_row() -> None:
    stream = io.StringIO()
    print_parity(LOW, Console(file=stream, width=80, highlight=False, soft_wrap=True))
    text = stream.getvalue()
    rows = [line.split() for line in text.splitlines() if line.startswith(("random ", "ride.mp4 "))]
    assert [(row[4], row[5]) for row in rows[:2]] == [("21.0", "15"), ("33.4", "30")]
    assert "accuracy 33.4 dB at least on 8 evaluation clips (ride.mp4, logits); 30 dB required" in text
    assert "raised   fc8 computes in fp32: +3.2 dB" in text
    assert all(len(line) <= 80 for line in text.splitlines() if line.startswith(("random ", "ride.mp4 ", "input ")))


def test_junit_states_the_bound() -> None:
    (suite,) = ET.fromstring(junit([LOW]))
    assert [str(case.findtext("system-out")).split(";")[0] for case in suite] == [
        "signal to noise 21.0 dB, at least 15 dB",
        "signal to noise 33.4 dB, at least 30 dB",
    ]


def test_json_has_every_number() -> None:
    (found,) = parity_to_dict([LOW])["reports"]
    assert found["held_out"]["snr_db"] == 33.44
    assert found["comparisons"][1]["min_snr_db"] == 30
    assert found["raised_layers"] == {"fc8": ("fp32", 3.21)}


def test_the_page_states_accuracy_and_raised_layers() -> None:
    page = str(parity_page([LOW]))
    assert "fc8 in fp32 (+3.2 dB)" in page
    assert "33.4, at least 30" in page
    assert "33.4 dB at least on 8 evaluation clips" in page


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (replace(FOUND, snr_db=27.34), "c3d.onnx reaches 27.3 dB on ride.mp4 (logits), with 1 layer raised"),
        (replace(FOUND, snr_db=float("-inf")), "c3d.onnx returns NaN or infinities on ride.mp4"),
        (FOUND, "the highest class is float64's on 87.5% of 8 evaluation clips"),
    ],
)
def test_the_error_of_an_export_names_what_was_measured(found: HeldOutAccuracy, expected: str) -> None:
    message = str(ParityFailedError((replace(LOW, passed=False, held_out=found),)))
    assert expected in message
    assert "nothing was published" in message
    assert "\n" not in message


def test_another_failure_is_not_taken_for_inaccuracy() -> None:
    accurate = replace(FOUND, required_top1=None)
    assert str(ParityFailedError((replace(LOW, passed=False, held_out=accurate),))).startswith("parity failed")
