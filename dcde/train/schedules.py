"""Learning rates and loss weights as pure functions of the position in training."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dcde.base.recipe import OptimizerParams
from dcde.train.losses import FEATURE_TERMS


def learning_rate(params: OptimizerParams, epoch: float, step: int) -> float:
    """Cosine annealing with warm restarts (SGDR, arXiv 1608.03983), after a linear warm-up.

    eta_min + (lr - eta_min) * (1 + cos(pi * t / T)) / 2, with t the epochs since the last restart
    and T the length of the period: `cosine_t0`, times `cosine_t_mult` after each restart. As
    torch's CosineAnnealingWarmRestarts stepped with a fractional epoch.
    """
    period, since = float(params.cosine_t0), epoch
    while since >= period:
        since -= period
        period *= params.cosine_t_mult
    span = params.lr - params.eta_min
    value = params.eta_min + span * (1 + math.cos(math.pi * since / period)) / 2
    return value * min(1.0, (step + 1) / (params.warmup_steps + 1))


def dynamic_weights(
    weights: Mapping[str, float], epoch: int, epochs: int, division_epoch: int
) -> dict[str, float]:
    """Loss weights that turn from features to images (the original recipe's dynamic loss).

    Up to the division epoch d the feature weight falls from w to w / 2, and stays there:
    w * (3 + cos(pi * min(epoch, d) / d)) / 4. From d to the last epoch the other weights rise from
    w to 2 w: w * (3 - cos(pi * (epoch - d) / (epochs - 1 - d))) / 2.
    """
    falling = (3 + math.cos(math.pi * min(epoch, division_epoch) / division_epoch)) / 4
    after = max(0, epoch - division_epoch) / max(1, epochs - 1 - division_epoch)
    rising = (3 - math.cos(math.pi * after)) / 2
    return {
        name: weight * (falling if name in FEATURE_TERMS else rising)
        for name, weight in weights.items()
    }
