"""``valueeval data``: fetch, verify and describe the data."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.data.dataset import (
    DATA_VARIABLE,
    SETS,
    cache_dir,
    file_names,
    find_data_dir,
    load_set,
)
from valueeval.tasks.data.describe import Description, Lengths, describe
from valueeval.tasks.data.official import NYT_DOWNLOADER, ZENODO_FILES, OfficialFile, verify_folder
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES

_OFFICIAL_SETS = tuple(name for name in SETS if not name.startswith("sample"))
_SETS_IN_80_COLUMNS = 6
_BAR_WIDTH = 24  # of the most frequent value
_HEADINGS = {
    "nahjalbalagha": "nahjal-\nbalagha",
    "sample_training": "sample_\ntraining",
    "sample_validation": "sample_\nvalidation",
}
_STYLES = {"ok": "green", "absent": "dim"}
_MARKS = {"ok": "✓", "absent": "○"}
_ASCII_MARKS = {"ok": "+", "absent": "o"}


def main(argv: Sequence[str]) -> int:
    """Run ``valueeval data ARGV``.

    Returns:
        The exit status: 0, or 1 if ``verify`` found a problem.

    Raises:
        ValueEvalError: There is no data, or a file could not be downloaded, read or written.
    """
    arguments = build_parser().parse_args(argv)
    if arguments.command == "fetch":
        return _fetch(arguments.cache, arguments.url)
    if arguments.command == "verify":
        return _verify(arguments.folder)
    return _info(arguments.folder, arguments.sets, arguments.json)


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval data", description="Fetch, verify and describe the data."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    fetch = commands.add_parser(
        "fetch",
        help="download the published files into the cache",
        description="Download the published files into the cache. Files that are complete and "
        "correct are kept; an interrupted download is resumed.",
    )
    fetch.add_argument(
        "--cache",
        metavar="DIR",
        type=Path,
        help="folder of the cache (default: $VALUEEVAL_CACHE, else ~/.cache/valueeval)",
    )
    fetch.add_argument(
        "--url",
        default=ZENODO_FILES,
        help="address of the folder of the files, for a mirror (default: %(default)s)",
    )
    where = "folder of the files (default: $VALUEEVAL_DATA, else the cache)"
    verify = commands.add_parser(
        "verify",
        help="compare files with the published ones",
        description="Compare files with the published ones by SHA-256. Exit status: 0 if all are "
        "the same, 1 if a file is missing, truncated or changed.",
    )
    verify.add_argument("folder", nargs="?", metavar="DIR", type=Path, help=where)
    verify.add_data_dir()
    info = commands.add_parser(
        "info",
        help="sizes, label distribution, text lengths",
        description="Describe data sets: sizes, label distribution, text lengths.",
    )
    info.add_argument("folder", nargs="?", metavar="DIR", type=Path, help=where)
    info.add_argument(
        "--set",
        dest="sets",
        action="append",
        metavar="SET",
        help=f"a set; may be repeated (default: all sets in the folder): {', '.join(SETS)}",
    )
    info.add_argument("--json", action="store_true", help="print JSON instead of tables")
    info.add_data_dir()
    return parser


def _fetch(cache: Path | None, url: str) -> int:
    from valueeval.tasks.data.fetch import fetch  # requests is slow to import

    console = Console(stderr=True)
    tasks: dict[str, TaskID] = {}
    with Progress(
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<32}"),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
    ) as bars:

        def show(file: OfficialFile, done: int, total: int | None) -> None:
            if file.name not in tasks:
                tasks[file.name] = bars.add_task(file.name, total=total)
            bars.update(tasks[file.name], completed=done, total=total)

        fetched = fetch(
            cache,
            url,
            progress=show,
            note=lambda text: bars.console.print(text, markup=False, highlight=False),
        )
    out = Console(soft_wrap=True, highlight=False)
    out.print(
        f"{len(fetched.downloaded)} files downloaded, {len(fetched.kept)} already in place: "
        f"{fetched.folder}",
        markup=False,
    )
    out.print(
        "arguments-test-nyt.tsv (80 of 9324 arguments) is not distributed; to rebuild it: "
        f"{NYT_DOWNLOADER}",
        markup=False,
    )
    if os.environ.get(DATA_VARIABLE):
        out.print(
            f"Note: {DATA_VARIABLE} is set and takes precedence over the cache.", markup=False
        )
    elif fetched.folder != cache_dir():
        out.print(f"To use it: export {DATA_VARIABLE}={fetched.folder.absolute()}", markup=False)
    return 0


def _verify(folder: Path | None) -> int:
    folder = find_data_dir(folder)
    states = verify_folder(folder)
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    marks, wrong_mark = (_ASCII_MARKS, "x") if console.options.ascii_only else (_MARKS, "✗")
    for state in states:
        mark = marks.get(state.state, wrong_mark)
        style = _STYLES.get(state.state, "bold red")
        table.add_row(Text(mark, style), state.file.name, Text(state.state, style), state.detail)
    console.print(table)
    wrong = [state for state in states if not state.fine]
    if not wrong:
        console.print(f"All files are as published: {folder}", soft_wrap=True, markup=False)
        return 0
    lines = [f"{len(wrong)} of {len(states)} files are not as published: {folder}"]
    if any(state.file.distributed for state in wrong):
        lines.append("`valueeval data fetch` downloads the published files into the cache.")
    if not all(state.file.distributed for state in wrong):
        lines.append(f"To rebuild the file that is not distributed: {NYT_DOWNLOADER}")
    console.print("\n".join(lines), soft_wrap=True, markup=False)
    return 1


def _info(folder: Path | None, sets: list[str] | None, as_json: bool) -> int:
    names = list(dict.fromkeys(sets)) if sets else _sets_in(find_data_dir(folder))
    described = [describe(load_set(name, folder)) for name in names]
    if as_json:
        print(json.dumps({one.name: one.as_json() for one in described}, indent=2))
        return 0
    console = Console(highlight=False)
    for start in range(0, len(described), _SETS_IN_80_COLUMNS):
        shown = described[start : start + _SETS_IN_80_COLUMNS]
        console.print(_table(shown, "#" if console.options.ascii_only else "█"))
        console.print()
    if absent := [name for name in _OFFICIAL_SETS if not sets and name not in names]:
        console.print(f"Not in this folder: {', '.join(absent)}.", style="dim")
    return 0


def _sets_in(folder: Path) -> list[str]:
    """Return the official sets of which the folder has both files."""
    names = [
        name
        for name in _OFFICIAL_SETS
        if all((folder / file).is_file() for file in file_names(name))
    ]
    if not names:
        raise ValueEvalError(
            f"{folder}: no set has both its arguments file and its labels file here. "
            "`valueeval data verify` lists what is missing."
        )
    return names


def _table(described: Sequence[Description], block: str) -> Table:
    """Return a table with one column per set; a single set gets bars of the character ``block``."""
    gap = 2 if len(described) < 5 else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    table.add_column("", no_wrap=True)
    for one in described:
        table.add_column(_HEADINGS.get(one.name, one.name), justify="right", vertical="bottom")
    if len(described) == 1:
        table.add_column("", no_wrap=True)

    def row(label: str, cells: Iterable[str]) -> None:
        table.add_row(f"  {label}", *cells)

    table.add_row(Text("Arguments", "bold cyan"))
    row("total", (str(one.arguments) for one in described))
    row("as published", (_origin(one) for one in described))
    row("in favor of / against", (_stances(one) for one in described))
    row("different conclusions", (str(one.conclusions) for one in described))
    row("largest on one conclusion", (str(one.largest_cluster) for one in described))
    row("mean values per argument", (f"{one.values_per_argument:.2f}" for one in described))
    row("without any value", (str(one.unlabelled) for one in described))
    for text in ("premise", "conclusion"):
        table.add_row(Text(f"Words in a {text}", "bold cyan"))
        lengths: list[Lengths] = [getattr(one, text) for one in described]
        row("median", (f"{one.median:g}" for one in lengths))
        row("95 % at most", (str(one.p95) for one in lengths))
        row("longest", (str(one.max) for one in lengths))
    table.add_row(Text("Arguments with a value", "bold cyan"))
    for index, value in enumerate(VALUE_NAMES):
        shares = [one.share(one.value_counts[index]) for one in described]
        cells = [Text(f"{share:.1%}", "dim" if share < 0.05 else "") for share in shares]
        if len(described) == 1:
            cells.append(_bar(described[0].value_counts, index, block))
        table.add_row(value, *cells)
    return table


def _bar(counts: Sequence[int], index: int, block: str) -> Text:
    """Return one of the counts with a bar in proportion to the largest."""
    count = counts[index]
    return Text(f"{count:>5} {block * round(_BAR_WIDTH * count / max(*counts, 1))}", "cyan")


def _origin(one: Description) -> str:
    if one.official:
        return "yes"
    return "sample" if one.name.startswith("sample") else "no"


def _stances(one: Description) -> str:
    return f"{one.share(one.in_favor) * 100:.0f}/{one.share(one.against) * 100:.0f}%"
