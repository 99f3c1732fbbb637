"""One phase of training an autoencoder, on fresh random crops in every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from dcde.autoencode.start import start_config
from dcde.autoencode.task import AutoencodeTask, Reconstruct, train_part
from dcde.base.devices import check_compiler, loader_workers
from dcde.base.processes import check_batch_size, check_launcher, make_accelerator
from dcde.data.crops import Crop, CropDataset
from dcde.data.folder import Photo
from dcde.data.grid import reconstruction_grid, save_picture
from dcde.data.plan import EpochPlan
from dcde.metrics.lpips import load_lpips
from dcde.model import DCAE, DCAEConfig
from dcde.params.autoencoder import AutoencoderParams, PhaseParams
from dcde.train.learner import build_learner
from dcde.train.scores import mean_scores
from dcde.train.trainer import Trainer

FRESH = 1_000_000
"""Distinct crops of a photo to draw from: so many that hardly one comes twice."""
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
    pictures of it go to `state_dir`/samples.

    Args:
        name: `phase1`, `phase2` or `phase3`.
        validation: crops to show and score it on, none of them trained on.

    Raises:
        UserError: for parameters that do not fit the data or the model, before any long work.
    """
    phase = params.phases()[name]
    plan = EpochPlan(
        photos,
        phase.crops,
        samples=phase.samples_per_epoch or len(photos),
        crops_per_image=FRESH,
        seed=params.seed,
    )
    check_phase(name, phase, model.config, plan.samples)
    accelerator = make_accelerator(phase.precision)
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

    learner = build_learner(
        AutoencodeTask(model),
        phase.loss,
        phase,
        phase.optimizer,
        accelerator,
        lpips_metric=lambda: lpips_metric,
        gan=(params.gan.ratio, params.gan.loss, params.optimizer_d),
        seed=params.seed,
        grad_clip=phase.grad_clip,
    )
    Trainer(
        learner,
        phase,
        weights_at=lambda epoch: phase.loss.weights(),
        plan=plan,
        dataset=CropDataset,
        workers=loader_workers(params.runtime.workers),
        state_dir=state_dir,
        on_epoch=epoch_done,
    ).run()
    model.eval()


def check_phase(
    name: str, phase: PhaseParams, config: DCAEConfig | None, samples: int | None
) -> None:
    """Reject parameters that do not fit the device, the model or the data.

    Args:
        config: of the model, if it is known.
        samples: crops per epoch, if they are known.
    """
    processes = make_accelerator(phase.precision).num_processes
    if phase.compile:
        check_compiler(f"{name}.compile")
    if config is not None:
        config.check_image_size(f"{name}.crops.image_size", phase.crops.image_size)
    if samples is not None:
        check_batch_size(f"{name}.batch_size", phase.batch_size, samples, processes)


def check_phases(params: AutoencoderParams) -> None:
    """Reject parameters that would stop a later stage."""
    check_launcher(params.launcher)
    config = start_config(params.start)
    if config is not None:
        config.check_image_size("data.eval_size", params.data.eval_size)
    for name, phase in params.phases().items():
        if phase.epochs:
            check_phase(name, phase, config, phase.samples_per_epoch)
