"""Pictures of every kind become the 8-bit RGB that a viewer would show."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from dcde.base.errors import UserError
from dcde.data.crops import Crop, load_crop
from dcde.data.pixels import read_rgb, to_rgb


def ramp(top: int) -> np.ndarray:
    """(64, 64) from 0 to `top`, left to right."""
    return np.linspace(0, top, 64).round().astype(np.uint32)[None].repeat(64, axis=0)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_keeps_its_range(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(ramp(65535).astype(np.uint16)).save(path)
    expected = (ramp(65535) / 257).round()[..., None].repeat(3, axis=2)
    assert np.array_equal(np.array(read_rgb(path)), expected)
    crop = load_crop(Crop(str(path), 64, 0, 0, 64))
    assert np.array_equal(crop.permute(1, 2, 0).numpy(), expected)


BROKEN_EXIF = bytes.fromhex(  # turned by 90 degrees, with a value of the wrong type behind that
    "4578696600004d4d002a000000080005012d0002000000060000004a011200030000000100060000829a000c00000001"
    "00000050876900040000000100000058882500040000000100740072000000006d616b6572004fe00000000000000001"
    "92860001000000070000006a00000000636f6d6d656e7400000100010002000000024e00000000000000"
)


def test_a_photo_whose_exif_is_broken_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    Image.new("RGB", (16, 8), (200, 100, 50)).save(path, exif=BROKEN_EXIF)
    with pytest.raises(struct.error), Image.open(path) as image:
        ImageOps.exif_transpose(image)
    assert read_rgb(path).size == (16, 8)


def test_gray_palette_and_cmyk_are_as_in_pillow() -> None:
    gray = Image.fromarray(ramp(255).astype(np.uint8))
    for mode in ("L", "P", "CMYK", "1"):
        image = gray.convert(mode)
        assert np.array_equal(np.array(to_rgb(image)), np.array(image.convert("RGB")))


def test_transparency_is_over_white(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:] = (200, 0, 0, 255)
    pixels[0, 0] = (0, 0, 0, 128)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    rgb = read_rgb(tmp_path / "a.png")
    assert [rgb.getpixel(xy) for xy in ((1, 1), (5, 1), (0, 0))] == [
        *((255, 255, 255), (200, 0, 0), (127, 127, 127))
    ]
    palette = Image.fromarray(pixels[..., 0]).convert("P")
    palette.save(tmp_path / "p.png", transparency=0)
    for image in (read_rgb(tmp_path / "p.png"), to_rgb(Image.fromarray(pixels[..., [0, 3]], "LA"))):
        assert image.getpixel((1, 1)) == (255, 255, 255)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "blue")
    image.paste("red", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by 90 degrees to the left
    image.save(tmp_path / "phone.jpg", exif=exif)
    upright = read_rgb(tmp_path / "phone.jpg")
    assert upright.size == (20, 40)
    red, _, blue = upright.getpixel((10, 5))
    assert red > 200 and blue < 50


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_frame_of_an_animation(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("lime", "red", "blue")]
    path = tmp_path / f"moving.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)
    assert getattr(Image.open(path), "n_frames", 1) == 3
    red, green, blue = read_rgb(path).getpixel((8, 8))
    assert green > 240 and red < 15 and blue < 15


def test_what_a_model_can_not_take_is_named(photos: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "float.tif")
    (tmp_path / "cut.jpg").write_bytes((photos / "rocket.jpg").read_bytes()[:5000])
    Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png")
    for name, message in (
        ("float.tif", ".*found floating-point pixels, expected 8 or 16"),
        ("cut.jpg", "not a readable image"),
        ("huge.png", r"found 10000 x 10000 pixels, expected at most 16\.8 megapixels"),
    ):
        with pytest.raises(UserError, match=f"{re.escape(name)}: {message}"):
            read_rgb(tmp_path / name)
