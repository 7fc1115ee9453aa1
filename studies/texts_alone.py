"""Score an adapter on the main test set's premises alone, against the whole arguments.

Usage: ``python studies/texts_alone.py ADAPTER [--set main] [--data_dir DIR]``

Prints the scores of both and their paired difference in macro_f1, alone - whole, with the interval
over conclusions.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import valueeval
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.scores.differences import difference
from valueeval.tasks.scores.jackknife import leave_one_out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("adapter")
    parser.add_argument("--set", default="main")
    parser.add_argument("--data_dir")
    options = parser.parse_args()
    model = valueeval.load(options.adapter)
    data = load_set(options.set, options.data_dir)
    premises = [replace(argument, conclusion="", stance="") for argument in data.arguments]
    decided = []
    for title, arguments in (("whole arguments", data.arguments), ("premises alone", premises)):
        labels = model.label(arguments)
        decided.append(labels.decided)
        scores = valueeval.score(
            data.labels, labels.decided, scores=labels.margins, conclusions=data.conclusions,
            title=title,
        )  # fmt: skip
        print(f"{scores}\nvalues per argument: {labels.decided.sum(1).mean():.2f}\n")
    keys = [conclusion_key(conclusion) for conclusion in data.conclusions]
    found = difference(leave_one_out(data.labels, decided, keys, "macro_f1"), range(1), range(1, 2))
    print(f"macro_f1, alone - whole: {found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f})")


if __name__ == "__main__":
    main()
