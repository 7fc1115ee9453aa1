"""How much main memory a cell needs, so that a pool starts no more than fit.

What a training of the same kind took is known from a finished one. Otherwise it follows from the
number of the base's weights: a training of all of them holds them, their gradients and two moments
of each in float32, any other the weights alone, and both activations, which
``--max_tokens_per_microbatch`` bounds. It is an estimate: a cell that needs more is not stopped.

The memory of GPUs is not looked at: how many small trainings share one is for the user to say
(``--workers``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import psutil
from safetensors import SafetensorError, safe_open

from valueeval.study.cells import Cell
from valueeval.study.cost import Kind, number_in, training_kind
from valueeval.study.design import AVERAGE, SELECTED
from valueeval.study.store import State, Store

PROCESS = 700 << 20
"""Bytes of Python and its libraries."""

ACTIVATIONS = 2 << 30
"""Bytes of activations of a training: those of minilm and mpnet take 1 to 2 GiB."""

_NUMBER = 4  # bytes of a float32
_COPIES_OF_FULL = 4


def needed_bytes(cell: Cell, peaks: Mapping[Kind, float], cells: Mapping[str, Cell]) -> int:
    """Return what a cell is expected to take at its most; 0 where its base is not on this machine.

    Args:
        cell: The cell.
        peaks: Peak bytes of finished trainings, by kind; see `peaks_of_finished`.
        cells: By key, at least those that it needs: an average holds all of its members.
    """
    kind = training_kind(cell)
    if kind is not None and kind in peaks:
        return int(peaks[kind])
    weights = _NUMBER * _loaded(cell, cells)
    if not weights:
        return 0
    if cell.train is None:
        return PROCESS + weights
    full = cell.design.options.get("method", "full") == "full"
    return PROCESS + ACTIVATIONS + weights * (_COPIES_OF_FULL if full else 1)


def peaks_of_finished(cells: Sequence[Cell], store: Store) -> dict[Kind, float]:
    """Return the most bytes that finished trainings took, by kind."""
    peaks: dict[Kind, float] = {}
    for cell in cells:
        kind = training_kind(cell)
        if kind is None or store.state(cell) is not State.DONE:
            continue
        peak = number_in(store.path(cell) / "adapter" / "valueeval.json", "peak_memory_bytes")
        if peak is not None:
            peaks[kind] = max(peak, peaks.get(kind, 0.0))
    return peaks


def free_bytes() -> int:
    """Return how much main memory new processes can take without swapping."""
    return int(psutil.virtual_memory().available)


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


def _loaded(cell: Cell, cells: Mapping[str, Cell]) -> int:
    """Return the number of weights that a cell loads: of an average, those of all members."""
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
