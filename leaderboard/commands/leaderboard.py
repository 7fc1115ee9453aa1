"""``valueeval leaderboard RESULTS… -o OUT``: a leaderboard from folders of lm-eval results."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table as RichTable

from valueeval.leaderboard import text
from valueeval.leaderboard.commands.interface import leaderboard
from valueeval.leaderboard.formats import every_eval_ever, hub
from valueeval.leaderboard.formats import to_csv as format_csv
from valueeval.leaderboard.formats import to_json as format_json
from valueeval.leaderboard.formats import to_latex as format_latex
from valueeval.leaderboard.formats import to_markdown as format_markdown
from valueeval.leaderboard.page import to_html as format_html
from valueeval.leaderboard.page.samples import browsable
from valueeval.leaderboard.reading.runs import merged
from valueeval.leaderboard.table.table import RANKED, Table
from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.commands.progress import tracked
from valueeval.tasks.display import did_you_mean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing

_TOP = 10  # rows that the terminal shows of each table
_SECONDS_BETWEEN_LINES = 30.0
_FORMATS: dict[str, Callable[[Table], str]] = {
    ".md": format_markdown.render,
    ".csv": format_csv.render,
    ".tex": format_latex.render,
    ".json": format_json.render,
    ".html": format_html.render,
    ".yaml": hub.model_index,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Read results, write every output that was asked for, say what could not be used.

    Raises:
        ValueEvalError: Nothing to read, or an output that cannot be written.
    """
    arguments = build_parser().parse_args(argv)
    if arguments.instances is not None and arguments.every_eval_ever is None:
        raise ValueEvalError("--instances is for the records of --every-eval-ever: name its folder")
    outputs = [Path(output) for output in arguments.output]
    columns = format_latex.chosen_columns(arguments.columns)
    for output in outputs:
        _check_format(output)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:

        def show_progress(files: int) -> Callable[[], None]:
            if not console.is_terminal:
                return _line_by_line(files)
            task = progress.add_task("samples", total=files)
            return lambda: progress.advance(task)

        table = leaderboard(
            arguments.results, reference=arguments.reference, adapters=arguments.adapters,
            names=arguments.names, show_progress=show_progress,
        ).table  # fmt: skip
    for problem in merged(table.problems):
        print(f"not used: {problem.source}: {problem.reason}", file=sys.stderr)
    for note in table.notes:
        print(f"note: {note}", file=sys.stderr)
    # Everything is rendered before anything is written, so that an error leaves all as it was.
    rendered = dict(tracked(_rendered(arguments, outputs, table, columns), "rendering"))
    for output, content in rendered.items():
        _write(output, content)
    ranked = sum(len(board.rows) for board in table.boards if board.status == RANKED)
    apart = sum(len(board.rows) for board in table.boards) - ranked
    if not outputs:
        _print_top(table, arguments.top or _TOP)
    written = f": {', '.join(map(str, outputs))}" if outputs else ""
    print(f"{ranked} ranked rows, {apart} shown apart, {len(table.problems)} not used{written}")
    return 0


def _rendered(
    arguments: argparse.Namespace,
    outputs: Sequence[Path],
    table: Table,
    columns: Sequence[str] | None,
) -> Iterator[tuple[Path, str | bytes]]:
    """Yield each file that was asked for and its content."""
    samples = browsable(table) if arguments.samples else None
    for output in outputs:
        if output.suffix == ".tex":
            yield output, format_latex.render(table, columns, arguments.top)
        else:
            yield output, _render(output, table, samples)
    folders: list[tuple[Path, Mapping[str, str | bytes]]] = []
    if (folder := arguments.every_eval_ever) is not None:
        records = every_eval_ever.every_eval_ever(table, arguments.developer, arguments.instances)
        folders.append((folder, records))
    if (folder := arguments.eval_results) is not None:
        folders.append((folder, hub.eval_results(table)))
    if (folder := arguments.figures) is not None:
        from valueeval.leaderboard.page import figures

        folders.append((folder, figures.draw(table)))
    for folder, files in folders:
        for name in sorted(files):
            yield folder / name, files[name]


def _line_by_line(files: int) -> Callable[[], None]:
    """Return what to call after each file: it prints a line every 30 seconds, for log files."""
    read, said = 0, time.monotonic()

    def advance() -> None:
        nonlocal read, said
        read += 1
        if time.monotonic() - said >= _SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            print(f"samples: {read} of {files} read", file=sys.stderr, flush=True)

    return advance


