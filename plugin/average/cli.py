"""``valueeval average RESULTS… -o FOLDER``: several adapters as one, from their results.

What ``--model_args adapter=A+B+C`` says, without running a model: adapters that have been evaluated
apart need neither their weights nor their time a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from valueeval.tasks.commands.command_line import CommandParser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the results of the average and return the exit status.

    Raises:
        ValueEvalError: As `valueeval.average.averaging.average_results`.
    """
    from valueeval.average.averaging import average_results

    options = build_parser().parse_args(argv)
    tasks = None if options.tasks is None else options.tasks.split(",")
    for each in average_results(options.results, options.output, tasks):
        members = ", ".join(f"{score:.3f}" for score in each.of_members)
        print(f"{each.task}: macro_f1 {each.macro_f1:.3f} (members {members}): {each.path}")
    return 0


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval average",
        description="Average adapters with a head from the results of each, as adapter=A+B+C does "
        "when it runs them all: a value is predicted where the mean of their scores is above 0. "
        "Results need --log_samples, or are an archive's.",
    )
    parser.add_argument(
        "results", nargs="+", metavar="RESULTS",
        help="folders (any depth) or results_*.json files, two adapters or more in all",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write to"
    )
    parser.add_argument(
        "--tasks", metavar="TASK,…", help="average these tasks alone (default: all that are there)"
    )
    parser.add_data_dir()
    return parser
