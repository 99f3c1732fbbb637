"""The page's viewer and its looks, in a real browser."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcde.report.charts import curve_chart, quality_charts, svg
from dcde.report.frontier import frontier_figure, measured
from dcde.report.pictures import Picture
from dcde.report.render import html_table, render

NAMES = ("input", "teacher", "student")
WIDTH, HEIGHT = 60, 40


def noise(picture: int, name: str) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8, close to the other versions of the picture."""
    base = np.random.default_rng(picture).integers(30, 200, (HEIGHT, WIDTH, 3))
    return (base + NAMES.index(name) * np.arange(WIDTH)[:, None] // 3).astype(np.uint8)


def picture(number: int, caption: str) -> Picture:
    images = {}
    for name in NAMES:
        buffer = io.BytesIO()
        Image.fromarray(noise(number, name)).save(buffer, "PNG")
        data = base64.b64encode(buffer.getvalue()).decode()
        images[name] = f"data:image/png;base64,{data}"
    return Picture(caption, WIDTH, HEIGHT, images)


PICTURES = [picture(i, text) for i, text in enumerate(("one", "two </script><b>; x", "three"))]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    html = render(
        PICTURES,
        title="A run & its <student>",
        subtitle="on three crops",
        table=html_table(["", "PSNR dB"], [["teacher", "20.0"], ["<b>student</b>", "19.0"]]),
        changes=[html_table(["parameter", "then", "now"], [["a" * 30, "b" * 30, "c" * 30]])] * 2,
        changes_note="against a commit",
        pictures_note="a note",
        quality_charts=quality_charts({"student": (34.3, -0.1, 1.1)}),
        frontier=svg(frontier_figure(measured())),
        training_charts=[curve_chart("loss", {"a": ([0.0, 2.0], [0.5, 0.25])}, log=True)],
        run=html_table(["", ""], [["commit", "abc"]]),
        command="dvc exp run " + "-S distill.samples_per_epoch=100 " * 10,
        params="seed: 0 # <not a tag>",
    )
    path = tmp_path / "index.html"
    path.write_text(html)
    return path


def show(
    browser: Any, page: Path, width: int = 1400, scheme: str = "light", scripts: bool = True
) -> None:
    """Open the page in a window of that width and 900 px high."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    colours = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": colours})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    browser.get(page.as_uri())
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def choose(browser: Any, name: str, text: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", name)).select_by_visible_text(text)


def pixels(browser: Any, selector: str) -> np.ndarray:
    """(H, W, 3): an element as it is seen."""
    shot = browser.find_element("css selector", selector).screenshot_as_png
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))


def test_the_slider_uncovers_the_left_picture(browser: Any, page: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    show(browser, page)
    over, under = (browser.find_element("id", name) for name in ("over", "under"))

    def seen_share() -> float:
        """How much of the left picture is seen, in percent, as laid out."""
        clip = over.value_of_css_property("clip-path")  # inset(0px 50% 0px 0px), or calc(...)
        script = "return parseFloat(getComputedStyle(arguments[0]).getPropertyValue('--at'))"
        assert clip.startswith("inset(")
        share: float = browser.execute_script(script, browser.find_element("id", "pair"))
        line = browser.find_element("class name", "line").rect["x"] - over.rect["x"]
        assert line == pytest.approx(over.rect["width"] * share / 100, abs=2)
        return share

    slider = browser.find_element("id", "slider")
    slider.send_keys(Keys.HOME)
    assert seen_share() == 0
    slider.send_keys(Keys.END)
    assert seen_share() == 100
    quarter = -over.rect["width"] / 4
    ActionChains(browser).move_to_element_with_offset(slider, 0, 0).click_and_hold().move_by_offset(
        quarter, 0
    ).release().perform()
    assert seen_share() == pytest.approx(25, abs=3)
    assert over.get_attribute("src") == PICTURES[0].images["teacher"]
    assert under.get_attribute("src") == PICTURES[0].images["student"]
    choose(browser, "left", "student")
    assert over.get_attribute("src") == under.get_attribute("src")


def test_the_page_asks_for_nothing_and_complains_of_nothing(browser: Any, page: Path) -> None:
    show(browser, page)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    requested = [
        e["message"] for e in browser.get_log("performance") if "requestWillBe" in e["message"]
    ]
    assert requested and not any('"url":"http' in message for message in requested)


def test_pictures_are_chosen_by_click_and_by_key(browser: Any, page: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    show(browser, page)

    def caption() -> str:
        pressed = browser.find_elements("css selector", ".thumbs [aria-pressed=true]")
        text: str = browser.find_element("id", "caption").text
        assert [button.get_attribute("title") for button in pressed] == [text]
        return text

    def press(*keys: str) -> str:
        ActionChains(browser).send_keys(*keys).perform()
        return caption()

    one, two, three = (p.caption for p in PICTURES)
    browser.find_elements("css selector", ".thumbs button")[1].click()
    assert caption() == two
    assert (press("n"), press("n"), press("p"), press("p")) == (three, one, three, two)
    browser.find_element("id", "slider").send_keys(Keys.ARROW_RIGHT)
    assert caption() == two  # arrows are the slider's
    browser.find_element("id", "right").send_keys("p")  # would choose a name with p
    assert caption() == one
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("p").key_up(Keys.CONTROL).perform()
    assert caption() == one
    body = browser.find_element("tag name", "body").text
    assert "n shows the next picture, p the previous one" in body


@pytest.mark.parametrize("factor", [1, 8])
def test_the_difference_is_that_of_the_pixels_times_the_factor(
    browser: Any, page: Path, factor: int
) -> None:
    show(browser, page)
    choose(browser, "size", "1\N{MULTIPLICATION SIGN}")
    choose(browser, "right", "input")
    choose(browser, "factor", f"{factor}\N{MULTIPLICATION SIGN}")
    left, right = (noise(0, name).astype(int) for name in ("teacher", "input"))
    expected = np.minimum(factor * abs(left - right), 255)
    assert 0 < expected.mean() < 200
    assert np.abs(pixels(browser, "#difference").astype(int) - expected).max() <= 1
    assert browser.find_element("id", "subtracted").text == (
        f"|teacher \N{MINUS SIGN} input| \N{MULTIPLICATION SIGN} {factor}"
    )


def test_a_small_picture_is_enlarged_by_whole_pixels_and_within_reason(
    browser: Any, page: Path
) -> None:
    show(browser, page)
    assert browser.find_element("id", "pair").rect["width"] == 8 * WIDTH
    browser.find_element("id", "slider").send_keys("\ue010")  # End: all of the left one
    seen = pixels(browser, "#pair")[4::8, 4::8][:, :-1]  # the line lies on the last
    expected = noise(0, "teacher")[:, :-1].astype(int)
    assert seen.shape == expected.shape and np.abs(seen - expected).max() <= 1


@pytest.mark.parametrize(("width", "columns"), [(400, 1), (1400, 2)])
def test_the_viewer_fills_the_width_and_its_panes_scroll_together(
    browser: Any, page: Path, width: int, columns: int
) -> None:
    show(browser, page, width)
    slider, difference = (pane.rect for pane in browser.find_elements("class name", "pane"))
    assert (slider["y"] == difference["y"]) == (columns == 2)
    content = browser.execute_script(
        "const style = getComputedStyle(document.body);"
        "return document.body.clientWidth - 2 * parseFloat(style.paddingLeft)"
    )
    assert content >= min(width - 50, 1000)
    assert columns * slider["width"] + (columns - 1) * 16 == pytest.approx(content, abs=2)
    choose(browser, "size", "8\N{MULTIPLICATION SIGN}")
    places = browser.execute_async_script(
        "const [one, other] = document.querySelectorAll('.pane'), done = arguments[0];"
        "one.style.height = one.style.width = other.style.height = other.style.width = '200px';"
        "other.onscrollend = () => done([one.scrollLeft, other.scrollLeft, one.scrollTop]);"
        "other.scrollTo(70, 50)"
    )
    assert places == [70, 70, 50]


def test_the_pictures_show_without_scripts_and_are_stored_once(browser: Any, page: Path) -> None:
    def visible(selector: str) -> list[bool]:
        return [e.is_displayed() for e in browser.find_elements("css selector", selector)]

    show(browser, page)
    assert visible(".viewer") == [True] and not any(visible(".rows img"))
    show(browser, page, scripts=False)
    assert visible(".viewer") == [False] and visible(".rows img") == [True] * 9
    loaded = "return [...document.querySelectorAll('.rows img')].map((i) => i.naturalWidth)"
    assert browser.execute_script(loaded) == [WIDTH] * 9
    html = page.read_text()
    assert {html.count(uri) for p in PICTURES for uri in p.images.values()} == {1}


CONTRASTS = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => {
  const colour = channels(getComputedStyle(element).backgroundColor);
  return colour.length === 3 || colour[3] === 1 ? colour : behind(element.parentElement);
};
return [...document.querySelectorAll("body *:not(svg, svg *, script, option)")]
  .filter((element) => element.checkVisibility())
  .filter((element) => [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
  .map((element) => {
    const text = channels(getComputedStyle(element).color);
    if (text.length > 3 && text[3] < 1) return [element.outerHTML, 0];
    const [low, high] = [light(text), light(behind(element))].sort((a, b) => a - b);
    return [element.outerHTML.slice(0, 80), (high + 0.05) / (low + 0.05)];
  });
"""
"""Each element with text, and the contrast of that to what is behind it, as WCAG 2 has it."""


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_fits_its_window_and_can_be_read(
    browser: Any, page: Path, width: int, scheme: str, scripts: bool
) -> None:
    show(browser, page, width, scheme, scripts)
    inner, content = browser.execute_script(
        "return [window.innerWidth, document.documentElement.scrollWidth]"
    )
    assert inner == width and content <= inner
    size = browser.execute_script("return getComputedStyle(document.body).fontSize")
    assert float(size.removesuffix("px")) >= 14
    contrasts = browser.execute_script(CONTRASTS)
    assert len(contrasts) > 20
    assert [(text, ratio) for text, ratio in contrasts if ratio < 4.5] == []
    chart = pixels(browser, ".charts svg").mean(axis=2)
    background, strongest = np.median(chart), np.abs(chart - np.median(chart)).max()
    assert (background > 240) if scheme == "light" else (background < 40)
    assert strongest > 200


def test_text_is_escaped(page: Path) -> None:
    html = page.read_text()
    assert "<title>A run &amp; its &lt;student&gt;</title>" in html
    assert "<td>&lt;b&gt;student&lt;/b&gt;</td>" in html and "# &lt;not a tag&gt;" in html
    assert "two &lt;/script&gt;&lt;b&gt;; x" in html
