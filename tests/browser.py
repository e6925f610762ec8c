"""The built book in Chromium, opened from disk with the network cut off: `make browser`, after `make book`.

Pictures of what it saw are left in `_build/screenshots`.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from lab import serious_faults
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from deltaedit.sliders import Bench, Sweep

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build/html"
SCREENSHOTS = ROOT / "_build/screenshots"
FRONT, FIRST, EDITING = "book/intro", "notebooks/edit_in_one_minute", "notebooks/editing_from_text"
PAGES = sorted(
    path.relative_to(HTML).with_suffix("").as_posix()
    for folder in ("book", "notebooks")
    for path in (HTML / folder).rglob("*.html")
)
MOST = {FRONT: 2.5e6}  # bytes that a page may load, all in all
MOST_OF_A_CHAPTER = 4e6
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # to whom Chromium gives no sandbox
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"] * root)


class Visit:
    """A page, with what it asked for and what it complained about."""

    def __init__(self, page: Page, scripts: bool) -> None:
        self.page, self.scripts = page, scripts
        self.loaded: dict[str, int] = {}
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked(request.url))
        page.on("requestfailed", lambda request: self.missed(request.url, request.resource_type))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))

    def asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme == "file":
            path = Path(unquote(parts.path))
            self.loaded[str(path)] = path.stat().st_size if path.is_file() else 0
        elif parts.scheme not in ("data", "blob"):
            self.complaints.append(f"asked the network for {url}")

    def missed(self, url: str, kind: str) -> None:
        if self.scripts or kind != "script":
            self.complaints.append(f"not loaded: {url}")

    def read_to_the_end(self) -> None:
        self.page.wait_for_load_state("networkidle")
        if self.page.locator(".math").count():
            self.page.wait_for_selector("mjx-container")
        self.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        self.page.wait_for_load_state("networkidle")


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Visit]]:
    contexts, visits = [], []

    def go(name: str, viewport: dict = DESKTOP, theme: str = "light", scripts: bool = True) -> Visit:
        assert (HTML / f"{name}.html").exists(), f"there is no page {name}: `make book` first"
        contexts.append(
            chromium.new_context(offline=True, viewport=viewport, color_scheme=theme, java_script_enabled=scripts)
        )
        visits.append(Visit(contexts[-1].new_page(), scripts))
        visits[-1].page.goto((HTML / f"{name}.html").as_uri())
        return visits[-1]

    yield go
    for context in contexts:
        context.close()
    assert [line for one in visits for line in one.complaints] == []


def changes(picture: Locator, act: Callable[[], object]) -> bool:
    """Whether a picture on the page looks different after an act."""
    before = picture.screenshot(animations="disabled")
    act()
    return picture.screenshot(animations="disabled") != before


def click_at(slider: Locator, share: float) -> None:
    box = slider.bounding_box()
    slider.click(position={"x": share * box["width"], "y": box["height"] / 2})


def test_there_is_a_book():
    assert FRONT in PAGES, "`make book` first"


def test_bench_by_mouse(visit: Callable[..., Visit]):
    page = visit(FRONT).page
    before, after, slider = page.locator(".before"), page.locator(".after"), page.get_by_role("slider")
    assert changes(after, lambda: click_at(slider, 0.03))
    assert changes(after, lambda: page.get_by_role("combobox").select_option(index=2))
    assert not changes(before, lambda: click_at(slider, 0.97))
    assert changes(before, lambda: page.get_by_role("radio").nth(1).check())
    prompt = page.get_by_role("option").nth(2).text_content()
    texts = page.locator(".bench").get_attribute("data-texts").split("|")
    assert after.get_attribute("aria-label").endswith(f"2, “{prompt}” at strength {texts[-1]}")
    assert page.locator(".prompt").text_content() == prompt
    click_at(slider, texts.index("0") / (len(texts) - 1))
    cells = {frame.evaluate("e => getComputedStyle(e).backgroundPosition") for frame in (before, after)}
    assert len(cells) == 1, "strength 0 is the picture as drawn"  # pixels differ by what a fraction of one rounds to


def test_bench_by_keyboard(visit: Callable[..., Visit]):
    page = visit(FRONT).page
    before, after, keys = page.locator(".before"), page.locator(".after"), page.keyboard
    page.get_by_role("radio").first.focus()
    assert changes(before, lambda: keys.press("ArrowRight"))
    keys.press("Tab")
    assert changes(after, lambda: keys.press("ArrowDown"))
    keys.press("Tab")
    assert changes(after, lambda: keys.press("Home"))
    slider = page.get_by_role("slider")
    first = page.locator(".bench").get_attribute("data-texts").split("|")[0]
    assert (slider.input_value(), slider.get_attribute("aria-valuetext")) == ("0", first)
    assert page.locator(".strength").text_content() == first


def test_sweep_by_mouse_and_keyboard(visit: Callable[..., Visit]):
    page = visit(FIRST, PHONE).page
    sweep = page.locator(".sweep").first
    picture, slider, said = sweep.get_by_role("img"), sweep.get_by_role("slider"), sweep.locator("output")
    slider.scroll_into_view_if_needed()
    assert changes(picture, lambda: click_at(slider, 0.03))
    slider.focus()
    assert changes(picture, lambda: page.keyboard.press("End"))
    texts = slider.get_attribute("data-texts").split("|")
    assert said.text_content() == slider.get_attribute("aria-valuetext") == texts[-1]
    page.keyboard.press("ArrowLeft")
    assert said.text_content() == texts[-2]
    assert picture.get_attribute("aria-label")


def test_without_scripts_all_frames_are_there(visit: Callable[..., Visit]):
    page = visit(FRONT, scripts=False).page
    assert not page.get_by_role("slider").is_visible()
    frames = page.locator(".bench noscript .frame")
    assert frames.count() == page.locator(".bench input[type=radio]").count() * page.locator(".bench option").count()
    assert frames.first.is_visible()
    assert frames.first.screenshot() != frames.last.screenshot()
    sweep = visit(FIRST, scripts=False).page.locator(".sweep").first
    assert not sweep.get_by_role("slider").is_visible()
    values = sweep.locator("input").get_attribute("data-texts").split("|")
    assert sweep.locator("noscript .frame").count() == len(values)


def test_what_a_trusted_notebook_shows_moves(chromium: Browser):
    """JupyterLab puts a trusted output into the page as it is, and runs no more than its handlers."""
    greys = torch.linspace(-1, 1, 12).reshape(2, 2, 3, 1, 1, 1).expand(2, 2, 3, 3, 16, 16)
    page = chromium.new_page()
    outputs = Sweep(greys[0, 0], [0, 1, 2], "strength", "a grey", width=64), Bench(greys, ["a", "b"], [0, 0.5, 1])
    for output in outputs:
        page.evaluate("html => document.body.innerHTML = html", output._repr_html_())
        slider = page.get_by_role("slider")
        slider.focus()
        assert changes(
            page.locator(".frame[role=img]").last,
            lambda: page.keyboard.press(
                "ArrowRight" if page.get_by_role("slider").input_value() == "0" else "ArrowLeft"
            ),
        )
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_is_light_quiet_and_fits_a_phone(name: str, visit: Callable[..., Visit]):
    reading = visit(name, PHONE)
    reading.read_to_the_end()
    page = reading.page
    width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1], f"{width[0]} pixels wide on a screen of {width[1]}"
    assert page.locator("mjx-merror").count() == 0
    total = sum(reading.loaded.values())
    assert total <= MOST.get(name, MOST_OF_A_CHAPTER), f"{total / 1e6:.2f} MB"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", [FRONT, FIRST, EDITING])
def test_no_serious_fault_of_accessibility(name: str, theme: str, visit: Callable[..., Visit]):
    reading = visit(name, theme=theme)
    reading.read_to_the_end()
    assert serious_faults(reading.page) == []


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", [FRONT, FIRST, EDITING])
def test_looks(name: str, theme: str, viewport: dict, visit: Callable[..., Visit]):
    reading = visit(name, viewport, theme)
    reading.read_to_the_end()
    page = reading.page
    assert page.locator("html").get_attribute("data-theme") == theme
    for kind in ("light", "dark"):
        figures = page.locator(f".for-{kind} img")
        assert all(figure.is_visible() == (kind == theme) for figure in figures.all())
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=SCREENSHOTS / f"{Path(name).name}-{theme}-{viewport['width']}.png", full_page=True)
