"""Pictures of every kind become the 8-bit RGB that a viewer would show."""

import re
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from dcde.base.errors import UserError
from dcde.data.crops import Crop, load_crop
from dcde.data.pixels import read_rgb, to_rgb
from tests.helpers.profiles import DISPLAY_P3, LINEAR_GRAY
from tests.helpers.tiny import SKIMAGE_DATA


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


def test_deeper_pixels_are_not_clipped() -> None:
    """Not even as Pillow's 32-bit mode, in which old versions of it read 16-bit PNG."""
    deep = Image.fromarray(ramp(65535).astype(np.int32))
    assert deep.mode == "I" and to_rgb(deep).getextrema()[0] == (0, 255)
    with pytest.raises(ValueError, match="found 32-bit pixels, expected 8 or 16"):
        to_rgb(Image.fromarray(ramp(65536).astype(np.int32)))


P3_TO_SRGB = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])


def encoded(linear: np.ndarray) -> np.ndarray:
    """sRGB's curve (IEC 61966-2-1), from [0, 1] to levels."""
    dark, bright = 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    return 255 * np.where(linear <= 0.0031308, dark, bright)


def decoded(levels: np.ndarray) -> np.ndarray:
    x = levels / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


P3_COLOR = encoded(P3_TO_SRGB @ decoded(np.array([200, 100, 50])))
GRAY = encoded(np.full(3, 50 / 255))
PROFILED = {
    "display p3": ("RGB", (200, 100, 50), DISPLAY_P3, P3_COLOR),
    "display p3, transparency": ("RGBA", (200, 100, 50, 255), DISPLAY_P3, P3_COLOR),
    "gray": ("L", 50, LINEAR_GRAY, GRAY),
    "16-bit gray": ("I;16", 50 * 257, LINEAR_GRAY, GRAY),
    "gray, transparency": ("LA", (50, 255), LINEAR_GRAY, GRAY),
    "gray with a profile of colors": ("L", 50, DISPLAY_P3, np.full(3, 50)),
    "cmyk with a profile of rgb": ("CMYK", (255, 0, 0, 0), DISPLAY_P3, np.array([0, 255, 255])),
    "a broken profile": ("RGB", (200, 100, 50), DISPLAY_P3[:200], np.array([200, 100, 50])),
}


@pytest.mark.parametrize("kind", PROFILED)
def test_colors_are_converted_by_the_profile(kind: str, tmp_path: Path) -> None:
    mode, color, profile, expected = PROFILED[kind]
    path = tmp_path / "photo.tif"
    Image.new(mode, (64, 64), color).save(path, icc_profile=profile)
    with Image.open(path) as image:
        assert image.mode == mode and image.info["icc_profile"] == profile
    crop = load_crop(Crop(str(path), 64, 0, 0, 64), draft=True)[:, 0, 0].numpy()
    assert np.abs(crop - expected).max() <= 1
    assert np.array_equal(np.array(read_rgb(path))[0, 0], crop)


def test_a_photo_in_srgb_stays_as_it_is() -> None:
    """Even where its profile, here HP's of 1998, rounds differently from LittleCMS's."""
    with Image.open(SKIMAGE_DATA / "chelsea.png") as photo:
        profile = photo.info["icc_profile"]
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(52, -1, 3)
    image, srgb = Image.fromarray(colors), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, BytesIO(profile), srgb)
    assert np.abs(np.array(converted).astype(int) - colors).max() == 1
    image.info["icc_profile"] = profile
    assert np.array_equal(np.array(to_rgb(image)), colors)


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
