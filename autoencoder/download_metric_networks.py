"""Fetch the networks behind the metrics: LPIPS and EfficientNet-Lite0."""

from autoencoder.paths import METRIC_NETWORKS, PIPELINE
from dcde.base.errors import one_line_errors
from dcde.base.files import whole_folder
from dcde.base.say import told
from dcde.metrics.weights import write_networks


def main() -> None:
    with whole_folder(METRIC_NETWORKS) as partial:
        write_networks(partial)


if __name__ == "__main__":
    with one_line_errors(), told("download_metric_networks", PIPELINE):
        main()
