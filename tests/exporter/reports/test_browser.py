"""The pages in a real browser: Debian's chromium, headless. `pytest -m browser`, after `apt-get install chromium`."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers import deployments, predict_results
from helpers.bench_reports import REPORT
from helpers.reports import features, hostile, report

from exporter.bench.types import Skipped
from exporter.reports.bench_page import bench_page
from exporter.reports.deployment_page import deployment_page
from exporter.reports.parity_page import parity_page
from exporter.reports.predict_page import predict_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CASES = {
    "passed": (report(),),
    "failed": (report(budget_used=8352.0),),
    "hostile": (hostile(),),
    "several": (report(), report("b/c3d.pt", budget_used=2.0), hostile(), features()),
}
BENCH = {
    "bench": REPORT,
    "bench-failed": replace(REPORT, missing=(Skipped("c3d.pt", "its process ended by SIGSEGV", False),)),
}
PREDICT = {
    "predict": predict_results.result(predict_results.video(), predict_results.video("b.mp4", 256, seconds=7300.0)),
    "predict-hostile": predict_results.hostile(),
}
DEPLOYMENT = {"deployment": deployments.table(), "deployment-failed": deployments.table(deployments.ROWS[2:3])}
PAGES = (*CASES, *BENCH, *PREDICT, *DEPLOYMENT)
LUMINANCE = """
(colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
"""


@dataclass
class Opened:
    """A page in the browser, and what it did there."""

    page: "Page"
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        pytest.fail("no chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*QUIET])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for name, reports in CASES.items():
        (folder / f"{name}.html").write_text(parity_page(reports), "utf-8")
    for name, measured in BENCH.items():
        (folder / f"{name}.html").write_text(bench_page(measured), "utf-8")
    for name, found in PREDICT.items():
        (folder / f"{name}.html").write_text(predict_page(found), "utf-8")
    for name, table in DEPLOYMENT.items():
        (folder / f"{name}.html").write_text(deployment_page(table), "utf-8")
    return folder


def opened(browser: "Browser", file: Path, width: int, height: int, *, dark: bool = False) -> Opened:
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", offline=True
    )
    found = Opened(context.new_page())
    found.page.on("request", lambda request: found.requests.append(request.url))
    found.page.on("console", lambda message: found.complaints.append(message.text))
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.goto(file.as_uri())
    return found


@pytest.mark.parametrize("name", PAGES)
def test_no_request_and_no_complaint(browser: "Browser", folder: Path, name: str) -> None:
    file = folder / f"{name}.html"
    found = opened(browser, file, 1280, 900)
    found.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    found.page.wait_for_load_state("networkidle")
    assert [url for url in found.requests if not url.startswith("data:")] == [file.as_uri()]
    assert found.complaints == []
    assert found.page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


@pytest.mark.parametrize("width", [320, 360, 800, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_screen(browser: "Browser", folder: Path, name: str, width: int) -> None:
    page = opened(browser, folder / f"{name}.html", width, 740).page
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    sizes = page.evaluate(
        "[...document.querySelectorAll('.chart svg')].map(s => 12 * s.getBoundingClientRect().width / s.viewBox.baseVal.width)"
    )
    assert min(sizes) >= 7.5  # pixels of a chart's text


@pytest.mark.parametrize("name", CASES)
def test_the_result_is_visible_at_once_on_a_phone(browser: "Browser", folder: Path, name: str) -> None:
    page = opened(browser, folder / f"{name}.html", 360, 740).page
    for place in (page.locator(".banner .result").first, page.locator("h1")):
        box = place.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 740


def test_keys_reach_everything_and_show_where_they_are(browser: "Browser", folder: Path) -> None:
    page = opened(browser, folder / "failed.html", 360, 740).page
    wanted = page.evaluate(
        "[...document.querySelectorAll('a[href], summary, .box')].filter(e => e.checkVisibility()).length"
    )
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    skip = page.locator(".skip").bounding_box()
    assert skip is not None
    assert skip["y"] >= 0
    seen = 0
    while page.evaluate("document.activeElement !== document.body"):
        style = page.evaluate(
            "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"
        )
        assert style == ["solid", "3px"], page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        seen += 1
        page.keyboard.press("Tab")
        assert seen <= wanted
    assert seen == wanted


def test_the_skip_link_skips_and_summaries_open(browser: "Browser", folder: Path) -> None:
    page = opened(browser, folder / "passed.html", 1280, 900).page
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None
    box = page.locator(".box").first
    page.set_viewport_size({"width": 360, "height": 740})
    box.focus()
    page.keyboard.press("ArrowRight")
    for _ in range(100):  # the page's policy forbids Playwright's own way of waiting
        if page.evaluate("document.querySelector('.box').scrollLeft") > 0:
            break
        page.wait_for_timeout(50)
    else:
        pytest.fail("the arrow key does not scroll the table")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    ("name", "least"), [("passed", 100), ("failed", 100), ("bench-failed", 60), ("predict-hostile", 50)]
)
def test_text_stands_out_from_its_ground(browser: "Browser", folder: Path, name: str, least: int, dark: bool) -> None:
    page = opened(browser, folder / f"{name}.html", 1280, 900, dark=dark).page
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    ratios = page.evaluate(
        f"""() => {{
        const luminance = {LUMINANCE};
        const ground = e => {{
          for (; e; e = e.parentElement) {{
            const colour = getComputedStyle(e).backgroundColor;
            if (!/, 0\\)$/.test(colour)) return colour;
          }}
        }};
        return [...document.querySelectorAll('h1, h2, h3, p, th, td, a, dt, dd, li, caption, figcaption, summary, svg text')]
          .filter(e => e.checkVisibility() && e.textContent.trim() && !e.classList.contains('skip'))
          .map(e => {{
            const style = getComputedStyle(e), ink = e.tagName === 'text' ? style.fill : style.color;
            const [a, b] = [luminance(ink), luminance(ground(e))].sort((x, y) => y - x);
            return [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 120)];
          }});
        }}"""
    )
    assert len(ratios) > least
    assert [found for found in ratios if found[0] < 4.5] == []  # WCAG 2 AA


def test_paper_is_light_and_holds_every_table_whole(browser: "Browser", folder: Path) -> None:
    page = opened(browser, folder / "several.html", 703, 1000, dark=True).page  # A4 less its margins
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.documentElement.scrollWidth") <= 703
    wide = page.evaluate("[...document.querySelectorAll('table, svg')].map(e => e.getBoundingClientRect().right)")
    assert max(wide) <= 703
    assert page.evaluate("[...document.querySelectorAll('details table')].every(e => e.checkVisibility())")
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
