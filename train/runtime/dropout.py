"""Dropout with faster random numbers.

On a CPU PyTorch draws them one after the other, which took a quarter of the time of fine-tuning a
small encoder. NumPy's SFC64 gives random bytes more than ten times faster. On other devices
PyTorch's own dropout stays.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

_LEVELS = 2**16  # 16 random bits decide about an element


class Dropout(nn.Dropout):
    """`torch.nn.Dropout`, but on a CPU the probability is rounded to a multiple of 2^-16.

    The draws depend on PyTorch's own generator alone, so its seed is the seed of this module.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the input with elements set to 0, and the others scaled by 1 / (1 - p)."""
        dropped = round(self.p * _LEVELS)
        if not self.training or input.device.type != "cpu" or not 0 < dropped < _LEVELS:
            return super().forward(input)
        seed = int(torch.randint(2**63 - 1, ()))
        random = np.random.Generator(np.random.SFC64(seed))
        bits = np.frombuffer(random.bytes(2 * input.numel()), dtype=np.uint16)
        kept = torch.from_numpy(bits >= dropped).view(input.shape)
        return input * kept * (_LEVELS / (_LEVELS - dropped))


def use_fast_dropout(model: nn.Module) -> None:
    """Replace every `torch.nn.Dropout` of a model by `Dropout`."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                fast = Dropout(child.p, child.inplace)
                setattr(module, name, fast.train(child.training))
