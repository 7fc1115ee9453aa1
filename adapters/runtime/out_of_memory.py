"""Out-of-memory errors: PyTorch words them differently on every device."""

from __future__ import annotations

import torch

# What plain RuntimeErrors say: «can't allocate memory» on a CPU, «MPS backend out of memory» and
# «Invalid buffer size» on MPS; on a GPU that others have filled «CUDA error: out of memory» and
# «CUBLAS_STATUS_ALLOC_FAILED».
_SAID = ("can't allocate memory", "out of memory", "invalid buffer size", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory was not enough."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in _SAID)


def free_unused_memory() -> None:
    """Give back the memory of the accelerator that PyTorch keeps for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
