"""The site in a browser: it sorts, filters, opens pages and draws, without an error and without a request outside."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium of this machine; nothing is downloaded."""
    selenium = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs Chromium and chromedriver (on Debian: apt install chromium chromium-driver)")
    options = selenium.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to start as root otherwise.
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield found
    found.quit()


def visit(browser: Any, page: Path) -> None:
    """Open a page, with the logs of the one before forgotten."""
    # On a busy machine a page that is opened again is taken for loaded while the old one still stands.
    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(page.resolve().as_uri())


def rows(browser: Any, table: int = 0) -> list[str]:
    """First lines of the names in the method column of a table, as they stand, hidden ones left out."""
    script = (
        "return [...document.querySelectorAll('table.sortable')[arguments[0]].tBodies[0].rows]"
        ".filter(row => !row.hidden).map(row => row.querySelector('td.name').textContent.trim())"
    )
    return list(browser.execute_script(script, table))


def click_head(browser: Any, title: str) -> None:
    script = (
        "[...document.querySelectorAll('table.sortable th button')]"
        ".find(button => button.textContent.trim() === arguments[0]).click()"
    )
    browser.execute_script(script, title)


def wait(browser: Any, condition: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60).until(lambda found: found.execute_script(f"return {condition}"))


def draw_everything(browser: Any) -> None:
    """Scroll through the page, so that every chart comes into view, and wait until all are drawn."""
    for place in range(browser.execute_script("return document.querySelectorAll('figure.chart').length")):
        browser.execute_script("document.querySelectorAll('figure.chart')[arguments[0]].scrollIntoView()", place)
        # A busy machine may show a page before its scripts have made the boxes of the plots.
        wait(
            browser,
            f"(plots => plots.length > 0 && plots.every(plot => plot.querySelector('svg.main-svg')))"
            f"([...document.querySelectorAll('figure.chart')[{place}].querySelectorAll('.plot')])",
        )


def assert_quiet(browser: Any) -> None:
    """Nothing was logged by the page, and no address but files was asked for."""
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    requests = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            requests.append(message["params"]["request"]["url"])
    assert requests
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_a_table_is_sorted_by_its_heads(browser: Any, site: Path) -> None:
    visit(browser, site / "boards/lartpc/throws/smoke/index.html")
    by_rank = rows(browser)
    assert by_rank[0] == "supcon"
    click_head(browser, "nominal")
    assert rows(browser)[0] == "classifier"
    click_head(browser, "nominal")
    assert rows(browser)[-1] == "classifier"
    click_head(browser, "Method")
    assert rows(browser) == sorted(by_rank)
    sorted_heads = "document.querySelectorAll('th[aria-sort]').length"
    assert browser.execute_script(f"return {sorted_heads}") == 1
    assert_quiet(browser)


def test_the_first_click_puts_the_best_on_top(browser: Any, site: Path) -> None:
    visit(browser, site / "boards/lartpc/throws/smoke/index.html")
    by_rank = rows(browser)
    for title in ("Mean over targets", "Rank"):
        click_head(browser, title)
        assert rows(browser) == by_rank
    click_head(browser, "Rank")
    assert rows(browser) == by_rank[::-1]
    submission = next((site / "submissions/lartpc/throws/smoke").glob("classifier-*.html"))
    visit(browser, submission)
    for title, direction in (("Accuracy (%)", "descending"), ("NLL (nats)", "ascending"), ("ECE (%)", "ascending")):
        click_head(browser, title)
        head = browser.execute_script("return document.querySelector('th[aria-sort]').getAttribute('aria-sort')")
        assert head == direction, title
    assert_quiet(browser)


def test_a_wide_table_says_so_and_keeps_the_names_in_view(browser: Any, site: Path) -> None:
    with phone(browser):
        visit(browser, site / "boards/lartpc/throws/smoke/index.html")
        frame = "document.querySelector('.frame').classList"
        wait(browser, f"{frame}.contains('more-right') && !{frame}.contains('more-left')")
        browser.execute_script("document.querySelector('.scroll').scrollLeft = 1e6")
        wait(browser, f"{frame}.contains('more-left') && !{frame}.contains('more-right')")
        left = "document.querySelector(arguments[0]).getBoundingClientRect().left"
        box, name = (browser.execute_script(f"return {left}", found) for found in (".scroll", ".scroll td.name"))
        assert abs(box - name) < 1
    assert_quiet(browser)


def test_rows_are_filtered_by_words(browser: Any, site: Path) -> None:
    visit(browser, site / "boards/lartpc/throws/smoke/index.html")
    field = browser.find_element("css selector", ".filter input")
    field.send_keys("SUPCON probe")
    assert rows(browser) == ["supcon"]
    assert browser.find_element("css selector", ".filter output").text.startswith("1 of ")
    assert_quiet(browser)


