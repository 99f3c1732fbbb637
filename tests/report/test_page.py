"""The page of a run, looked at in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcde.data.crops import eval_crops
from dcde.data.folder import Photo
from dcde.model import DCAE
from dcde.prune.depth import prune_depth
from dcde.report.charts import curve_chart, quality_charts, read_curves
from dcde.report.page import (
    RunRecord,
    decode_pictures,
    html_table,
    render,
    results_table,
    run_page,
)

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture
def page(tmp_path: Path, tiny_model: DCAE, photo_list: tuple[Photo, ...]) -> Path:
    models = {"teacher": tiny_model, "student": prune_depth(tiny_model, ((), (0,), (0,), (0,)))}
    crops = [eval_crops(photo, 64, 1)[0] for photo in photo_list[:3]]
    scores = {f"{m}.{s}": "0.5" for m in models for s in ("psnr_db", "lpips")}
    rows = [{"crop": name, **scores} for name in ("one", "two </script><b>", "three")]
    curves = tmp_path / "curves" / "loss"
    curves.mkdir(parents=True)
    (curves / "image.tsv").write_text("step\timage\n0\t0.5\n2\t0.25\n")
    html = render(
        decode_pictures(models, crops, rows),
        title="A run & its <student>",
        subtitle="on three crops",
        table=html_table(["", "PSNR dB"], [["teacher", "20.0"], ["<b>student</b>", "19.0"]]),
        worst=1,
        quality_charts=quality_charts({"student": (34.3, -0.1, 1.1)}),
        training_charts=[curve_chart("loss", read_curves(tmp_path / "curves"), log=True)],
        run=html_table(["", ""], [["commit", "abc"]]),
        params="seed: 0 # <not a tag>",
    )
    path = tmp_path / "index.html"
    path.write_text(html)
    return path


def test_curves_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "image.tsv").write_text("step\timage\n0\t0.5\n2\t0.25\n")
    assert read_curves(tmp_path) == {"loss/image": ([0.0, 2.0], [0.5, 0.25])}


@pytest.fixture
def browser() -> Iterator[Any]:
    if BROWSER is None or DRIVER is None:
        pytest.skip("Chromium and its driver are not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def test_the_page_works_in_a_browser(browser: Any, page: Path) -> None:
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    browser.set_window_size(1400, 1000)
    browser.get(page.as_uri())
    over, under = (browser.find_element(By.ID, name) for name in ("over", "under"))

    def seen_share() -> float:
        """How much of the left picture is seen, in percent, as laid out."""
        clip = over.value_of_css_property("clip-path")  # inset(0px 50% 0px 0px), or calc(...)
        script = "return parseFloat(getComputedStyle(arguments[0]).getPropertyValue('--at'))"
        assert clip.startswith("inset(")
        share: float = browser.execute_script(script, browser.find_element(By.ID, "pair"))
        line = browser.find_element(By.CLASS_NAME, "line").rect["x"] - over.rect["x"]
        assert line == pytest.approx(over.rect["width"] * share / 100, abs=2)
        return share

    slider = browser.find_element(By.ID, "slider")
    slider.send_keys(Keys.HOME)
    assert seen_share() == 0
    slider.send_keys(Keys.END)
    assert seen_share() == 100
    quarter = -over.rect["width"] / 4
    ActionChains(browser).move_to_element_with_offset(slider, 0, 0).click_and_hold().move_by_offset(
        quarter, 0
    ).release().perform()
    assert seen_share() == pytest.approx(25, abs=3)

    teacher = over.get_attribute("src")
    assert teacher != under.get_attribute("src")
    Select(browser.find_element(By.ID, "left")).select_by_visible_text("student")
    assert over.get_attribute("src") == under.get_attribute("src")
    width = over.rect["width"]
    Select(browser.find_element(By.ID, "zoom")).select_by_value("4")
    assert over.rect["width"] == pytest.approx(4 * width)
    browser.find_elements(By.CSS_SELECTOR, ".thumbs button")[1].click()
    assert browser.find_element(By.ID, "caption").text.startswith("two </script><b>; ")

    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    requested = [
        e["message"] for e in browser.get_log("performance") if "requestWillBe" in e["message"]
    ]
    assert requested and not any('"url":"http' in message for message in requested)


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_fits_its_window(browser: Any, page: Path, width: int) -> None:
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(page.as_uri())
    inner, content = browser.execute_script(
        "return [window.innerWidth, document.documentElement.scrollWidth]"
    )
    assert inner == width and content <= inner
    size = browser.execute_script("return getComputedStyle(document.body).fontSize")
    assert float(size.removesuffix("px")) >= 14


def record() -> RunRecord:
    """A run whose figures are easy to find again."""
    names = ("teacher", "pruned", "student")
    means = {"psnr_db": "27.284", "fd_lite0": "106.36"}
    scores = [
        {"model": name, "score": score, "mean": mean, "low": "", "high": ""}
        for name in names
        for score, mean in {**means, "lpips": "0.2"}.items()
    ]
    gap = {
        "model": "gap",
        "score": "psnr_db",
        "mean": "-0.078",
        "low": "-0.1284",
        "high": "-0.0292",
    }
    scores += [gap, gap | {"score": "fd_lite0", "mean": "4.465", "low": "", "high": ""}]
    scores += [gap | {"score": "lpips", "mean": "0.01"}]
    scores[0] |= {"low": "24.56", "high": "30.12"}
    timed = {"resolution_px": "512", "batch_size": "1", "device": "a CPU", "images_per_s": "25.0"}
    timed |= {"latency_ms": "40.04", "latency_p10_ms": "39.0", "latency_p90_ms": "44.0"}
    counted = {"decoder_macs": "2000000000", "decoder_params": "3000000"}
    return RunRecord(
        scores=scores,
        costs=[{"model": n, **counted} for n in names],
        decoding=[{"model": n, "way": "plain", "peak_memory_mib": "", **timed} for n in names],
        profile={"student": {"decoder_macs_saved_percent": 70.0, "latency_over_teacher": 0.381}},
        curves={"loss/image": ([0.0, 2.0], [0.5, 0.25]), "validation/lpips": ([2.0], [0.2])},
        teacher="bundled:some",
        data="embedded, 4 crops",
        params="seed: 0",
    )


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html, flags=re.DOTALL)
    return [re.findall(r"<t[dh]>(.*?)</t[dh]>", row, flags=re.DOTALL) for row in rows]


def test_results_table_has_costs_scores_and_the_gap_with_intervals() -> None:
    head, teacher, _, student, gap = cells(results_table(record()))
    assert head[1:5] == ["decoder MACs", "decoder weights", "decoding time", "PSNR dB"]
    assert teacher[:5] == ["teacher", "2.00 G", "3.00 M", "1", "27.28\n[24.56, 30.12]"]
    assert student[3:5] == ["0.38", "27.28"] and student[-1] == "106.4"
    assert gap == ["gap", "", "", "", "-0.078\n[-0.13, -0.029]", "+0.01\n[-0.13, -0.029]", "+4.5"]


def test_page_of_a_run_has_its_timings_curves_and_parameters() -> None:
    page = run_page(record(), [], worst=0)
    assert "decodes with 30.0% of the teacher" in page
    assert ["student", "plain", "512", "1", "40.0", "39.0 to 44.0", "25.0", ""] in cells(page)
    for shown in ("validation/lpips", "bundled:some", "embedded, 4 crops", "a CPU", "seed: 0"):
        assert shown in page


def test_text_is_escaped(page: Path) -> None:
    html = page.read_text()
    assert "<title>A run &amp; its &lt;student&gt;</title>" in html
    assert "<td>&lt;b&gt;student&lt;/b&gt;</td>" in html and "# &lt;not a tag&gt;" in html
