"""Token sequences that begin alike, as a tree in which what they share stands once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Item = TypeVar("Item", int, tuple[int, int])


class TokenTree:
    """A tree of tokens; every sequence is a path from the root.

    Nodes are numbered so that a parent comes before its children. The root is no node: -1 stands
    for it, and for whatever was read before the tree.

    Attributes:
        tokens: The token of each node.
        parents: The node before each node, -1 at the start of a sequence.
        depths: How many nodes come before each node.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, sequence: Iterable[int]) -> list[int]:
        """Add a sequence and return its nodes, one for each token; shared nodes are reused."""
        path = []
        node = -1
        for token in sequence:
            child = self._children.get((node, token))
            if child is None:
                child = self._append(node, token)
            path.append(child)
            node = child
        return path

    def path(self, end: int) -> list[int]:
        """Return the nodes of the sequence that ends at a node."""
        path = []
        while end >= 0:
            path.append(end)
            end = self.parents[end]
        return path[::-1]

    def leaves(self) -> list[int]:
        """Return the nodes without children."""
        return sorted(set(range(len(self))).difference(self.parents))

    def visible(self) -> npt.NDArray[np.bool_]:
        """Return the mask of attention, (nodes, nodes): a node sees itself and its ancestors."""
        matrix = np.eye(len(self), dtype=np.bool_)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                matrix[node, :node] = matrix[parent, :node]
        return matrix

    def _append(self, parent: int, token: int) -> int:
        node = len(self.tokens)
        self.tokens.append(token)
        self.parents.append(parent)
        self.depths.append(0 if parent < 0 else self.depths[parent] + 1)
        self._children[parent, token] = node
        return node


@dataclass(frozen=True)
class Continuation:
    """A continuation to score: each of ``nodes`` predicts the token of ``targets`` in its place."""

    nodes: list[int]
    targets: list[int]


class ArgumentTree(TokenTree):
    """The prompts about one argument as a tree, without the prefix that all arguments share.

    Attributes:
        continuations: What is scored or continued, one for each prompt. To be continued, a prompt
            has a single node, its last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.continuations: list[Continuation] = []

    def add_prompt(self, inputs: Sequence[int], targets: Sequence[int]) -> None:
        """Add a prompt, of whose tokens the last ``len(targets)`` predict one target each."""
        path = self.add(inputs)
        self.continuations.append(Continuation(path[len(path) - len(targets) :], list(targets)))


def common_prefix(sequences: Sequence[list[Item]]) -> list[Item]:
    """Return the items that all sequences begin with."""
    # The first and the last in lexicographic order differ earliest.
    first, last = min(sequences), max(sequences)
    length = 0
    for a, b in zip(first, last, strict=False):
        if a != b:
            break
        length += 1
    return first[:length]
