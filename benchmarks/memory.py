"""How much memory does the full-size distillation take?

    python -m benchmarks.memory

Counted, not measured: two of the trainer's own steps, with the recipe of preset w4-v25, run on fake
tensors, which have shapes and no values, and every allocation is added up while it lives. It holds
the weights of both decoders, the discriminator and LPIPS, gradients, AdamW's moments and
activations; what a device's libraries take beside these (work space, fragments, the context) is not
in it. Run `dvc repro` first, for LPIPS's weights.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import yaml
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dcde.base.params import Params
from dcde.base.params_file import validate
from dcde.base.paths import LPIPS, PARAMS, PRESETS
from dcde.base.processes import make_accelerator
from dcde.base.recipe import Recipe
from dcde.commands.preset import merge, read_preset
from dcde.distill.freeze import freeze
from dcde.distill.task import DistillTask
from dcde.model import DCAE, zoo_config
from dcde.report.tables import markdown_table
from dcde.train.adversary import Adversary
from dcde.train.learner import Learner
from dcde.train.losses import build_terms

TEACHER, STUDENT = "dc-ae-f32c32-in-1.0", "dc-ae-f32c32-in-1.0-w4-v3"
PRESET = "w4-v25"


class LiveBytes(TorchDispatchMode):
    """Adds up the storages that live, from when an operation returns them to when they go."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._seen:
            self._seen.add(storage)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, storage.nbytes())

    def _free(self, count: int) -> None:
        self.now -= count

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0  # what a loss or a gradient's norm is does not matter here
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return out


def peak_gib(
    recipe: Recipe, lpips_weights: Path, *, batch_size: int, bf16: bool, checkpoint: bool
) -> float:
    """Peak memory of a step of the student and one of the discriminator, in GiB.

    Args:
        recipe: with a GAN.
        bf16: automatic mixed precision.
        checkpoint: as `distill.checkpoint_activations`.
    """
    params, weights = recipe.distill, recipe.loss.weights()
    accelerator = make_accelerator("bf16" if bf16 else "fp32")
    terms = build_terms(weights, lpips_weights, accelerator.device)
    # Fake weights can't be moved, nor need they be: all is on one device.
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        patch.object(nn.Module, "to", lambda module, *args, **kwargs: module),
    ):
        teacher = DCAE(zoo_config(TEACHER)).requires_grad_(False).eval().decoder
        student = DCAE(zoo_config(STUDENT))
        freeze(
            student,
            encoder=True,
            project_out=params.freeze_project_out,
            checkpoint_activations=checkpoint,
        )
        student.encoder = nn.Identity()  # type: ignore[assignment]  # a step needs latents alone
        adversary = Adversary(recipe.gan, recipe.optimizer_d, accelerator)
        task = DistillTask(student.decoder, teacher, params.tap)
        learner = Learner(
            task,
            accelerator=accelerator,
            terms=terms,
            train=params,
            optimizer=recipe.optimizer,
            adversary=adversary,
        )
        live = LiveBytes()
        assert task.teacher is not None
        for net in (learner.net, adversary.net, task.teacher):
            for tensor in net.state_dict().values():
                live.add(tensor)
        side = params.crops.image_size
        with live:
            for _ in range(2):  # AdamW's moments are there from the second on
                batch = {
                    "pixels": torch.zeros(batch_size, 3, side, side, dtype=torch.uint8),
                    "latent": torch.randn(batch_size, 32, side // 32, side // 32),
                }
                prediction, _ = learner.step([batch], weights, lr=1e-4, resting=())
                adversary.step(prediction, 1e-4)
                del prediction
    return live.peak / 2**30


def full_size_recipe() -> Recipe:
    """Of the preset, on top of the committed parameters."""
    changes = read_preset(PRESETS, PRESET)
    return validate(merge(yaml.safe_load(PARAMS.read_text()), changes), Params, where=PRESET)


def main() -> None:
    recipe = full_size_recipe()
    rows = [["precision", "checkpoint_activations", "batch", "GiB"]]
    for bf16 in (False, True):
        for checkpoint in (False, True):
            for batch_size in (4, 8):
                peak = peak_gib(
                    recipe, LPIPS, batch_size=batch_size, bf16=bf16, checkpoint=checkpoint
                )
                precision = "bf16" if bf16 else "fp32"
                rows.append([precision, str(checkpoint).lower(), str(batch_size), f"{peak:.1f}"])
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
