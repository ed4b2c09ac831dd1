"""The report in a real browser: quiet, offline, inert, readable at any width, usable with a keyboard.

Needs Chromium (``apt-get install chromium``, or ``NER_MODULE_CHROMIUM``) and playwright; skipped without.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_report import HOSTILE, write_run

from ner_module.extras.report.page import write_comparison, write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
CHROMIUM = os.environ.get("NER_MODULE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]

TYPES = ("PER", "LOC", "ORG", "very-long-entity-type-name")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of 6,000 sentences with some 10,000 errors each, hostile words among them."""
    folder = tmp_path_factory.mktemp("runs")
    made = []
    for seed in range(2):
        chance = random.Random(0)
        guess = random.Random(seed + 1)
        sentences = []
        for number in range(6000):
            words = [f"word{chance.randrange(500)}" for _ in range(12)]
            words[3] = HOSTILE[number % len(HOSTILE)] if number % 5 == 0 else "Ada"
            words[8] = "https://example.org/" + "x" * 120 if number % 50 == 0 else "Lincoln"
            gold, predicted = ["O"] * 12, ["O"] * 12
            for place in (3, 8):
                gold[place] = f"B-{chance.choice(TYPES)}"
                predicted[place] = (
                    gold[place] if guess.random() < 0.2 else guess.choice(["O", f"B-{guess.choice(TYPES)}"])
                )
            sentences.append((words, gold, predicted))
        epochs = [
            {"epoch": float(epoch), "step": 50 * epoch, "train/loss": 1 / epoch, "val/loss": 1.2 / epoch}
            | {"val/f1": epoch / 10 + seed / 20, "val/precision": epoch / 9, "val/recall": epoch / 12}
            for epoch in range(1, 6)
        ]
        run = write_run(folder / f"run{seed}", sentences, epochs=epochs, health=[], test={"test/f1": 0.3})
        (run / "config.yaml").write_text(f"seed_everything: {seed}\n")
        write_report(run)
        made.append(run)
    return made


class Visit:
    """A page opened in a context of its own, and everything it said or asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1280, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *_: object) -> None:
        assert self.said == []
        assert self.asked == [self.url], "the page itself, and nothing else"
        assert self.page.evaluate("window.hacked") is None
        self.context.close()


@pytest.mark.parametrize("width", [1280, 768, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_quiet_and_within_its_width(browser: Any, runs: list[Path], width: int, scheme: str) -> None:
    with Visit(browser, runs[0] / "report.html", width, scheme) as page:
        sizes = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert sizes[0] <= sizes[1], f"it scrolls sideways: {sizes}"
        # Everything that is wider scrolls within itself, and a keyboard can reach that.
        wide = page.evaluate(
            "[...document.querySelectorAll('.scroll, pre')]"
            ".filter(e => e.scrollWidth > e.clientWidth && e.tabIndex < 0).length"
        )
        assert wide == 0


def test_ten_thousand_errors_do_not_freeze_it(browser: Any, runs: list[Path]) -> None:
    started = time.monotonic()
    with Visit(browser, runs[0] / "report.html") as page:
        page.wait_for_selector("#errors-list > li")
        total = page.evaluate(
            "JSON.parse(document.getElementById('errors-data').textContent).flatMap((text) => text.e).length"
        )
        assert total > 8000
        assert page.locator("#errors-list > li").count() == 50
        assert time.monotonic() - started < 20
        milliseconds = page.evaluate(
            "() => { const begin = performance.now(); const field = document.getElementById('by-class');"
            "field.value = 'missed'; field.dispatchEvent(new Event('change')); return performance.now() - begin; }"
        )
        assert milliseconds < 500


def test_the_errors_with_a_keyboard_only(browser: Any, runs: list[Path]) -> None:
    with Visit(browser, runs[0] / "report.html", 390) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        for _ in range(80):
            if page.evaluate("document.activeElement.id") == "by-class":
                break
            page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "by-class"
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", "the focus can be seen"
        page.keyboard.type("missed")
        count = page.locator("#errors-count")
        _until(page, "document.getElementById('by-class').value === 'missed'")
        everything = page.evaluate("document.querySelectorAll('#errors-list > li').length")
        assert everything == 50
        assert page.evaluate(
            "[...document.querySelectorAll('#errors-list strong')].every(e => e.textContent === 'Missed')"
        )
        page.keyboard.press("Tab")
        page.keyboard.type("ORG")
        assert page.evaluate("document.getElementById('by-type').value") == "ORG"
        page.keyboard.press("Tab")
        page.keyboard.type("most")
        assert page.evaluate("document.getElementById('order').value") == "sure"
        page.keyboard.press("Tab")
        page.keyboard.type("onerror")
        _until(page, "document.querySelector('#errors-list li').textContent.includes('onerror')")
        found = count.text_content()
        assert " of " in found
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # Clear
        _until(page, "document.getElementById('by-class').value === ''")
        _until(page, f"document.getElementById('errors-count').textContent !== {found!r}")
        page.locator("#next").focus()
        page.keyboard.press("Enter")
        assert page.locator("#page-place").text_content().startswith("Page 2 of ")
        assert page.evaluate("document.activeElement.id") == "next"
        page.locator("#by-text").fill("no such words anywhere")
        _until(page, "document.getElementById('errors-count').textContent === 'No error matches.'")


def test_hostile_words_are_shown_as_they_are(browser: Any, runs: list[Path]) -> None:
    with Visit(browser, runs[0] / "report.html") as page:
        page.locator("#by-text").fill("<img src=x")
        _until(page, "document.querySelector('#errors-list li').textContent.includes('<img src=x onerror=')")
        assert page.locator("#errors-list img").count() == 0


def _until(page: Any, expression: str) -> None:
    """Wait until it is true. Playwright's own waiting needs `eval`, which the page's policy forbids."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {expression}")


