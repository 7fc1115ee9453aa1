"""``valueeval predict``: labels a table of arguments with a trained adapter."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from valueeval.adapters.predict.predict import Columns, Source, label, refuse_existing, whole_file
from valueeval.adapters.predict.tables import FORMATS, format_of, writer_of


def main(argv: Sequence[str]) -> int:
    """Label the table; returns the exit status."""
    options = _parser().parse_args(argv)
    source = Source(
        options.file,
        format_of(options.file, options.input_format, "--input-format"),
        Columns(options.premise, options.conclusion, options.stance),
    )
    form = options.output_format or (
        source.form if options.output == "-" else format_of(options.output, None, "--output-format")
    )
    if options.output != "-":
        refuse_existing(Path(options.output), options.overwrite)

    from valueeval.adapters.directory.ensemble import find_members

    members = find_members(options.adapter)
    manifest = members.manifest
    total = source.check(form)

    # Slow to import, so after everything that can be refused at once.
    from valueeval.adapters.classifier.ensemble import load_members
    from valueeval.adapters.runtime.devices import choose_device, parse_batch_size

    batch_size = parse_batch_size(options.batch_size)
    device = choose_device(options.device)
    if options.device and not options.device.startswith(device.type):
        _note(f"device {options.device} is not there: running on the CPU")
    classifier = load_members(members, device)
    with whole_file(options.output, options.overwrite) as write, _progress(total) as progress:
        count = label(
            source,
            write,
            writer_of(form),
            lambda arguments: classifier.logits(arguments, batch_size),
            manifest.thresholds.logits,
            progress,
        )
    if classifier.truncated:
        limit = manifest.reading.max_length
        _note(f"{classifier.truncated} arguments are longer than {limit} tokens and were cut")
    _note(f"{count} argument{'' if count == 1 else 's'} labelled: {options.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="valueeval predict",
        description="Labels arguments of your own with the 20 values. The table's columns are "
        "kept; after them come 20 probabilities (p_…) and 20 decisions (0 or 1) a row. Columns "
        "Premise, Conclusion and Stance are found by name, in upper or lower case.",
    )
    parser.add_argument("file", metavar="FILE", help="table: .tsv, .csv or .jsonl; - is stdin")
    parser.add_argument(
        "--adapter",
        required=True,
        metavar="DIR",
        help="from `valueeval train`, one that lists members, or org/name on the Hugging Face hub; "
        "several joined by + are averaged: A+B+C",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help=".tsv, .csv or .jsonl; - is stdout"
    )
    parser.add_argument("--overwrite", action="store_true", help="write over OUT if it exists")
    for role, example in (("premise", "what is said"), ("conclusion", "what is argued about")):
        parser.add_argument(f"--{role}", metavar="NAME", help=f"column of the {role} ({example})")
    parser.add_argument(
        "--stance",
        metavar="NAME",
        help="column of the stance (for, pro, in favor of, against, con, …)",
    )
    parser.add_argument("--input-format", choices=FORMATS, help="if FILE's name does not say it")
    parser.add_argument(
        "--output-format", choices=FORMATS, help="if OUT's name does not say it (stdout: as FILE)"
    )
    parser.add_argument(
        "--batch-size", default="auto", metavar="N", help="arguments read at once (default: auto)"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, mps … (default: the best)")
    return parser


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar of rows on stderr."""
    bar = Progress(
        TextColumn("labelling"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("", total=total)
        yield lambda rows: bar.advance(task, rows)


def _note(text: str) -> None:
    print(text, file=sys.stderr)