def test_hostile_text_does_nothing(browser: Any, site: Path) -> None:
    for page in ("boards/lartpc/hostile/smoke/index.html", "methods/hostile.html"):
        visit(browser, site / page)
        assert len(rows(browser)) == 2
        draw_everything(browser)
        assert (
            browser.execute_script("return document.querySelectorAll('img, script:not([src]):not([type])').length") == 0
        )
        assert_quiet(browser)
    (submission, _) = (site / "submissions/lartpc/hostile/smoke").glob("*.html")
    visit(browser, submission)
    assert_quiet(browser)


def test_from_the_first_page_to_a_submission(browser: Any, site: Path) -> None:
    visit(browser, site / "index.html")
    for text, title in (("Methods", "Methods"), ("supcon", "supcon")):
        browser.find_element("link text", text).click()
        assert browser.find_element("css selector", "h1").text == title
    browser.find_element("partial link text", "supcon-seed1-").click()
    assert browser.find_element("css selector", "h1").text == "supcon, seed 1"
    assert browser.find_elements("css selector", "table.confusion")
    assert_quiet(browser)


@pytest.mark.parametrize("page", ["boards/lartpc/throws/smoke/index.html", "shifts/scintillator/crosstalk.html"])
def test_every_chart_is_drawn(browser: Any, site: Path, page: str) -> None:
    visit(browser, site / page)
    draw_everything(browser)
    panels = sum(len(json.loads(text)["panels"]) for text in embedded(browser))
    assert browser.execute_script("return document.querySelectorAll('.plot svg.main-svg').length") >= panels
    assert (
        browser.execute_script("return document.querySelectorAll('.plot .point, .plot .points path').length") > panels
    )
    assert_quiet(browser)


def embedded(browser: Any) -> list[str]:
    script = "return [...document.querySelectorAll('figure.chart script')].map(found => found.textContent)"
    return list(browser.execute_script(script))


def test_a_row_is_hidden_by_the_legend(browser: Any, site: Path) -> None:
    visit(browser, site / "boards/lartpc/throws/smoke/index.html")
    draw_everything(browser)
    bars = "document.querySelector('figure.stacked .plot').querySelectorAll('.trace.bars').length"
    wait(browser, f"{bars} > 0")
    before = browser.execute_script(f"return {bars}")
    browser.execute_script("document.querySelector('figure.stacked .legend button').click()")
    wait(browser, f"{bars} === {before - 1}")
    assert_quiet(browser)


def test_the_page_is_dark_where_the_system_is_and_the_reader_may_turn_it(browser: Any, site: Path) -> None:
    background = "return getComputedStyle(document.body).backgroundColor"
    seen = []
    for scheme in ("light", "dark"):
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        visit(browser, site / "index.html")
        seen.append(browser.execute_script(background))
    assert seen[0] != seen[1]
    browser.find_element("id", "theme").click()
    assert browser.execute_script(background) == seen[0]
    visit(browser, site / "methods.html")
    assert browser.execute_script(background) == seen[0]
    browser.execute_script("localStorage.clear()")
    assert_quiet(browser)


@pytest.mark.parametrize(
    "pattern",
    [
        "index.html",
        "across.html",
        "methods.html",
        "methods/supcon.html",
        "methods/hostile.html",
        "boards/lartpc/throws/smoke/index.html",
        "boards/lartpc/hostile/smoke/index.html",
        "shifts/scintillator/crosstalk.html",
        "submissions/lartpc/throws/smoke/supcon-seed0-*.html",
        "submissions/lartpc/hostile/smoke/hostile-*.html",
    ],
)
def test_a_page_fits_a_phone(browser: Any, site: Path, pattern: str) -> None:
    with phone(browser):
        visit(browser, sorted(site.glob(pattern))[0])
        draw_everything(browser)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE["width"]
        assert browser.execute_script(CLIPPED) == []
    assert_quiet(browser)


#: The titles of axes and panels that reach beyond the drawing that they stand in; whatever may be scrolled is no fault.
CLIPPED = """
return [...document.querySelectorAll(".plot")].flatMap(plot => {
  const box = plot.querySelector("svg.main-svg").getBoundingClientRect();
  return [...plot.querySelectorAll(".xtitle, .ytitle, .gtitle")].filter(title => {
    const own = title.getBoundingClientRect();
    return own.left < box.left || own.right > box.right || own.top < box.top || own.bottom > box.bottom;
  }).map(title => title.textContent);
});
"""


@contextmanager
def phone(browser: Any) -> Iterator[None]:
    """The window of a phone, as long as the block lasts."""
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
