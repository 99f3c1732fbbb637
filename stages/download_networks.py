"""Fetch the networks that judge pictures: LPIPS, EfficientNet-Lite0, and Inception for FID."""

from pathlib import Path

from dcde.config import Params
from dcde.errors import one_line_errors
from dcde.files import whole_folder
from dcde.networks import write_fid_inputs, write_networks
from dcde.paramsfile import load_params

OUT = Path("models/networks")


def main() -> None:
    params = load_params(Path("params.yaml"), Params)
    with whole_folder(OUT) as partial:
        if params.eval.fid:
            write_fid_inputs(
                partial,
                weights=params.eval.inception_weights,
                stats=params.eval.fid_stats,
                resolution=params.data.eval_size,
            )
        write_networks(partial)


if __name__ == "__main__":
    with one_line_errors():
        main()
