"""Compute the gradient of a loss over a whole batch that is read in parts.

A contrastive loss compares every argument of a batch with every other: it is no sum over parts, and
the graph of all of them at once may not fit into memory. Gao et al., 2021, «Scaling deep
contrastive learning batch size under memory limited setup», section 3.2: read every part and keep
only the model's outputs; take the gradient of the loss with respect to them; read every part again
and back-propagate its share of this gradient. It costs a second forward pass and the memory of one
part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


def backward_in_parts(
    read: Callable[[int], torch.Tensor],
    parts: int,
    loss: Callable[[Sequence[torch.Tensor]], torch.Tensor],
) -> torch.Tensor:
    """Add the gradient of a batch's loss to the parameters and return the loss.

    Args:
        read: Returns the model's outputs for the part of a number, (arguments, …); the same at
            every call, dropout included.
        parts: Number of parts; 0 if other processes read the whole batch.
        loss: Returns the loss, a scalar, of the outputs of all parts.
    """
    # With a graph, freed at once: compiled models have other dropout without gradients.
    given = [read(part).detach().requires_grad_() for part in range(parts)]
    value = loss(given)
    if given:
        torch.autograd.backward(value)
    for part, known in enumerate(given):
        torch.autograd.backward(read(part), known.grad)
    return value.detach()
