"""One phase of training an autoencoder, on crops of photos that are drawn anew in every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from dcde.autoencode.parts import train_part
from dcde.autoencode.task import AutoencodeTask, Reconstruct
from dcde.base.autoencoder import AutoencoderParams
from dcde.base.devices import check_compiler
from dcde.base.processes import check_batch_size, make_accelerator
from dcde.data.crops import Crop, CropDataset
from dcde.data.folder import Photo
from dcde.data.grid import reconstruction_grid, save_picture
from dcde.data.plan import EpochPlan
from dcde.metrics.lpips import load_lpips
from dcde.model import DCAE
from dcde.train.losses import build_terms
from dcde.train.scores import mean_scores
from dcde.train.trainer import Trainer

FRESH = 1_000_000
"""Crops of a photo that there are to draw from: so many that hardly one comes twice."""
SHOWN = 4
"""Crops in each epoch's picture."""


def train_phase(
    model: DCAE,
    name: str,
    params: AutoencoderParams,
    *,
    photos: tuple[Photo, ...],
    validation: Sequence[Crop],
    lpips_weights: Path,
    state_dir: Path,
) -> None:
    """Train the model in place, continuing an unfinished run in `state_dir`.

    With several processes, the main one's model is the result. After each epoch it is scored, and
    shown in `state_dir`/samples.

    Args:
        name: `phase1`, `phase2` or `phase3`.
        validation: crops to show and to score it on, none of them trained on.

    Raises:
        UserError: for parameters that do not fit the data or the model, before any long work.
    """
    phase = params.phases()[name]
    weights = phase.loss.weights()
    model.config.check_image_size(f"{name}.crops.image_size", phase.crops.image_size)
    plan = EpochPlan(
        photos,
        phase.crops,
        samples=phase.samples_per_epoch or len(photos),
        crops_per_image=FRESH,
        seed=params.seed,
    )
    accelerator = make_accelerator(phase.precision)
    processes = accelerator.num_processes
    check_batch_size(f"{name}.batch_size", phase.batch_size, plan.samples, processes)
    if phase.compile:
        check_compiler(f"{name}.compile")
    train_part(model, phase.trains, checkpoint_activations=phase.checkpoint_activations)
    lpips_metric = load_lpips(lpips_weights).to(accelerator.device)

    def epoch_done(epoch: int, module: nn.Module) -> Mapping[str, float]:
        assert isinstance(module, Reconstruct)
        shown = module.model
        was_training = module.training
        module.eval()
        grid = reconstruction_grid({"reconstruction": shown}, validation[:SHOWN])
        save_picture(grid, state_dir / f"samples/epoch_{epoch + 1:03d}.jpg")
        scores = mean_scores(
            lambda batch: shown(batch["image"]),
            CropDataset(validation),
            lpips_metric,
            phase.batch_size,
        )
        module.train(was_training)
        return scores

    Trainer(
        AutoencodeTask(model),
        accelerator=accelerator,
        terms=build_terms(weights, lambda: lpips_metric),
        weights_at=lambda epoch: weights,
        plan=plan,
        dataset=CropDataset,
        train=phase,
        optimizer=phase.optimizer,
        adversary=(params.gan, params.optimizer_d) if "gamma" in weights else None,
        runtime=params.runtime,
        state_dir=state_dir,
        seed=params.seed,
        on_epoch=epoch_done,
    ).run()
    model.eval()
