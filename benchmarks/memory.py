"""How much memory does the full-size distillation take?

    python -m benchmarks.memory

Counted, not measured: two steps of w4-v3's distillation at 512 px run on fake tensors, which have
shapes and no values, and every allocation is added up while it lives. It holds the weights of both
decoders, the discriminator and LPIPS, gradients, AdamW's moments and activations; what a device's
libraries take beside these (work space, fragments, the context) is not in it. Run `dvc repro`
first, for LPIPS's weights.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dcde.base.paths import LPIPS
from dcde.distill.task import DistillTask
from dcde.model import DCAE, zoo_config
from dcde.report.tables import markdown_table
from dcde.train.discriminator import PatchGAN, discriminator_loss, generator_loss
from dcde.train.losses import build_terms

TEACHER, STUDENT, SIDE = "dc-ae-f32c32-in-1.0", "dc-ae-f32c32-in-1.0-w4-v3", 512
CPU = torch.device("cpu")
WEIGHTS = {"feature": 100.0, "image": 1.0, "lpips": 0.1, "gamma": 0.05}


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
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return out


def peak_gib(lpips_weights: Path, *, batch_size: int, bf16: bool, checkpoint: bool) -> float:
    """Peak memory of a step of the student and one of the discriminator, in GiB.

    Args:
        bf16: automatic mixed precision.
        checkpoint: as `distill.checkpoint_activations`.
    """
    terms = build_terms({k: v for k, v in WEIGHTS.items() if k != "gamma"}, lpips_weights, CPU)
    with FakeTensorMode(allow_non_fake_inputs=True):
        teacher = DCAE(zoo_config(TEACHER)).decoder.requires_grad_(False).eval()
        student = DCAE(zoo_config(STUDENT)).decoder
        student.project_out.requires_grad_(False)
        for stage in student.stages:
            stage.recompute = checkpoint  # type: ignore[assignment]
        task, discriminator = DistillTask(student, teacher, 3), PatchGAN("batch")
        nets: tuple[nn.Module, ...] = (student, discriminator)
        optimizers = [
            torch.optim.AdamW([p for p in net.parameters() if p.requires_grad]) for net in nets
        ]
        live = LiveBytes()
        for net in (*nets, teacher):
            for tensor in net.state_dict().values():
                live.add(tensor)
        with live, torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            for _ in range(2):  # AdamW's moments are there from the second on
                image = torch.randn(batch_size, 3, SIDE, SIDE)
                latent = torch.randn(batch_size, 32, SIDE // 32, SIDE // 32)
                discriminator.requires_grad_(False)
                prediction = task.predict(student, {"latent": latent, "image": image})
                total = torch.stack([WEIGHTS[n] * t(prediction) for n, t in terms.items()]).sum()
                judged = generator_loss(discriminator(prediction.image).float(), "bce")
                (total + WEIGHTS["gamma"] * judged).backward()
                discriminator.requires_grad_(True)
                fake = prediction.image.detach()
                discriminator_loss(discriminator(image), discriminator(fake), "bce").backward()
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
    return live.peak / 2**30


def main() -> None:
    rows = [["precision", "checkpoint_activations", "batch", "GiB"]]
    for bf16 in (False, True):
        for checkpoint in (False, True):
            for batch_size in (4, 8):
                peak = peak_gib(LPIPS, batch_size=batch_size, bf16=bf16, checkpoint=checkpoint)
                precision = "bf16" if bf16 else "fp32"
                rows.append([precision, str(checkpoint).lower(), str(batch_size), f"{peak:.1f}"])
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
