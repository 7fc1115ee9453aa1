"""How much main memory, and how much of a GPU's, a cell needs.

What a training of the same kind took is known from a finished one. Otherwise it follows from the
number of the base's weights: a training of all of them holds them, their gradients and two moments
of each in float32, any other the weights alone, and both activations, which
``--max_tokens_per_microbatch`` bounds. It is an estimate: a cell that needs more is not stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil
from safetensors import SafetensorError, safe_open

from valueeval.study.cells import Cell
from valueeval.study.cost import Kind, number_in, training_kind
from valueeval.study.design import AVERAGE, SELECTED
from valueeval.study.running.control_group import left_by_groups
from valueeval.study.store import State, Store

PROCESS = 700 << 20
"""Bytes of Python and its libraries."""

ACTIVATIONS = 2 << 30
"""Bytes of activations of a training: those of minilm and mpnet take 1 to 2 GiB."""

CONTEXT = 600 << 20
"""Bytes of a GPU that every process takes that uses it: the driver's context and libraries."""

_NUMBER = 4  # bytes of a float32
_HALF = 2
_COPIES_OF_FULL = 4


@dataclass(frozen=True)
class Peaks:
    """The most bytes that finished trainings took, by kind.

    Attributes:
        main: Of main memory.
        device: Of a GPU's memory, what PyTorch held.
    """

    main: Mapping[Kind, float] = field(default_factory=dict)
    device: Mapping[Kind, float] = field(default_factory=dict)

    def joined(self, other: Peaks) -> Peaks:
        """Return the larger ones of both."""
        return Peaks(_larger(self.main, other.main), _larger(self.device, other.device))


def needed_bytes(cell: Cell, peaks: Peaks, cells: Mapping[str, Cell]) -> int:
    """Return the main memory that a cell is expected to take at its most.

    Args:
        cell: The cell.
        peaks: See `peaks_of_finished`.
        cells: By key, at least those that it needs: an average holds all of its members.

    Returns:
        Bytes; 0 where its base is not on this machine.
    """
    return _needed(cell, peaks.main, PROCESS, cells)


def needed_device_bytes(cell: Cell, peaks: Peaks, cells: Mapping[str, Cell]) -> int:
    """Return the memory of its GPU that a cell is expected to take; like `needed_bytes`."""
    with_context = {kind: CONTEXT + peak for kind, peak in peaks.device.items()}
    return _needed(cell, with_context, CONTEXT, cells)


def peaks_of_finished(cells: Sequence[Cell], store: Store) -> Peaks:
    """Return the most bytes that finished trainings took."""
    peaks = Peaks()
    for cell in cells:
        kind = training_kind(cell)
        if kind is None or store.state(cell) is not State.DONE:
            continue
        manifest = store.manifest(cell)
        main = number_in(manifest, "peak_memory_bytes")
        device = number_in(manifest, "peak_device_bytes")
        peaks = peaks.joined(
            Peaks(
                {} if main is None else {kind: main},
                {} if device is None else {kind: device},
            )
        )
    return peaks


def free_bytes() -> int:
    """Return how much main memory new processes can take without swapping or being killed."""
    available, left = int(psutil.virtual_memory().available), left_by_groups()
    return available if left is None else min(available, left)


def taken_bytes(process: int) -> int:
    """Return what a process and its children hold now; 0 if it has ended."""
    try:
        root = psutil.Process(process)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for each in family:
        try:
            total += each.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return int(total)


def _larger(one: Mapping[Kind, float], other: Mapping[Kind, float]) -> dict[Kind, float]:
    return {kind: max(one.get(kind, 0.0), other.get(kind, 0.0)) for kind in one.keys() | other}


def _needed(
    cell: Cell, peaks: Mapping[Kind, float], process: int, cells: Mapping[str, Cell]
) -> int:
    kind = training_kind(cell)
    if kind is not None and kind in peaks:
        return int(peaks[kind])
    half = cell.train is None and cell.design.options.get("dtype") in ("bfloat16", "float16")
    weights = (_HALF if half else _NUMBER) * _loaded(cell, cells)
    if not weights:
        return 0
    if cell.train is None:
        return process + weights
    full = cell.design.options.get("method", "full") == "full"
    return process + ACTIVATIONS + weights * (_COPIES_OF_FULL if full else 1)


def _loaded(cell: Cell, cells: Mapping[str, Cell]) -> int:
    """Return the number of weights that a cell loads: of an average, those of all members."""
    if cell.from_results:
        return 0
    options = cell.design.options
    if options.get("method") not in (AVERAGE, SELECTED):
        return _weights(str(options.get("base", "minilm")), options.get("revision"))
    averages: list[Sequence[str]] = [cell.needs]
    if cell.candidates:  # the largest may be chosen
        averages = [[key for seed in of for key in seed] for of in cell.candidates.values()]
    return max(sum(_loaded(cells[key], cells) for key in members) for members in averages)


def _weights(base: str, revision: str | None) -> int:
    """Return the number of weights of a base on this machine; 0 for any other."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    folder = Path(source := _source(base))
    if not folder.is_dir():
        try:
            config = try_to_load_from_cache(source, "config.json", revision=revision)
        except HFValidationError:  # the cell's own command says what is wrong with it
            return 0
        if not isinstance(config, str):  # not downloaded yet
            return 0
        folder = Path(config).parent
    return _numbers(tuple(sorted(folder.glob("*.safetensors"))))


@cache
def _source(base: str) -> str:
    """Return the folder or hub id of a base; cached, since that of minilm is hashed."""
    from valueeval.adapters.directory.base import resolve_base

    return resolve_base(base)


@cache
def _numbers(files: tuple[Path, ...]) -> int:
    """Return how many numbers safetensors files hold; 0 if one of them is damaged."""
    total = 0
    for path in files:
        try:
            with safe_open(path, "numpy") as file:
                shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
        except SafetensorError:  # the cell's own command says what is wrong with it
            return 0
        total += sum(map(math.prod, shapes))
    return total