def _contrast(page: Any, selector: str) -> float:
    """WCAG contrast of an element's text with what is painted behind it."""
    ratio: float = page.evaluate(
        """(selector) => {
        const channels = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
            .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        const lowest = [...document.querySelectorAll(selector)].slice(0, 40).map((element) => {
            const style = getComputedStyle(element);
            const ink = light(channels(element instanceof SVGElement ? style.fill : style.color));
            let behind = element;
            while (behind.parentElement && /, 0\\)|transparent/.test(getComputedStyle(behind).backgroundColor))
                behind = behind.parentElement;
            const paper = light(channels(getComputedStyle(behind).backgroundColor));
            return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        });
        return Math.min(...lowest);
        }""",
        selector,
    )
    return ratio


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_and_the_theme_switch(browser: Any, runs: list[Path], scheme: str) -> None:
    with Visit(browser, runs[0] / "report.html", scheme=scheme) as page:
        for _ in range(2):
            for selector in ("body", "a:not(.skip)", ".note", ".missing", "thead th", "td", "mark", "mark small"):
                assert _contrast(page, selector) >= 4.5, selector
            for selector in (".count", ".errors .what", "button:not(:disabled)", "select", "footer p"):
                assert _contrast(page, selector) >= 4.5, selector
            for level in range(1, 5):
                if page.locator(f".heat{level}").count():
                    assert _contrast(page, f".heat{level}") >= 4.5, level
            before = page.evaluate("getComputedStyle(document.body).backgroundColor")
            page.locator("#theme").press("Enter")
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_plots_say_their_values_under_the_pointer(browser: Any, runs: list[Path]) -> None:
    with Visit(browser, runs[0] / "report.html") as page:
        [place] = page.evaluate(
            "[...document.querySelectorAll('.dot')].filter(e => e.title === 'F1 0.5, step 250').map(e => {"
            "const dot = e.getBoundingClientRect(), plot = e.parentElement.getBoundingClientRect();"
            "return [dot.x + dot.width / 2 - plot.x, dot.y + dot.height / 2 - plot.y, plot.width, plot.height]; })"
        )
        x, y, width, height = place
        assert 0.85 * width < x < width, "the last step is at the right end"
        assert 0.3 * height < y < 0.6 * height, "0.5 of an axis from 0 to 1"


def test_on_paper(browser: Any, runs: list[Path]) -> None:
    with Visit(browser, runs[0] / "report.html", scheme="dark") as page:
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.locator("#theme").is_visible()
        assert not page.locator("#filters").is_visible()


def test_without_javascript(browser: Any, runs: list[Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((runs[0] / "report.html").as_uri())
    assert page.locator("noscript .missing").is_visible()  # Playwright finds no text in there
    assert not page.locator("#filters").is_visible()
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_comparison(browser: Any, runs: list[Path], tmp_path: Path, width: int) -> None:
    path = tmp_path / "comparison.html"
    write_comparison(runs, path)
    with Visit(browser, path, width) as page:
        sizes = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert sizes[0] <= sizes[1]
        assert page.locator(".chart img").count() == 3


def test_on_a_phone_scores_are_in_sight(browser: Any, runs: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "comparison.html"
    write_comparison(runs, path)
    with Visit(browser, path, 390) as page:
        assert [text.count("F1 0.") for text in page.locator(".facts dd").all_inner_texts()] == [1, 1]
        _is_readable_on_a_phone(page)
    with Visit(browser, runs[0] / "report.html", 390) as page:
        assert page.locator(".score").bounding_box()["y"] < 300
        _is_readable_on_a_phone(page)
        headings = page.get_by_role("columnheader", name=re.compile("^F1$"))
        rights = [heading.bounding_box() for heading in headings.all()]
        assert len(rights) >= 2
        assert all(box["x"] + box["width"] <= 390 for box in rights)


def _is_readable_on_a_phone(page: Any) -> None:
    """Titles of tables are not cut, and rows have no names of a word a line."""
    cut = "[...document.querySelectorAll('caption')].filter(e => e.getBoundingClientRect().right > innerWidth)"
    assert page.evaluate(f"{cut}.map(e => e.textContent)") == []
    narrow = "e => e.textContent.includes(' ') && e.clientHeight > 2 * e.clientWidth"
    assert page.evaluate(f"[...document.querySelectorAll('tbody th')].filter({narrow}).map(e => e.textContent)") == []
