"""The dense net as teacher of the pruned one."""

from __future__ import annotations

import torch
from torch.nn import functional


def distillation_loss(
    logits: torch.Tensor, teacher_logits: torch.Tensor, targets: torch.Tensor, *, temperature: float = 2.0, share: float = 0.5
) -> torch.Tensor:
    """Return (1 - share) x cross-entropy with the targets + share x T^2 x KL(teacher || student), for two classes.

    Hinton, Vinyals and Dean 2015: both probabilities are softened by the temperature T, and T^2 keeps the gradients' size.

    Args:
        logits, teacher_logits: log-odds of the positive class, any equal shape; no gradient flows to the teacher.
        targets: of that shape, probabilities from 0 to 1.
        temperature: above 0. share: of the teacher, from 0 to 1.

    Returns:
        A scalar: the mean over all elements.

    Raises:
        ValueError: temperature or share is out of range.
    """
    if not temperature > 0 or not 0 <= share <= 1:
        raise ValueError(f"temperature must be above 0 and share from 0 to 1; got {temperature}, {share}")
    hard = functional.binary_cross_entropy_with_logits(logits, targets)
    soft_teacher = torch.sigmoid(teacher_logits.detach() / temperature)
    # Cross-entropy less the teacher's own entropy, which makes equal nets cost nothing.
    cross = functional.binary_cross_entropy_with_logits(logits / temperature, soft_teacher)
    own = functional.binary_cross_entropy_with_logits(teacher_logits.detach() / temperature, soft_teacher)
    return (1 - share) * hard + share * temperature**2 * (cross - own)
