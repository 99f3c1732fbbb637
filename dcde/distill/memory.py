"""The memory that a step of distillation takes, known before any data or weights are there.

It is counted, not measured: the trainer's own step runs on fake tensors, which have shapes and no
values, while every living allocation is added up: weights of student, teacher, discriminator and
LPIPS, gradients, AdamW's moments, activations. What a device's libraries need on top of that (work
space, fragments, the context) is not included.
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
from dcde.distill.projections import narrow_taps
from dcde.distill.task import distill_learner
from dcde.metrics.lpips import untrained_lpips
from dcde.model import DCAE, DCAEConfig
from dcde.params.pipeline import Params


class LiveBytes(TorchDispatchMode):
    """Adds up the living storages, from when an operation returns them until they are freed."""

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
            return 1.0  # the value of a loss or a gradient norm does not matter here
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return out


def step_bytes(student_config: DCAEConfig, teacher_config: DCAEConfig, params: Params) -> int:
    """Return the peak memory of a training step, with the discriminator's step if there is one.

    This is for one process; several share the batch.
    """
    how = params.distill
    # For tensor sizes fp16 equals bf16, which is what a CPU has.
    precision = "fp32" if how.precision == "fp32" else "bf16"
    with cpu_accelerator(precision) as accelerator, _fake_tensors():
        student, teacher = DCAE(student_config), DCAE(teacher_config).requires_grad_(False)
        lpips = untrained_lpips()
        # Fake tensors can't be copied, as the moving average is: it is added below.
        plain = params.model_copy(
            update={"distill": how.model_copy(update={"compile": False, "ema": 0.0})}
        )
        ours, theirs = student_config.decoder.widths, teacher_config.decoder.widths
        narrow = narrow_taps(student_config, teacher_config, params.loss)
        projections = {
            f"stage{i}": nn.Conv2d(*pair, 1, bias=False)
            for i, pair in enumerate(zip(ours, theirs, strict=True))
            if f"stage{i}" in narrow
        }
        learner = distill_learner(
            student, teacher.decoder, plain, accelerator, lambda: lpips, projections
        )
        adversary = learner.adversary
        nets: list[nn.Module] = [student, teacher, learner.net]
        nets += [lpips] if how.validation_photos or params.loss.needs("lpips") else []
        nets += [adversary.net] if adversary is not None else []
        batch_size, side = how.batch_size, how.crops.image_size
        channels, small = teacher_config.latent_channels, side // teacher_config.downsampling
        live = LiveBytes()
        for net in nets:
            for tensor in net.state_dict().values():
                live.add(tensor)
        with live:
            for _ in range(2):  # AdamW's moments exist from the second step on
                batch = {
                    "pixels": torch.zeros(batch_size, 3, side, side, dtype=torch.uint8),
                    "latent": torch.randn(batch_size, channels, small, small),
                }
                prediction, _ = learner.step([batch], params.loss.weights(), lr=1e-4)
                if adversary is not None:
                    adversary.step(prediction, 1e-4)
                del prediction
        # Each of these copies is as large as its original.
        copied: list[nn.Module] = [learner.net] if how.ema else []
        copied += [teacher.decoder] if params.loss.needs("teacher") else []  # with folded norms
        copies = sum(t.nbytes for net in copied for t in net.state_dict().values())
    return live.peak + copies


@contextmanager
def _fake_tensors() -> Iterator[None]:
    """Make all new tensors fake. They share one device and can't be moved, so moving a module does
    nothing."""
    moved_nowhere = patch.object(nn.Module, "to", lambda module, *args, **kwargs: module)
    with FakeTensorMode(allow_non_fake_inputs=True), moved_nowhere:
        yield
