"""The loss of a slice: cross-entropy and Dice where the labels are known."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dice_loss(probability: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 - (2 sum p y + 1) / (sum p + sum y + 1) over the whole batch: most windows hold hardly any neurite."""
    overlap = (weight * probability * target).sum()
    return 1 - (2 * overlap + 1) / ((weight * probability).sum() + (weight * target).sum() + 1)


def slice_loss(logit: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy + Dice. logit, target, weight: (B, 1, S, S) float; weight 0 = not labelled, outside the loss."""
    logit = logit.float()
    entropy = F.binary_cross_entropy_with_logits(logit, target, weight, reduction="sum") / weight.sum().clamp(
        min=1
    )
    return entropy + dice_loss(torch.sigmoid(logit), target, weight)
