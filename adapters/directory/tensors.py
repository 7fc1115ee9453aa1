"""Compare the tensors of a safetensors file with those that a model expects, one by one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from valueeval.adapters.directory.errors import ManifestError

if TYPE_CHECKING:
    import torch

_SHOWN = 3
_COMPILED = "_orig_mod."


def check_tensors(
    file: Path,
    found: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    optional: Collection[str] = (),
) -> None:
    """Refuse tensors that a model would ignore, lack, or read as something else.

    Args:
        file: The file that they were read from, for the message.
        found: Tensors by name, as the file holds them.
        expected: Tensors of the model by name; shapes and number types are compared, not values.
        optional: Names among ``expected`` that the file need not hold.

    Raises:
        ManifestError: Names the first three that do not fit and says what to do.
    """
    problems = list(_problems(found, expected, optional))
    if not problems:
        return
    shown = "; ".join(problems[:_SHOWN])
    more = f"; {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    if any(_COMPILED in name for name in found):
        advice = (
            f"{_COMPILED!r} in a name means that the model was saved after torch.compile: "
            f"save model._orig_mod, or remove {_COMPILED!r} from the names in the file."
        )
    else:
        advice = "Copy the folder again, or use the configuration and base model of the training."
    raise ManifestError(f"{file}: its weights do not fit: {shown}{more}.\n{advice}")


def check_numbers(files: Iterable[Path]) -> None:
    """Refuse a model's files whose weights are no floats, or not finite.

    Transformers would turn whole numbers into floats without a word.

    Raises:
        ManifestError: Names the file and the first tensor.
    """
    from safetensors import safe_open

    advice = "copy the folder again, or train again"
    for file in files:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                tensor = tensors.get_tensor(name)
                if not tensor.is_floating_point() and name.endswith(("weight", "bias")):
                    kind = str(tensor.dtype).removeprefix("torch.")
                    raise ManifestError(f"{file}: {name} holds {kind} instead of floats; {advice}")
                if not tensor.isfinite().all():
                    raise ManifestError(f"{file}: {name} holds NaN or infinity; {advice}")


def _problems(
    found: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    optional: Collection[str],
) -> Iterator[str]:
    for name, tensor in expected.items():
        if name not in found and name not in optional:
            yield f"{name} {list(tensor.shape)} is missing"
    for name, tensor in found.items():
        if name not in expected:
            yield f"{name} {list(tensor.shape)} has no place in the model"
        elif tensor.shape != expected[name].shape:
            yield f"{name} is {list(tensor.shape)} instead of {list(expected[name].shape)}"
        elif expected[name].is_floating_point() and not tensor.is_floating_point():
            yield f"{name} holds {str(tensor.dtype).removeprefix('torch.')} instead of floats"
        elif not tensor.isfinite().all():
            yield f"{name} holds NaN or infinity"
