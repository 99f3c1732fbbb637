"""Count each model's costs from its architecture, and measure them on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dcde.base.devices import device_name
from dcde.model import DCAE
from dcde.model.costs import saved_percent, static_costs
from dcde.params.pipeline import ProfileParams
from dcde.profile.latency import DTYPES, decode_costs, decoders, example_latent

Row = dict[str, Any]
WARMUP_RUNS, RUNS = 1, 6


@dataclass(frozen=True)
class Profile:
    """Counts and measurements, as tables."""

    costs: Sequence[Row]
    """Parameters and multiply-accumulates: a row for each model."""
    decoding: Sequence[Row]
    """Latency, throughput and memory: a row for each model, way to decode and size."""


def profile_models(
    models: Mapping[str, DCAE], params: ProfileParams, *, seed: int, device: torch.device
) -> Profile:
    """Count and time the models.

    Args:
        models: name to model, the teacher first.
        seed: of the latents that are decoded.

    Raises:
        UserError: for a resolution that the models can't decode, before anything is measured.
    """
    for model in models.values():
        for resolution in params.resolutions:
            model.config.check_image_size("profile.resolutions", resolution)
    px = params.resolutions[0]
    costs = [
        {"model": name, "resolution_px": px, **static_costs(model.config, px)}
        for name, model in models.items()
    ]
    dtype, config = DTYPES[params.precision], next(iter(models.values())).config
    ways = decoders(models, dtype, device)
    machine = {"precision": params.precision, "device": device_name(device)}
    decoding: list[Row] = []
    for resolution in params.resolutions:
        latent = example_latent(config, resolution, 1, seed).to(device, dtype)
        measured = decode_costs(ways, latent, warmup_runs=WARMUP_RUNS, runs=RUNS)
        for (name, way), values in measured.items():
            size = {"resolution_px": resolution}
            decoding.append({"model": name, "way": way, **size, **values, **machine})
    return Profile(costs, decoding)


def profile_metrics(profile: Profile) -> dict[str, dict[str, float]]:
    """Return the student's costs to compare between runs, with the same keys on every machine.

    Only `latency_over_teacher` is measured: the time of the plain decoder over the teacher's, at
    the largest resolution.
    """
    costs = {row["model"]: row for row in profile.costs}
    student = costs["student"]
    metrics = {name: student[name] for name in ("decoder_params", "decoder_macs")}
    metrics |= saved_percent(student, costs["teacher"])
    plain = [row for row in profile.decoding if row["way"] == "plain"]
    largest = max(row["resolution_px"] for row in plain)
    ms = {row["model"]: row["latency_ms"] for row in plain if row["resolution_px"] == largest}
    return {"student": {**metrics, "latency_over_teacher": ms["student"] / ms["teacher"]}}
