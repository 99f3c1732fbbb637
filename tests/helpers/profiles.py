"""Small ICC profiles, written from their numbers."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

D50 = (0.9642, 1.0, 0.8249)


def icc_profile(space: bytes, tags: Mapping[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    """A version 4 profile of an output device."""
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    size = struct.pack(">I", 128 + len(table) + len(data))
    head = size + bytes(4) + b"\x04\x20\0\0prtr" + space + pcs + bytes(12) + b"acsp"
    return head.ljust(68, b"\0") + _fixed(D50).ljust(60, b"\0") + table + data


def _fixed(numbers: tuple[float, ...]) -> bytes:
    return b"".join(struct.pack(">i", round(65536 * x)) for x in numbers)


def _xyz(numbers: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(numbers)


SRGB_CURVE = b"para" + bytes(4) + b"\0\3\0\0" + _fixed((2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92))
SRGB_CURVE += _fixed((0.04045,))
DISPLAY_P3 = icc_profile(
    b"RGB ",
    {
        b"wtpt": _xyz(D50),
        b"rXYZ": _xyz((0.51512, 0.24120, -0.00105)),
        b"gXYZ": _xyz((0.29198, 0.69225, 0.04189)),
        b"bXYZ": _xyz((0.15710, 0.06657, 0.78407)),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), SRGB_CURVE),
    },
)
LINEAR_GRAY = icc_profile(b"GRAY", {b"wtpt": _xyz(D50), b"kTRC": b"curv" + bytes(8)})


def cmyk_profile(lab: np.ndarray) -> bytes:
    """A CMYK profile from the color of each mixture of full inks.

    Args:
        lab: (2, 2, 2, 2, 3), by cyan, magenta, yellow and black.
    """
    curve = struct.pack(">256H", *(257 * i for i in range(256)))
    colors = lab * (65280 / 100, 256, 256) + (0, 32768, 32768)  # 16-bit Lab of lut16
    unit = _fixed((1, 0, 0, 0, 1, 0, 0, 0, 1))
    lut = b"mft2" + bytes(4) + bytes((4, 3, 2, 0)) + unit + struct.pack(">HH", 256, 256)
    lut += 4 * curve + colors.round().astype(">u2").tobytes() + 3 * curve
    return icc_profile(b"CMYK", {b"wtpt": _xyz(D50), b"A2B0": lut, b"A2B1": lut}, b"Lab ")
