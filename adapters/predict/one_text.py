"""The answer for one text, for a terminal."""

from __future__ import annotations

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from valueeval.adapters.predict.labelling import Labels, NamedValues
from valueeval.tasks.values import VALUES

_CLOSEST = 3  # values shown that were not decided on


def print_answer(console: Console, labels: Labels | NamedValues, text_alone: bool) -> None:
    """Print the values of one text, and those that come closest after them.

    Args:
        console: The console to print on.
        labels: The labels of one argument.
        text_alone: True if it was read without conclusion and stance.
    """
    (decided,) = labels.decided
    if isinstance(labels, NamedValues):
        for place in np.flatnonzero(decided):
            console.print(f"{VALUES[place].name}: {VALUES[place].short}")
        if not decided.any():
            console.print("None of the 20 values.")
        return
    (probabilities,), (margins,) = labels.probabilities, labels.margins
    order = np.argsort(-margins, kind="stable")
    if not decided.any():
        console.print("None of the 20 values. The closest:")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("value", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("meaning")
    for place in order[: decided.sum() + _CLOSEST]:
        value = VALUES[place]
        table.add_row(
            value.name, "yes" if decided[place] else "no", f"{probabilities[place]:.2f}",
            value.short,
            style=None if decided[place] else "dim",
        )  # fmt: skip
    console.print(table)
    console.print(
        "Each value has a threshold of its own, so a «no» can be more probable than a «yes»."
    )
    if text_alone:
        console.print(
            "The text was read alone. Where it argues for or against something, say so: "
            "--conclusion TEXT --stance for"
        )
