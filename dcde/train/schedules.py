"""Learning rates and loss weights as pure functions of the position in training."""

from __future__ import annotations

import math

from dcde.params.training import AdamWParams, LossWeights


def learning_rate(params: AdamWParams, epoch: float) -> float:
    """Return the learning rate of cosine annealing with warm restarts (SGDR, arXiv 1608.03983).

    eta_min + (lr - eta_min) * (1 + cos(pi * t / T)) / 2, with t the epochs since the last restart
    and T the length of the period: `cosine_t0`, times `cosine_t_mult` after each restart. As
    torch's CosineAnnealingWarmRestarts stepped with a fractional epoch.
    """
    period, since = float(params.cosine_t0), epoch
    while since >= period:
        since -= period
        period *= params.cosine_t_mult
    span = params.lr - params.eta_min
    return params.eta_min + span * (1 + math.cos(math.pi * since / period)) / 2


def warmup(step: int, steps: int) -> float:
    """Return the factor by which a linear warm-up over so many steps scales the learning rate."""
    return min(1.0, (step + 1) / (steps + 1))


def dynamic_weights(
    loss: LossWeights, epoch: int, epochs: int, division_epoch: int
) -> dict[str, float]:
    """Return loss weights that turn from features to images (the original recipe's dynamic loss).

    Up to the division epoch d the weight of a feature term falls from w to w / 2, and stays there:
    w * (3 + cos(pi * min(epoch, d) / d)) / 4. From d to the last epoch the weights of the terms
    that look at images rise from w to 2 w: w * (3 - cos(pi * (epoch - d) / (epochs - 1 - d))) / 2.
    """
    falling = (3 + math.cos(math.pi * min(epoch, division_epoch) / division_epoch)) / 4
    after = max(0, epoch - division_epoch) / max(1, epochs - 1 - division_epoch)
    rising = (3 - math.cos(math.pi * after)) / 2
    return {
        name: weight * (rising if loss.needed_by(name).image else falling)
        for name, weight in loss.weights().items()
    }