def _print_top(table: Table, top: int) -> None:
    """Print the best rows of each board to the terminal."""
    console = Console(highlight=False)
    for board in table.boards:
        if not board.rows:
            continue
        shown = RichTable(title=escape(board.title), title_justify="left", box=None, pad_edge=False)
        for name in ("#", "system", "template", "macro_f1", "95 %", "official_f1"):
            shown.add_column(name)
        for row in board.rows[:top]:
            shown.add_row(
                str(row.rank or ""), escape(row.name) + " ⚠" * bool(row.warnings),
                escape(row.prompt), text.score(row.macro_f1),
                text.interval(row.macro_interval), text.score(row.mean("official_f1")),
            )  # fmt: skip
        console.print(shown)
        rest = len(board.rows) - top
        doubted = sorted({warning for row in board.rows[:top] for warning in row.warnings})
        told = [
            f"… and {rest} more; -o leaderboard.md writes all" if rest > 0 else "",
            board.finding,
            *(f"⚠ {warning}" for warning in doubted),
        ]
        console.print(escape("\n".join(filter(None, told))) + "\n")


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval leaderboard",
        description="Collate folders of lm-eval results into a leaderboard.",
    )
    parser.add_argument(
        "results", nargs="+", metavar="RESULTS",
        help="folders (any depth), results_*.json files, or run files of the shared task (.tsv, "
        "also a folder of them; scored against your copy of the data)",
    )  # fmt: skip
    reading = parser.add_argument_group("what is read")
    reading.add_argument(
        "--adapters", nargs="+", default=[], metavar="DIR",
        help="adapter directories, for results that do not hold their adapter's manifest",
    )  # fmt: skip
    reading.add_argument(
        "--names", type=Path, metavar="FILE",
        help="YAML file of names and links to show, by the rows' names or their folders' (full: "
        "My system; or full: {name: My system, link: https://…})",
    )  # fmt: skip
    reading.add_argument(
        "--reference", metavar="ROW",
        help="the row that every other is compared with: its name, or name and template "
        "(default: none; the table says which rows can be the best)",
    )  # fmt: skip
    parser.add_data_dir(reading)
    writing = parser.add_argument_group("what is written")
    writing.add_argument(
        "-o", "--output", action="append", default=[], metavar="OUT",
        help="file to write (without any, the best rows are printed), its format by its ending "
        f"({', '.join(_FORMATS)}); may be repeated. "
        "An existing .md is filled between its markers; .yaml is model-index metadata for model "
        "cards",
    )  # fmt: skip
    writing.add_argument(
        "--top", type=int, metavar="N",
        help="only the best N rows of each table, in .tex and on the terminal",
    )  # fmt: skip
    writing.add_argument(
        "--columns", metavar="NAMES",
        help=f"columns of .tex, joined by commas ({', '.join(format_latex.COLUMNS)}); by default "
        "those that fit a page",
    )  # fmt: skip
    writing.add_argument(
        "--samples", action="store_true",
        help="put the arguments into the .html page, to browse what systems get wrong: their "
        "texts, from your copy of the data, are then in the page",
    )  # fmt: skip
    writing.add_argument(
        "--figures", type=Path, metavar="DIR", help="folder for every figure as PNG and SVG"
    )
    exchange = parser.add_argument_group("results for other sites")
    exchange.add_argument(
        "--eval-results", type=Path, metavar="DIR",
        help="folder for .eval_results files of the hub, one folder a system, to upload to its "
        "repository",
    )  # fmt: skip
    exchange.add_argument(
        "--every-eval-ever", type=Path, metavar="DIR",
        help="folder for the ranked rows in the schema of every_eval_ever",
    )  # fmt: skip
    exchange.add_argument(
        "--instances", choices=every_eval_ever.INSTANCES,
        help="with --every-eval-ever: add a line for each argument, with labels, predictions and "
        "scores; ids names the argument, texts also says what it is, from your copy of the data",
    )  # fmt: skip
    exchange.add_argument(
        "--developer", metavar="NAME",
        help="who made the systems, for --every-eval-ever, where their names do not say it",
    )  # fmt: skip
    return parser


def _check_format(output: Path) -> None:
    if output.suffix not in _FORMATS:
        raise ValueEvalError(
            f"{output}: no output format ends in '{output.suffix}'; choose {', '.join(_FORMATS)}"
            f"{did_you_mean(output.suffix, _FORMATS)}"
        )
    if output.is_dir():
        raise ValueEvalError(f"{output}: this is a folder; name a file")


def _render(output: Path, table: Table, samples: list[dict[str, Any]] | None) -> str:
    if output.suffix == ".html":
        return format_html.render(table, samples)
    content = _FORMATS[output.suffix](table)
    if output.suffix == ".md" and output.is_file() and output.stat().st_size:
        try:
            return format_markdown.insert(output.read_text(encoding="utf-8"), content)
        except ValueEvalError as error:
            raise ValueEvalError(f"{output}: {error}") from error
        except UnicodeDecodeError as error:
            raise ValueEvalError(f"{output}: not UTF-8 text; name another file") from error
    return content


def _write(output: Path, content: str | bytes) -> None:
    """Write all of it or nothing, under a temporary name first."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as temporary:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise ValueEvalError(f"{output}: cannot be written ({error.strerror})") from error
