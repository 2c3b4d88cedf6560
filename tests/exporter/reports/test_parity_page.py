"""The page of `verify parity --html`: whole, in order, escaped, self-contained. tests/exporter/reports/test_browser.py looks."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from helpers.page import Page, assert_complete
from helpers.reports import HOSTILE, comparison, features, hostile, report

from exporter.reports.parity_page import headline, parity_page, sentences
from exporter.results import ParityReport

MADE = datetime(2026, 11, 24, 20, 30, tzinfo=UTC)
CASES = {
    "passed": (report(),),
    "failed": (report(budget_used=8352.0),),
    "hostile": (hostile(),),
    "features": (features(),),
    "several": (report(), report("b/c3d.pt", budget_used=2.0), hostile(), features()),
}


@pytest.fixture(scope="module")
def pages() -> dict[str, Page]:
    return {name: Page(parity_page(reports, MADE)) for name, reports in CASES.items()}


@pytest.fixture(params=CASES)
def page(request: pytest.FixtureRequest, pages: dict[str, Page]) -> Page:
    return pages[request.param]


def test_the_page_is_complete_and_loads_nothing_from_the_network(page: Page) -> None:
    assert_complete(page)
    assert not re.search(r"//[a-z]", page.source)
    policy = next(meta["content"] for meta in page.named("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_texts_are_escaped_and_kept(pages: dict[str, Page]) -> None:
    page = pages["hostile"]
    assert "<script" not in page.source
    assert "\x07" not in page.source
    assert "\u202e" not in page.source
    kept = HOSTILE.replace("\x07", "\ufffd").replace("\u202e", "\ufffd")
    assert page.shown("dd").count(kept) >= 4  # artifact, reference, tolerance, environment, hashes
    assert kept in page.shown("li")
    assert kept in page.shown("svg", "text") or any("alert" in text for text in page.shown("svg", "text"))


@pytest.mark.parametrize(("name", "result"), [("passed", "Passed"), ("failed", "Failed"), ("several", "Failed")])
def test_the_result_comes_first(pages: dict[str, Page], name: str, result: str) -> None:
    texts = pages[name].shown("body")
    assert texts[:2] == ["Skip to the results", "Parity report"]
    assert result in texts[2:4]
    assert len(pages[name].named("h1")) == 1
    path = next(path for tag, _, path in pages[name].tags if tag == "h1")
    assert "header" in path


def test_headings_do_not_skip_a_level(page: Page) -> None:
    levels = [int(tag[1]) for tag, _, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_tables_have_captions_and_scopes(page: Page) -> None:
    assert page.named("table")
    assert len(page.named("caption")) == len(page.named("table"))
    assert all(attributes.get("scope") in ("row", "col", "colgroup") for attributes in page.named("th"))
    boxes = [attributes for attributes in page.named("div") if attributes.get("class") == "box"]
    assert len(boxes) == len(page.named("table"))
    assert all(box["tabindex"] == "0" and box["role"] == "region" for box in boxes)


def test_charts_have_text_alternatives(page: Page) -> None:
    charts = page.named("svg")
    assert charts
    assert all(chart["role"] == "img" and len(chart["aria-label"]) > 20 for chart in charts)
    films = [attributes for attributes in page.named("div") if attributes.get("class") == "film"]
    assert all(film["role"] == "img" and "Frames 1, 4, 7, 10, 13 and 16" in film["aria-label"] for film in films)


def read_rows(page: Page, caption: str) -> list[list[str]]:
    """Return the cells of the table of this caption."""
    source = page.source[page.source.index(caption) :]
    body = source[source.index("<tbody>") : source.index("</tbody>")]
    return [Page(row).shown() for row in body.split("</tr>") if "<th" in row]


def test_every_input_has_its_numbers(pages: dict[str, Page]) -> None:
    rows = read_rows(pages["passed"], "Absolute errors of output logits")
    assert [row[:6] for row in rows] == [
        ["random", "1", "pass", "7%", "5.6e-07", "1.0e-06"],
        ["zeros", "1", "pass", "3%", "2.5e-07", "1.0e-06"],
        ["ride.mp4", "1", "pass", "5%", "4.2e-07", "1.0e-06"],
        ["random + ride.mp4", "2", "pass", "4%", "3.4e-07", "1.0e-06"],
    ]
    failed = read_rows(pages["failed"], "Absolute errors of output logits")
    assert failed[0][:4] == ["random", "1", "FAIL", "8,352x"]


def test_the_highest_classes_are_side_by_side(pages: dict[str, Page]) -> None:
    rows = read_rows(pages["passed"], "ride.mp4: five highest of logits")
    assert rows[0] == ["1", "400", "5.5000", "400", "5.5000", "400", "5.5000"]
    (other,) = [row for row in read_rows(pages["passed"], "random: five highest of logits") if "differs:" in row]
    assert other == ["5", "524", "1.5000", "524", "1.5000", "≠", "differs:", "7", "1.5000"]
    frames = [image for image in pages["passed"].named("img") if image["src"].startswith("data:image/jpeg;base64,")]
    assert len(frames) == 6
    assert all((image["width"], image["height"]) == ("160", "120") for image in frames)


def test_counts_and_layers_are_in_tables(pages: dict[str, Page]) -> None:
    counts = read_rows(pages["failed"], "Number of values of output logits")
    assert counts == [
        ["no error in float32", "6", "5"],
        ["up to 1 %", "11", "12"],
        ["1 % to 10 %", "200", "201"],
        ["10 % to 100 %", "267", "269"],
        ["100 % to 1,000 %", "3", "0"],
    ]
    assert "3 of 487 values exceed their budget." in " ".join(pages["failed"].shown("figcaption"))
    layers = read_rows(pages["failed"], "Errors by layer on ride.mp4")
    assert layers[1] == ["conv2", "not in the graph", "-", "-", "3.3e-07", "-"]
    assert layers[2] == ["fc8", "logits", "similarity", "8.4e-03", "4.4e-07", "8,352x"]


def test_sections_without_content_are_omitted(pages: dict[str, Page]) -> None:
    texts = pages["features"].shown("h2")
    assert texts == ["Error by input", "Method", "Environment and files"]
    assert pages["passed"].shown("h2") == [
        "Notes",
        "Error by input",
        "Error of every value",
        "Error by layer",
        "Highest classes",
        "Determinism",
        "Method",
        "Environment and files",
    ]


def test_many_inputs_are_all_in_the_table(pages: dict[str, Page]) -> None:
    many = replace(report(), comparisons=tuple(comparison(f"clip{n}.mp4", n / 1000) for n in range(100)))
    page = Page(parity_page([many], MADE))
    assert len(read_rows(page, "Absolute errors of output logits")) == 100
    drawn = {text for text in page.shown("svg", "text") if text.startswith("clip")}
    assert drawn == {f"clip{n}.mp4" for n in range(60, 100)}
    assert "Only the 40 of 100 inputs that use most of their budgets" in " ".join(page.shown("figcaption"))


@pytest.mark.parametrize(
    ("given", "title", "reported"),
    [
        (
            report(),
            "c3d.onnx returns what the network returns",
            ["All 4 comparisons are within budget. random uses the most: 7%."],
        ),
        (
            report(budget_used=8352.0),
            "c3d.onnx does not return what the network returns",
            [
                "1 of 4 comparisons fail. The worst is random (logits): its error is 8,352 times the budget.",
                "It diverges at fc8.",
            ],
        ),
        (
            features(),
            "c3d.onnx failed the check",
            [
                "The one comparison is within budget. random uses the most: 50%.",
                "The check failed because 1 of 27 nodes did not run on cuda.",
            ],
        ),
        (
            replace(report(), passed=False, float64_name="b.onnx in float64"),
            "c3d.onnx failed the check",
            [
                "All 4 comparisons are within budget. random uses the most: 7%.",
                "The notes say why.",
            ],
        ),
        (replace(report(), comparisons=(), passed=False), "c3d.onnx failed the check", ["Nothing was compared."]),
        (replace(report(), float64_name="b.onnx in float64"), "c3d.onnx returns what b.onnx returns", None),
    ],
)
def test_the_result_as_sentences(given: ParityReport, title: str, reported: list[str] | None) -> None:
    assert headline(given) == title
    if reported is not None:
        assert list(sentences(given)) == reported


def test_the_same_reports_give_the_same_page() -> None:
    assert parity_page((report(),), MADE) == parity_page((report(),), MADE)


def test_discrete_outputs_have_a_table_of_equal_elements() -> None:
    row = replace(comparison("random", 0.25), max_error=0.01, float32_max_error=0.002, budget=0.04, equal=0.99)
    page = Page(parity_page([replace(report(), comparisons=(row,))], MADE))
    (cells,) = read_rows(page, "Equal elements of output logits")
    assert cells[2:] == ["pass", "25%", "99.0000%", "99.8000%", "4.0000%"]
