"""Whether ``torch.compile`` works here (``--compile``)."""

from __future__ import annotations

import torch

from valueeval.tasks.errors import ValueEvalError, first_line
from valueeval.train.runtime.progress import note


def check_compiler(device: torch.device) -> None:
    """Compiles something small for the device, so that what is missing shows before training.

    Raises:
        ValueEvalError: PyTorch cannot; on a CPU it needs a C++ compiler.
    """
    note("compiling: it takes minutes until the first steps are done")
    try:
        torch.compile(torch.sin)(torch.zeros(2, device=device))
    except Exception as error:  # PyTorch's own kinds of error are not public
        reason = first_line(error)
        raise ValueEvalError(
            f"--compile: torch.compile does not work here ({reason}): install a C++ compiler "
            "(such as g++; for GPUs also Triton), or leave it out"
        ) from error
