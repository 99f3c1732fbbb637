"""The page's viewer and its looks, in a real browser."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcde.report.charts import curve_chart, quality_charts
from dcde.report.pictures import Picture
from dcde.report.render import html_table, render

NAMES = ("input", "teacher", "student")
WIDTH, HEIGHT = 60, 40


def noise(picture: int, name: str) -> np.ndarray:
    """Return (HEIGHT, WIDTH, 3) uint8, close to the other versions of the picture."""
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
        pictures_note="a note",
        quality_charts=quality_charts({"student": (34.3, -0.1, 1.1)}),
        training_charts=[curve_chart("loss", {"a": ([0.0, 2.0], [0.5, 0.25])}, log=True)],
        run=html_table(["", ""], [["photos", "a/long/path/" * 30]]),
        params="seed: 0 # <not a tag>",
    )
    path = tmp_path / "index.html"
    path.write_text(html)
    return path


def show(
    browser: Any, page: Path, width: int = 1400, scheme: str = "light", scripts: bool = True
) -> None:
    """Open the page in a window of this width, 900 px high."""
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
    """Return a screenshot of an element, (H, W, 3)."""
    shot = browser.find_element("css selector", selector).screenshot_as_png
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))


def test_the_slider_uncovers_the_left_picture(browser: Any, page: Path) -> None:
    from selenium.webdriver import Keys

    show(browser, page)
    slider = browser.find_element("id", "slider")
    for key, name in ((Keys.END, "teacher"), (Keys.HOME, "student")):
        slider.send_keys(key)
        seen = pixels(browser, "#pair")[4::8, 4::8][:, 1:-1]  # the line covers an edge
        expected = noise(0, name)[:, 1:-1].astype(int)
        assert seen.shape == expected.shape and np.abs(seen - expected).max() <= 1
    slider.click()  # in the middle
    over, line = (browser.find_element("css selector", s).rect for s in ("#over", ".pair .line"))
    assert line["x"] - over["x"] == pytest.approx(over["width"] / 2, abs=3)
    seen = pixels(browser, "#pair")[4::8, 4::8].astype(int)
    for name, columns in (("teacher", slice(WIDTH // 2 - 1)), ("student", slice(32, WIDTH - 1))):
        assert np.abs(seen[:, columns] - noise(0, name)[:, columns]).max() <= 1


def test_pictures_are_chosen_by_click_and_by_key(browser: Any, page: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    show(browser, page)

    def press(*keys: str) -> str:
        ActionChains(browser).send_keys(*keys).perform()
        text: str = browser.find_element("id", "caption").text
        return text

    one, two, three = (p.caption for p in PICTURES)
    browser.find_elements("css selector", ".thumbs button")[1].click()
    seen = [press(*keys) for keys in ("", "n", "n", "p", "p")]
    assert seen == [two, three, one, three, two]
    browser.find_element("id", "slider").send_keys(Keys.ARROW_RIGHT)
    assert press() == two  # arrows move the slider
    browser.find_element("id", "right").send_keys("p")  # would choose a name with p
    assert press() == one
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("p").key_up(Keys.CONTROL).perform()
    assert press() == one


def test_the_difference_is_multiplied_by_the_factor(browser: Any, page: Path) -> None:
    show(browser, page)
    choose(browser, "size", "1\N{MULTIPLICATION SIGN}")
    choose(browser, "right", "input")
    left, right = (noise(0, name).astype(int) for name in ("teacher", "input"))
    for factor in (1, 8):
        choose(browser, "factor", f"{factor}\N{MULTIPLICATION SIGN}")
        expected = np.minimum(factor * abs(left - right), 255)
        assert 0 < expected.mean() < 200
        assert np.abs(pixels(browser, "#difference").astype(int) - expected).max() <= 1


def test_the_pictures_show_without_scripts_and_nothing_is_fetched(browser: Any, page: Path) -> None:
    def visible(selector: str) -> list[bool]:
        return [e.is_displayed() for e in browser.find_elements("css selector", selector)]

    show(browser, page)
    assert visible(".viewer") == [True] and not any(visible(".rows img"))
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    messages = [entry["message"] for entry in browser.get_log("performance")]
    requested = [message for message in messages if "requestWillBe" in message]
    assert requested and not any('"url":"http' in message for message in requested)
    show(browser, page, scripts=False)
    assert visible(".viewer") == [False] and visible(".rows img") == [True] * 9
    html = page.read_text()
    assert {html.count(uri) for p in PICTURES for uri in p.images.values()} == {1}
    assert "<title>A run &amp; its &lt;student&gt;</title>" in html and "&lt;/script&gt;" in html


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_window_in_light_and_dark(browser: Any, page: Path, scheme: str) -> None:
    for width in (400, 1400):
        show(browser, page, width, scheme)
        content = browser.execute_script("return document.documentElement.scrollWidth")
        assert content <= width
        slider, difference = (pane.rect for pane in browser.find_elements("class name", "pane"))
        assert (slider["y"] == difference["y"]) == (width == 1400)  # side by side if there is room
    chart = pixels(browser, ".charts svg").mean(axis=2)
    background = np.median(chart)
    assert (background > 240) if scheme == "light" else (background < 40)
    assert np.abs(chart - background).max() > 200
