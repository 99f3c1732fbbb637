"""What each model costs: counted by its architecture, and measured on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dcde.base.devices import device_name
from dcde.base.params import ProfileParams
from dcde.model import DCAE
from dcde.model.costs import saved_percent, static_costs
from dcde.profile.latency import DTYPES, decode_costs, decoders, example_latent

Row = dict[str, Any]


@dataclass(frozen=True)
class Profile:
    """What was counted and measured, as tables."""

    costs: Sequence[Row]
    """Parameters and multiply-accumulates: a row for each model."""
    decoding: Sequence[Row]
    """Latency, throughput and memory: a row for each model, way to decode, size and batch."""


def profile_models(
    models: Mapping[str, DCAE], params: ProfileParams, *, seed: int, device: torch.device
) -> Profile:
    """Count and time the models.

    Args:
        models: name to model; the first is the teacher, of whose costs shares are given.
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
        for batch in params.batch_sizes:
            latent = example_latent(config, resolution, batch, seed).to(device, dtype)
            measured = decode_costs(ways, latent, warmup_runs=params.warmup_runs, runs=params.runs)
            for (name, way), values in measured.items():
                size = {"resolution_px": resolution, "batch_size": batch}
                decoding.append({"model": name, "way": way, **size, **values, **machine})
    return Profile(costs, decoding)


def profile_metrics(profile: Profile) -> dict[str, dict[str, float]]:
    """What of the student's costs is compared between runs: the same keys on every machine.

    The one figure that is measured is `latency_over_teacher`: the time of the plain decoder over
    that of the teacher's, at the largest resolution and the first batch size.
    """
    teacher, student = (_of(profile.costs, model=name)[0] for name in ("teacher", "student"))
    metrics = {name: student[name] for name in ("decoder_params", "decoder_macs")}
    metrics |= saved_percent(student, teacher)
    times = [_plain_latency_ms(profile.decoding, name) for name in ("student", "teacher")]
    return {"student": {**metrics, "latency_over_teacher": times[0] / times[1]}}


def _plain_latency_ms(decoding: Sequence[Row], model: str) -> float:
    rows = _of(decoding, model=model, way="plain")
    return float(max(rows, key=lambda row: row["resolution_px"])["latency_ms"])


def _of(rows: Sequence[Row], **values: str) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in values.items())]
