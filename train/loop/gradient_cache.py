"""The gradient of a loss over a whole batch that is read in parts.

A contrastive loss compares every argument of a batch with every other: it is no sum over parts, and
the graph of all of them at once may not fit into memory. Gao et al., 2021, «Scaling deep
contrastive learning batch size under memory limited setup», section 3.2: read every part and keep
nothing but what the model gives; take the gradient of the loss with respect to that; read every
part again and pass its share of this gradient through. Costs a second forward pass; memory is that
of one part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


def backward_in_parts(
    read: Callable[[int], torch.Tensor],
    parts: int,
    loss: Callable[[Sequence[torch.Tensor]], torch.Tensor],
) -> torch.Tensor:
    """Adds the gradient of a batch's loss to the parameters; returns the loss.

    Args:
        read: What the model gives for a part, by the part's number, (arguments, …); the same at
            every call, dropout included.
        parts: How many there are; none if others read the whole batch.
        loss: A scalar, of what the model gives for all of them.
    """
    # With a graph, which goes away at once: compiled models have other dropout without gradients.
    given = [read(part).detach().requires_grad_() for part in range(parts)]
    value = loss(given)
    if given:
        torch.autograd.backward(value)
    for part, known in enumerate(given):
        torch.autograd.backward(read(part), known.grad)
    return value.detach()
