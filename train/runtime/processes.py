"""The processes of a run: one, or those that ``accelerate launch`` or ``torchrun`` has started.

Each process reads its share of every batch, and gradients are summed over all processes before an
optimizer step, so all have the same weights at every step. Only the main process writes files and
messages; an error in one process ends all.

`Accelerator.prepare` would wrap the model in PyTorch's DistributedDataParallel. That weights every
process alike, however many arguments it has read, and it sums in an order that changes after its
first step, so that a resumed run would not end at the same weights.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar, cast

import torch
from accelerate import Accelerator, DistributedType, InitProcessGroupKwargs
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn

from valueeval.adapters.runtime.devices import choose_device
from valueeval.adapters.runtime.out_of_memory import is_out_of_memory
from valueeval.tasks.errors import ValueEvalError, first_line
from valueeval.train.runtime.progress import note

T = TypeVar("T")

# Elements that are summed at once; a copy of them takes 64 MB.
_BUCKET = 2**24
# Settings of accelerate's launcher, and the options that replace them here.
_NOT_USED = {
    "ACCELERATE_MIXED_PRECISION": ("mixed_precision", "--precision"),
    "ACCELERATE_DYNAMO_BACKEND": ("dynamo_backend", "--compile"),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": (
        "gradient_accumulation_steps",
        "--batch_size, of all processes together and read in parts of --max_tokens_per_microbatch,",
    ),
}
_SHARDED = (DistributedType.DEEPSPEED, DistributedType.FSDP, DistributedType.MEGATRON_LM)


class FailedElsewhereError(ValueEvalError):
    """Another process of the run has failed and shows its error."""


class Processes:
    """This process and the other processes of its run.

    Attributes:
        number: Number of processes.
        index: Index of this process, from 0.
        device: Device of this process's model.

    Raises:
        ValueEvalError: The processes cannot work together on this machine, or in the way asked for.
    """

    def __init__(self) -> None:
        started = int(os.environ.get("WORLD_SIZE", "1"))
        _check_gpus()
        # Accelerate must be told that several processes run on CPUs.
        cpu = True if started > 1 and choose_device(None).type == "cpu" else None
        # A process waits for the slowest, however long that evaluates or writes.
        patience = InitProcessGroupKwargs(timeout=timedelta(weeks=1))
        # Precision is ours, not that of a user's accelerate configuration (see Training).
        self._accelerator = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[patience])
        self.number: int = self._accelerator.num_processes
        self.index: int = self._accelerator.process_index
        self.device: torch.device = self._accelerator.device
        if self._accelerator.distributed_type in _SHARDED:
            raise ValueEvalError(
                f"a model sharded by {self._accelerator.distributed_type.value} cannot be trained: "
                "choose multi-GPU in `accelerate config`, where every process holds the whole model"
            )
        if self.number < started:
            raise ValueEvalError(
                f"{started} processes were started, but on {self.device.type} they cannot work "
                "together: start one"
            )

    @property
    def is_main(self) -> bool:
        """Return True for the process that writes files and messages."""
        return self.index == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's share: items index, index + number, …; may be empty."""
        return self.shares(items)[self.index]

    def shares(self, items: Sequence[T]) -> list[Sequence[T]]:
        """Return the shares of all processes."""
        return [items[index :: self.number] for index in range(self.number)]

    def total(self, share: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes of tensors of one shape, on the CPU."""
        if self.number == 1:
            return share
        return self._sum(share.to(self.device)).cpu()

    def any(self, here: bool) -> bool:
        """Return True if `here` is true in any process."""
        return bool(self.total(torch.tensor(int(here))))

    def collect(self, own: Sequence[T]) -> list[T]:
        """Return the items of all processes, in the order from which `share` took them."""
        if self.number == 1:
            return list(own)
        with _in_contact():
            shares = gather_object([list(own)])
        together: list[T] = [item for share in shares for item in share]
        for index, share in enumerate(shares):
            together[index :: self.number] = share
        return together

    def exchange(self, own: torch.Tensor | None) -> list[torch.Tensor]:
        """Return the tensors of all processes that have one.

        Gradients flow only into this process's own tensor; the others are constants.
        """
        if self.number == 1:
            return [] if own is None else [own]
        with _in_contact():
            there = gather_object([None if own is None else own.detach().cpu()])
        there[self.index] = own
        return [tensor.to(self.device) for tensor in there if tensor is not None]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over all processes; a parameter without any gradient keeps none."""
        if self.number == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        counts = self.total(torch.tensor([int(p.grad is not None) for p in trained])).tolist()
        for bucket in _buckets([p for p, count in zip(trained, counts, strict=True) if count]):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = self._sum(torch.cat([gradient.flatten() for gradient in gradients]))
            pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
            for parameter, piece in zip(bucket, pieces, strict=True):
                parameter.grad = piece.view_as(parameter)

    def from_main(self, value: T) -> T:
        """Return the main process's value; those that the others pass are ignored."""
        if self.number == 1:
            return value
        with _in_contact():
            return cast(list[T], broadcast_object_list([value if self.is_main else None]))[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Wait for all processes after the block; if one has failed in it, all fail. Do not nest.

        Raises:
            ValueEvalError: The error of this process; `FailedElsewhereError` in the others.
        """
        problem: ValueEvalError | None = None
        try:
            yield
        except ValueEvalError as error:
            if self.number == 1:
                raise
            problem = error
        if self.number == 1:
            return
        with _in_contact():
            problems = gather_object([str(problem) if problem else None])
        failed = [index for index, said in enumerate(problems) if said is not None]
        if failed and failed[0] == self.index and problem:
            raise problem
        if failed:
            raise FailedElsewhereError(problems[failed[0]])

    def failure(self, message: str) -> ValueEvalError:
        """Return the error that all processes have found; the main process shows it."""
        return ValueEvalError(message) if self.is_main else FailedElsewhereError(message)

    def leave(self) -> None:
        """Leave the process group, as the last thing of the run."""
        if self.number > 1:
            self._accelerator.state.destroy_process_group()

    def _sum(self, tensor: torch.Tensor) -> torch.Tensor:
        with _in_contact():
            return cast(torch.Tensor, self._accelerator.reduce(tensor, reduction="sum"))


def note_unused_settings() -> None:
    """Print the settings of accelerate's launcher that have no effect here."""
    for variable, (setting, options) in _NOT_USED.items():
        value = os.environ.get(variable, "no")
        if value.lower() not in ("no", "1", ""):
            note(f"accelerate's {setting} {value} is not used: {options} decides that")


def _check_gpus() -> None:
    """Refuse more processes than this machine has GPUs, as two cannot share one.

    Checked under torchelastic alone: other launchers may show each process only its own GPU.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if "TORCHELASTIC_RUN_ID" not in os.environ or choose_device(None).type != "cuda":
        return
    if here > (gpus := torch.accelerator.device_count()):
        raise ValueEvalError(
            f"{here} processes were started on a machine with {gpus} GPUs that PyTorch sees: start "
            f"{gpus} (--num_processes of accelerate launch, --nproc_per_node of torchrun)"
        )


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        if bucket and size + parameter.numel() > _BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    if bucket:
        yield bucket


@contextmanager
def _in_contact() -> Iterator[None]:
    """Turn the end of another process into an error for people."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):  # in this process
            raise
        reason = first_line(error)
        raise ValueEvalError(
            f"lost the other processes of this run ({reason}): one of them has ended; see its "
            "message. The last checkpoint is kept: --resume continues from it"
        ) from error
