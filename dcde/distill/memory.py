"""How much memory a step of distillation takes, known before any data or weight is there.

Counted, not measured: the trainer's own steps run on fake tensors, which have shapes and no values,
and every allocation is added up while it lives. That is the weights of student, teacher,
discriminator and LPIPS, gradients, AdamW's moments and activations. What a device's libraries take
beside these (work space, fragments, the context) is not in it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dcde.base.processes import cpu_accelerator
from dcde.base.recipe import Recipe
from dcde.distill.step import step_of
from dcde.metrics.lpips import untrained_lpips
from dcde.model import DCAE, DCAEConfig
from dcde.train.losses import LPIPS_TERMS, need_teacher


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


def step_bytes(student_config: DCAEConfig, teacher_config: DCAEConfig, recipe: Recipe) -> int:
    """Peak memory of a step of the student and, where there is a GAN, one of the discriminator.

    It is that of one process; several share the batch.
    """
    params, weights = recipe.distill, recipe.loss.weights()
    # For the sizes of tensors fp16 is as good as bf16, and a CPU has the one alone.
    precision = "fp32" if params.precision == "fp32" else "bf16"
    with cpu_accelerator(precision) as accelerator, _fake_tensors():
        student, teacher = DCAE(student_config), DCAE(teacher_config)
        lpips = untrained_lpips()
        # Fake tensors can't be copied as the moving average is: it is added below.
        plain = params.model_copy(update={"compile": False, "ema": 0.0})
        learner, adversary = step_of(
            student,
            teacher,
            recipe.model_copy(update={"distill": plain}),
            accelerator,
            lambda: lpips,
        )
        nets: list[nn.Module] = [student, teacher, learner.net]
        if params.validation_photos or any(name in LPIPS_TERMS for name in weights):
            nets.append(lpips)
        if adversary is not None:
            nets.append(adversary.net)
        batch_size, side = params.batch_size, params.crops.image_size
        channels, small = teacher_config.latent_channels, side // teacher_config.downsampling
        live = LiveBytes()
        for net in nets:
            for tensor in net.state_dict().values():
                live.add(tensor)
        with live:
            for _ in range(2):  # AdamW's moments are there from the second on
                batch = {
                    "pixels": torch.zeros(batch_size, 3, side, side, dtype=torch.uint8),
                    "latent": torch.randn(batch_size, channels, small, small),
                }
                prediction, _ = learner.step([batch], weights, lr=1e-4, resting=())
                if adversary is not None:
                    adversary.step(prediction, 1e-4)
                del prediction
        # Each of these copies is as large as what it is of.
        copied: list[nn.Module] = [learner.net] if params.ema else []
        copied += [teacher.decoder] if need_teacher(weights) else []  # whose norms are folded
        copies = sum(t.nbytes for net in copied for t in net.state_dict().values())
    return live.peak + copies


@contextmanager
def _fake_tensors() -> Iterator[None]:
    """All tensors that are made meanwhile are fake. Such can't be moved, nor need they be: all are
    on one device, so that moving a module is made to do nothing."""
    moved_nowhere = patch.object(nn.Module, "to", lambda module, *args, **kwargs: module)
    with FakeTensorMode(allow_non_fake_inputs=True), moved_nowhere:
        yield
