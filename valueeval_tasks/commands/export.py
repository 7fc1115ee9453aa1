"""``valueeval export``: write logged samples as a run file of the shared task."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.harness.samples import read_samples
from valueeval.tasks.scores.runfile import write_run
from valueeval.tasks.templates.decide import ALL_TEMPLATES


def main(argv: Sequence[str]) -> int:
    """Write the run file and return the exit status."""
    arguments = build_parser().parse_args(argv)
    samples = read_samples(arguments.samples, arguments.template)
    write_run(arguments.output, samples.ids, samples.prediction)
    print(f"{len(samples.ids)} arguments written to {arguments.output}", file=sys.stderr)
    return 0


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval export",
        description="Write a model's predictions as a run file of the shared task: tab-separated,"
        " 'Argument ID' and the 20 values with 0 or 1. The predictions are derived again from"
        " the logged responses.",
    )
    parser.add_argument(
        "samples",
        nargs="+",
        metavar="SAMPLES",
        help="samples_*.jsonl of one run, as lm_eval --log_samples writes them",
    )
    parser.add_argument("-o", "--output", required=True, metavar="RUN.tsv", help="file to write")
    parser.add_argument(
        "--template",
        choices=ALL_TEMPLATES,
        help="the task's template (default: from the files' names)",
    )
    return parser
