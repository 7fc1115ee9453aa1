"""``valueeval compare A B``: two systems on the same arguments, paired.

Several seeds of each: ``valueeval compare A1 A2 … --to B1 B2 …``. All comparisons of a study, by
families of hypotheses: ``valueeval compare --family FILE``. Base models against aligned ones:
``valueeval compare RESULTS --pairs``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from valueeval.leaderboard.commands.compared_runs import pair_of_run_files, pairs_of_results
from valueeval.leaderboard.commands.families import families
from valueeval.leaderboard.commands.interface import compared
from valueeval.leaderboard.commands.pairs import REGISTRY, pairs
from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.errors import ValueEvalError


def main(argv: Sequence[str] | None = None) -> int:
    """Print the comparison.

    Raises:
        ValueEvalError: One of the two cannot be read, or they are not about the same arguments.
    """
    options = build_parser().parse_args(argv)
    with threadpool_limits(limits=1):
        if options.family is not None:
            if options.results or options.to or options.labels or options.task:
                raise ValueEvalError("--family names what is compared: give nothing beside it")
            print(families(options.family))
            return 0
        if options.pairs is not None:
            if not options.results or options.to or options.labels:
                raise ValueEvalError(
                    "--pairs looks for its models in results: name their folders before it, "
                    "without --to and --labels"
                )
            print(pairs(options.results, options.pairs, options.task))
            return 0
        a, b = _sides(options)
        if options.labels is None:
            found = pairs_of_results(a, b, options.task)
        elif options.task is not None:
            raise ValueEvalError("--task is of results; run files (--labels) have no task")
        elif len(a) != 1 or len(b) != 1:
            raise ValueEvalError("run files have no seeds: one for A and one for B")
        else:
            files = Path(a[0]), Path(b[0])
            found = [pair_of_run_files(*files, options.labels, options.arguments)]
        console = Console(highlight=False)
        for pair in found:
            compared(pair).print(console, options.arguments_shown)
    return 0


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval compare",
        description="Compare two systems on the same arguments: a verdict in words, differences in "
        "macro_f1, official_f1 and macro_ap with intervals over conclusions and seeds, the "
        "conclusions that move them most, F1 per value, and the arguments on which they differ "
        "most.",
    )
    parser.add_argument(
        "results", metavar="RESULTS", nargs="*",
        help="A and B: results files or folders with samples, or run files; with --to all are of A",
    )  # fmt: skip
    two = parser.add_argument_group("two systems")
    two.add_argument(
        "--to", metavar="RESULTS", nargs="+",
        help="those of B, where A and B have several seeds, each in a folder of its own",
    )  # fmt: skip
    two.add_argument("--task", help="the task to compare, where both have several")
    two.add_argument(
        "--show", dest="arguments_shown", type=int, default=10, metavar="N",
        help="how many of the arguments on which they differ most to print (default 10)",
    )  # fmt: skip
    runs = parser.add_argument_group("two run files of the shared task")
    runs.add_argument(
        "--labels", type=Path, metavar="TSV", help="labels; A and B are then run files"
    )
    runs.add_argument(
        "--arguments", type=Path, metavar="TSV",
        help="arguments of these labels, for their conclusions "
        "(default: arguments-NAME.tsv beside labels-NAME.tsv)",
    )  # fmt: skip
    many = parser.add_argument_group("many comparisons at once")
    many.add_argument(
        "--family", type=Path, metavar="YAML",
        help="print the comparisons of a file as tables in markdown, corrected by Holm over those "
        "of each family (example: leaderboard/comparisons.yaml in the repository)",
    )  # fmt: skip
    many.add_argument(
        "--pairs", type=Path, metavar="YAML", nargs="?", const=REGISTRY,
        help="compare base models with aligned ones: all pairs of a file (default: those that come "
        "with the package) that have results, and what alignment changes by value, in markdown",
    )  # fmt: skip
    parser.add_data_dir()
    return parser


def _sides(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Return where A's results are, and where B's."""
    given: list[str] = options.results
    if options.to is not None and given:
        return given, options.to
    if len(given) != 2 or options.to is not None:
        raise ValueEvalError(
            f"two systems are compared, and {len(given)} places were given: name A and B, or the "
            "seeds of A, then --to and the seeds of B"
        )
    return given[:1], given[1:]
