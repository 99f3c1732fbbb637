"""Fetch the networks that judge pictures: LPIPS and EfficientNet-Lite0."""

from pathlib import Path

from dcde.errors import one_line_errors
from dcde.files import whole_folder
from dcde.networks import write_networks

OUT = Path("models/networks")


def main() -> None:
    with whole_folder(OUT) as partial:
        write_networks(partial)


if __name__ == "__main__":
    with one_line_errors():
        main()
