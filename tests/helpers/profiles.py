"""Small ICC profiles, written from their numbers."""

import struct
from collections.abc import Mapping

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
