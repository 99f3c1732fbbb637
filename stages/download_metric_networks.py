"""Fetch the networks that metrics consist of: LPIPS, EfficientNet-Lite0, and Inception for FID."""

from dcde.base.errors import one_line_errors
from dcde.base.files import whole_folder
from dcde.base.paths import METRIC_NETWORKS, PARAMS
from dcde.base.say import told
from dcde.metrics.weights import write_fid_inputs, write_networks
from dcde.params.file import load_params
from dcde.params.pipeline import Params


def main() -> None:
    params = load_params(PARAMS, Params)
    with whole_folder(METRIC_NETWORKS) as partial:
        if params.eval.fid:
            write_fid_inputs(
                partial,
                weights=params.eval.inception_weights,
                stats=params.eval.fid_stats,
                resolution=params.data.eval_size,
            )
        write_networks(partial)


if __name__ == "__main__":
    with one_line_errors(), told("download_metric_networks"):
        main()
