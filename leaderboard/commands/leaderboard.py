"""``valueeval leaderboard RESULTS… -o OUT``: a leaderboard from folders of lm-eval results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from valueeval.leaderboard.commands.interface import leaderboard
from valueeval.leaderboard.formats import exchange
from valueeval.leaderboard.formats import to_csv as format_csv
from valueeval.leaderboard.formats import to_json as format_json
from valueeval.leaderboard.formats import to_latex as format_latex
from valueeval.leaderboard.formats import to_markdown as format_markdown
from valueeval.leaderboard.page import to_html as format_html
from valueeval.leaderboard.page.samples import browsable
from valueeval.leaderboard.reading.runs import merged
from valueeval.leaderboard.table.table import RANKED, Table
from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing

_FORMATS: dict[str, Callable[[Table], str]] = {
    ".md": format_markdown.render,
    ".csv": format_csv.render,
    ".tex": format_latex.render,
    ".json": format_json.render,
    ".html": format_html.render,
    ".yaml": exchange.model_index,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Read results, write every output that was asked for, say what could not be used.

    Raises:
        ValueEvalError: Nothing to read, or an output that cannot be written.
    """
    arguments = build_parser().parse_args(argv)
    outputs = [Path(output) for output in arguments.output]
    for output in outputs:
        _check_format(output)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:

        def show_progress(files: int) -> Callable[[], None]:
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
    samples = browsable(table) if arguments.samples else None
    rendered: dict[Path, str | bytes] = {
        output: _render(output, table, samples) for output in outputs
    }
    if arguments.every_eval_ever is not None:
        files = exchange.every_eval_ever(table)
        rendered |= {arguments.every_eval_ever / name: files[name] for name in sorted(files)}
    if arguments.figures is not None:
        from valueeval.leaderboard.page import figures

        drawn = figures.draw(table)
        rendered |= {arguments.figures / name: drawn[name] for name in sorted(drawn)}
    for output, content in rendered.items():
        _write(output, content)
    ranked = sum(len(board.rows) for board in table.boards if board.status == RANKED)
    apart = sum(len(board.rows) for board in table.boards) - ranked
    print(
        f"{ranked} ranked rows, {apart} shown apart, {len(table.problems)} not used: "
        + ", ".join(map(str, outputs))
    )
    return 0


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
    parser.add_argument(
        "-o", "--output", action="append", required=True, metavar="OUT",
        help=f"file to write, its format by its ending ({', '.join(_FORMATS)}); may be repeated. "
        "An existing .md is filled between its markers; .yaml is model-index metadata for model "
        "cards",
    )  # fmt: skip
    parser.add_argument(
        "--reference", metavar="ROW",
        help="the row that every other is compared with: its name, or name and template "
        "(default: none; the table says which rows can be the best)",
    )  # fmt: skip
    parser.add_argument(
        "--adapters", nargs="+", default=[], metavar="DIR",
        help="adapter directories, for results that do not hold their adapter's manifest",
    )  # fmt: skip
    parser.add_argument(
        "--names", type=Path, metavar="FILE",
        help="YAML file of names and links to show, by the rows' names or their folders' (full: "
        "My system; or full: {name: My system, link: https://…})",
    )  # fmt: skip
    parser.add_argument(
        "--samples", action="store_true",
        help="put the arguments into the .html page, to browse what systems get wrong: their "
        "texts, from your copy of the data, are then in the page",
    )  # fmt: skip
    parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="folder for every figure as PNG and SVG"
    )
    parser.add_argument(
        "--every-eval-ever", type=Path, metavar="DIR",
        help="folder for the ranked rows in the schema of every_eval_ever",
    )  # fmt: skip
    parser.add_data_dir()
    return parser


def _check_format(output: Path) -> None:
    if output.suffix not in _FORMATS:
        raise ValueEvalError(
            f"{output}: no output format ends in '{output.suffix}'; choose {', '.join(_FORMATS)}"
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
