"""Compare sets of pictures by Frechet distances between a network's features.

`fid` is measured like the DC-AE authors do: pytorch-fid's Inception on rounded pictures, resized
bilinearly to 299, against the statistics of the whole set. `fd_lite0` is the same with
EfficientNet-Lite0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from torch import nn

from dcde.base.errors import UserError
from dcde.base.files import whole_file
from dcde.base.work import left_behind
from dcde.metrics.inception import INCEPTION_FEATURES, convert_inception, load_inception


@dataclass(frozen=True)
class Statistics:
    """Mean (features,) and covariance (features, features) of a network's features of a set."""

    mean: np.ndarray
    covariance: np.ndarray

    def save(self, path: Path, *, resolution: int) -> None:
        """Write an npz with pytorch-fid's `mu` and `sigma`, and the pictures' side in pixels."""
        with whole_file(path) as partial, partial.open("wb") as file:
            np.savez(file, mu=self.mean, sigma=self.covariance, resolution=resolution)

    @classmethod
    def load(cls, path: Path, *, features: int, resolution: int) -> Statistics:
        """Read an npz of ours or of pytorch-fid; the latter has no resolution.

        Raises:
            UserError: if it is missing, damaged, or of another network or resolution.
        """
        if not path.is_file():
            raise UserError(
                f"{path}: not found, expected an npz with mu and sigma{left_behind(path)}"
            )
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise UserError(f"{path}: not a whole npz file ({error})") from None
        for name, shape in (("mu", (features,)), ("sigma", (features, features))):
            if name not in arrays:
                raise UserError(f"{path}: found {', '.join(arrays)}, expected mu and sigma")
            if arrays[name].shape != shape:
                raise UserError(
                    f"{path}: {name} has shape {list(arrays[name].shape)}, expected {list(shape)}: "
                    "statistics of another network"
                )
            if arrays[name].dtype.kind not in "fiu" or not np.isfinite(arrays[name]).all():
                raise UserError(f"{path}: {name} has entries that are not finite numbers")
        found_px = arrays.get("resolution", resolution)
        if not np.array_equal(found_px, resolution):
            raise UserError(
                f"{path}: statistics of pictures of {found_px} px, expected {resolution} px"
            )
        return cls(arrays["mu"], arrays["sigma"])


@dataclass
class Moments:
    """Running sums of feature vectors, in double precision."""

    features: int
    count: int = 0
    total: np.ndarray = field(init=False)
    products: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.total = np.zeros(self.features)
        self.products = np.zeros((self.features, self.features))

    def update(self, features: np.ndarray) -> None:
        """Add (B, features)."""
        rows = features.astype(np.float64)
        self.count += len(rows)
        self.total += rows.sum(axis=0)
        self.products += rows.T @ rows

    def statistics(self) -> Statistics:
        """Return the mean and the unbiased covariance."""
        mean = self.total / self.count
        covariance = (self.products - self.count * np.outer(mean, mean)) / max(1, self.count - 1)
        return Statistics(mean, covariance)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al., arXiv 1706.08500).

    The last trace is the sum of the square roots of the eigenvalues of C1^(1/2) C2 C1^(1/2). Unlike
    a general matrix square root, this is exact for the rank-deficient covariances of few images.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ b.covariance @ root)
    cross = np.sqrt(eigenvalues.clip(min=0)).sum()
    distance = (
        np.square(a.mean - b.mean).sum()
        + np.trace(a.covariance)
        + np.trace(b.covariance)
        - 2 * cross
    )
    return float(max(0.0, distance))


@dataclass(frozen=True)
class FrechetNetwork:
    """A network whose features are compared, and what to compare them with."""

    name: str
    """The name of the distance in results, such as `fd_lite0`."""
    module: nn.Module
    """(B, 3, H, W) in [-1, 1] to (B, features)."""
    features: int
    reference: Statistics | None = None
    """The originals' statistics; None: they are measured."""


def inception_network(weights: Path, reference: Path | None, resolution: int) -> FrechetNetwork:
    """Load pytorch-fid's Inception, for `fid`.

    Args:
        reference: npz of the originals' statistics; None: they are measured.
        resolution: side of the pictures in pixels.
    """
    given = None
    if reference is not None:
        given = Statistics.load(reference, features=INCEPTION_FEATURES, resolution=resolution)
    network = load_inception(weights)
    return FrechetNetwork("fid", network, INCEPTION_FEATURES, given)


def check_fid_files(inception: Path | None, stats: Path | None, resolution: int) -> None:
    """Reject files given for FID, weights and statistics, that are missing or of another kind."""
    if inception is not None:
        convert_inception(inception)
    if stats is not None:
        Statistics.load(stats, features=INCEPTION_FEATURES, resolution=resolution)
