"""Which cells fit beside each other into main memory and into the memory of GPUs.

A cell that has just been started will still grow, so what it is expected to take and does not hold
yet is not free. A cell is never kept waiting for others than those of its own pool: alone, or alone
on its GPU, it is tried even where memory seems short.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from valueeval.study.cells import Cell
from valueeval.study.running.gpu_memory import GpuMemory, gpu_memory
from valueeval.study.running.memory import (
    free_bytes,
    needed_bytes,
    needed_device_bytes,
    peaks_of_finished,
    taken_bytes,
)
from valueeval.study.store import Store

_FRESH = 1.0  # seconds for which what a GPU said holds


@dataclass(eq=False)
class Share:
    """What a running cell may take.

    Attributes:
        expected: Bytes of main memory.
        device: Its GPU, if the pool chose one.
        on_device: Bytes of that GPU's memory.
        process: The process that runs it now.
        lock: Descriptor of the cell's lock, which its processes inherit.
    """

    expected: int
    device: str | None = None
    on_device: int = 0
    process: int | None = None
    lock: int | None = None

    def growing(self) -> int:
        """Return how much main memory it does not hold yet."""
        return max(0, self.expected - (taken_bytes(self.process) if self.process else 0))


class MemoryPool:
    """The memory that running cells share; safe to use from several threads.

    Args:
        cells: All cells that may run.
        store: Where finished ones tell what their kind takes.
    """

    def __init__(self, cells: Sequence[Cell], store: Store) -> None:
        self._store = store
        self._by_key: Mapping[str, Cell] = {cell.key: cell for cell in cells}
        self._peaks = peaks_of_finished(cells, store)
        self._shares: list[Share] = []
        self._others: dict[str, int] = {}  # by GPU: bytes that were taken before any of our cells
        self._known: dict[str, tuple[float, GpuMemory | None]] = {}  # by GPU: when, and what
        self._lock = threading.Lock()
        self._told = False

    def reserve(self, cell: Cell, device: str | None) -> Share | None:
        """Return a share of memory for a cell; None if it does not fit beside those that run."""
        with self._lock:
            share = Share(needed_bytes(cell, self._peaks, self._by_key), device)
            growing = sum(each.growing() for each in self._shares)
            if self._shares and share.expected > free_bytes() - growing:
                return None
            if device is not None:
                share.on_device = needed_device_bytes(cell, self._peaks, self._by_key)
                if not self._fits(device, share.on_device):
                    return None
            self._shares.append(share)
        return share

    def release(self, share: Share) -> None:
        """Give a share back."""
        with self._lock:
            self._shares.remove(share)

    def learn(self, cell: Cell) -> None:
        """Note what a cell took that has just been finished."""
        with self._lock:
            self._peaks = self._peaks.joined(peaks_of_finished([cell], self._store))

    def shortage(self, share: Share) -> str | None:
        """Return a sentence, once, if a cell is started alone although it may not fit."""
        with self._lock:
            free = free_bytes()
            if self._told or share.expected <= free:
                return None
            self._told = True
        return (
            f"may need {share.expected / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are "
            "free: it is started alone (said once)"
        )

    def _fits(self, device: str, needed: int) -> bool:
        """Return whether a cell fits on a GPU beside our cells there, and beside what others hold.

        A GPU tells what is taken, not by whom (in containers). What others hold is therefore what
        was taken when none of our cells ran there.
        """
        memory = self._memory_of(device)
        if memory is None:
            return True
        ours = [share.on_device for share in self._shares if share.device == device]
        if not ours:
            # The smallest seen: a cell of ours that has just ended may still be counted.
            self._others[device] = min(memory.used, self._others.get(device, memory.used))
            return True
        taken = max(memory.used, self._others.get(device, 0) + sum(ours))
        return taken + needed <= memory.total

    def _memory_of(self, device: str) -> GpuMemory | None:
        now = time.monotonic()
        when, memory = self._known.get(device, (-_FRESH, None))
        if now - when >= _FRESH:
            memory = gpu_memory(device)
            self._known[device] = now, memory
        return memory
