"""``valueeval predict``: labels a table of arguments or texts with a trained adapter."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from valueeval.adapters.engines.choose import ENGINES, MANY_TEXTS
from valueeval.adapters.predict.hand_labels import Agreement, LabelColumns
from valueeval.adapters.predict.labelling import (
    ADDED_COLUMNS,
    LabelledRow,
    kinds_of,
    label_rows,
)
from valueeval.adapters.predict.language import Languages
from valueeval.adapters.predict.layout import (
    UNKNOWN_STANCE,
    Layout,
    Roles,
    RowProblem,
    find_layout,
    parse_stance_map,
)
from valueeval.adapters.predict.model import (
    LOOKED_AT,
    LabellingModel,
    Model,
    load_found,
    refuse_clash,
)
from valueeval.adapters.predict.one_text import print_answer
from valueeval.adapters.predict.output import (
    Output,
    checking_writer,
    choose_output,
    refuse_existing,
    whole_file,
)
from valueeval.adapters.predict.summary import Summary, check_figure, draw
from valueeval.adapters.shipped.finding import NAME, shipped_adapter
from valueeval.adapters.tables.jsonl import UNREADABLE
from valueeval.adapters.tables.rows import Record
from valueeval.adapters.tables.table import (
    FORMATS,
    InputTable,
    TableOptions,
    opened_table,
    opened_writer,
)
from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.display import clean, did_you_mean, error_message
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.templates.decide import TEMPLATES
from valueeval.tasks.values import PREDICTED, VALUE_SLUGS

_LISTED = 20


def main(argv: Sequence[str]) -> int:
    """Label the table, or the one text; return the exit status."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if (options.text is None) == (options.file is None):
        parser.error("give a FILE (- is standard input), or --text")
    _check_model(options)
    if options.text is not None:
        _label_one(options)
        return 0
    if options.figure is not None:
        check_figure(options.figure)
    if options.engine == "ray":
        _label_folder(options)
        return 0
    said = TableOptions(
        options.input_format, options.delimiter, options.encoding, options.sheet,
        not options.no_header,
    )  # fmt: skip
    with opened_table(options.file, said) as table:
        _label_table(table, options)
    return 0


def _label_one(options: argparse.Namespace) -> None:
    """Print the answer for the text of ``--text``."""
    for name in ("output", "figure", "by", "labels", "for_excel", "text_column", "stance_map"):
        if getattr(options, name):
            raise ValueEvalError(f"--{name} is for tables, and --text prints one answer.")
    if options.conclusion is None and options.stance is None:
        roles = Roles(text_column="text")
    else:
        conclusion, stance = (
            None if given is None else "=" + given.removeprefix("=")
            for given in (options.conclusion, options.stance)
        )
        roles = Roles("text", conclusion, stance)
    row = Record("--text", {"text": options.text})
    layout = find_layout(["text"], roles, [row], "--text")
    _refuse_text_alone(layout, options)
    argument = layout.argument(row)
    if isinstance(argument, RowProblem):
        raise ValueEvalError(f"--text: {argument.text}.")
    model = _load(options, 1)
    labels = model.label([argument])
    if labels.unread and labels.unread[0]:
        raise ValueEvalError(f"--text: {labels.problems[0]}.")
    print_answer(Console(highlight=False), labels, layout.text_alone)
    languages = Languages()
    languages.add(options.text)
    for note in filter(None, (languages.note, _cut(model))):
        _note(note)


def _label_folder(options: argparse.Namespace) -> None:
    """Label a folder of Parquet files with Ray, and print the summary."""
    for name in ("labels", "by", "figure", "for_excel", "strict", "overwrite"):
        if getattr(options, name):
            raise ValueEvalError(f"--{name} is for single tables, not for --engine ray.")
    if options.output in (None, "-"):
        raise ValueEvalError("--engine ray: name the folder to write: -o FOLDER")
    from valueeval.adapters.predict.parquet_folders import label_folder

    adapter, output = options.adapter or str(shipped_adapter()), Path(options.output)
    summary = label_folder(
        Path(options.file), output, adapter, _roles(options), options.prefix or ""
    )
    _report(summary, None, Output(str(output), "parquet", None, False), None)


def _roles(options: argparse.Namespace) -> Roles:
    return Roles(
        options.premise, options.conclusion, options.stance, options.text_column,
        parse_stance_map(options.stance_map) if options.stance_map else {},
    )  # fmt: skip


def _label_table(table: InputTable, options: argparse.Namespace) -> None:
    output = choose_output(
        table, options.file, options.output, options.output_format, options.for_excel
    )
    if output.path != "-":
        refuse_existing(Path(output.path), options.overwrite)
    rows = list(islice(table.read_rows(), LOOKED_AT))
    if not rows:
        raise ValueEvalError(f"{table.name}: there is no row in it.")
    roles = _roles(options)
    columns = [column for column in table.columns if column != UNREADABLE]
    if not columns:
        raise ValueEvalError(
            f"{table.name}: no line can be read. {rows[0].where}: {rows[0].problem}"
        )
    layout = find_layout(columns, roles, rows, table.name)
    _refuse_text_alone(layout, options)
    if options.by is not None and options.by not in table.columns:
        listed = ", ".join(map(repr, table.columns))
        raise ValueEvalError(
            f"{table.name}: no column {options.by!r} (--by)"
            f"{did_you_mean(options.by, table.columns) or '.'} Columns: {listed}."
        )
    labels = LabelColumns.found_in(table.columns, table.name) if options.labels else None
    prefix = options.prefix
    if prefix is None:
        # `valueeval score` tells them from the hand labels by it.
        prefix = "" if labels is None else PREDICTED
    try:
        refuse_clash(table.columns, prefix, table.name, "--prefix ")
    except ValueEvalError as error:
        if labels is not None or set(VALUE_SLUGS).isdisjoint(table.columns):
            raise
        raise ValueEvalError(f"{error} If they are hand labels, --labels compares.") from None
    for note in table.notes:
        _note(f"{table.name}: {note}")
    if not layout.is_official:
        others = layout.text_alone and roles.text_column is None and len(table.columns) > 1
        hint = (
            "; if others say what it argues for, give --conclusion and --stance" if others else ""
        )
        _note(f"{table.name}: {layout.described}{hint}")
    summary = Summary(options.by)
    checked = _check(table, layout, labels, summary, output, options.strict)
    model = _load(options, checked.rows)
    agreement = None if labels is None else Agreement(labels)
    columns = [*table.columns, *(prefix + column for column in ADDED_COLUMNS)]
    with (
        whole_file(output.path, options.overwrite) as stream,
        opened_writer(
            output.form, stream, columns, dialect=output.dialect, kinds=kinds_of(prefix),
            schema=table.schema, guard_formulas=output.for_excel,
        ) as writer,
        _progress(checked.rows) as progress,
    ):  # fmt: skip
        for labelled in label_rows(table.read_rows(), layout, model, model.rows_at_once):
            writer.write(output.record(labelled, prefix))
            _count(labelled, summary, agreement, table.name)
            progress(1)
    if options.figure is not None:
        draw(summary, options.figure)
    _report(summary, agreement, output, options.figure)
    for said in filter(None, (checked.languages.note, _cut(model))):
        _note(said)


@dataclass
class _Checked:
    """The findings of a first pass over a table.

    Attributes:
        rows: Number of rows.
        problems: Rows that cannot be labelled, by kind of problem.
        first: The first of them, with their places.
        stances: Texts in the stance column that are no stance.
        languages: Counts of texts that look English.
    """

    rows: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)
    stances: Counter[str] = field(default_factory=Counter)
    languages: Languages = field(default_factory=Languages)


def _check(
    table: InputTable,
    layout: Layout,
    labels: LabelColumns | None,
    summary: Summary,
    output: Output,
    strict: bool,
) -> _Checked:
    """Read the whole table before anything slow starts.

    Raises:
        ValueEvalError: No row can be labelled; with ``strict``, some cannot; a row cannot be
            written; a hand label is neither a yes nor a no; there are too many groups.
    """
    found = _Checked()
    with checking_writer(output, table.columns) as check_written:
        for row in table.read_rows():
            found.rows += 1
            check_written(row)
            if labels is not None:
                labels.of(row, table.name)
            argument = layout.argument(row)
            if not isinstance(argument, RowProblem):
                found.languages.add(argument.premise)
                summary.expect(row)
                continue
            found.problems[argument.kind] += 1
            if len(found.first) < _LISTED:
                found.first.append(f"{row.where}: {argument.text}")
            if argument.kind == UNKNOWN_STANCE and len(found.stances) < _LISTED:
                found.stances[argument.text.partition(": ")[2]] += 1
    problems = found.problems.total()
    if strict and problems:
        more = f"\n… and {problems - _LISTED} more" if problems > _LISTED else ""
        raise ValueEvalError(
            f"{table.name}: {problems} of {found.rows} rows cannot be labelled (--strict):\n"
            + "\n".join(found.first)
            + more
            + _remedy(found)
        )
    if problems == found.rows:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in found.problems.most_common(5))
        raise ValueEvalError(f"{table.name}: no row can be labelled: {kinds}.{_remedy(found)}")
    return found


def _remedy(found: _Checked) -> str:
    """Return how to have unknown stances understood."""
    if not found.stances:
        return ""
    shown = [stance for stance, _ in found.stances.most_common(4)]
    mapped = ",".join(f"{stance}=…" for stance in shown)
    return f"\nSay what the stances mean, pro or con: --stance_map {shlex.quote(mapped)}"


def _check_model(options: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything is read."""
    if options.model is not None and options.engine != "auto":
        raise ValueEvalError(
            f"--engine {options.engine} is for adapters; prompted models run in lm-eval."
        )
    if options.model is None:
        for name in (
            "model_args", "template", "paraphrase", "apply_chat_template", "calibration",
            "use_cache",
        ):  # fmt: skip
            if getattr(options, name):
                raise ValueEvalError(f"--{name} is for prompted models: name one by --model.")
    elif options.adapter is not None:
        raise ValueEvalError("--adapter and --model are two models: give one of them.")
    elif options.model_args is None or options.template is None:
        raise ValueEvalError(
            f"--model {clean(options.model)} needs --model_args pretrained=MODEL (or what it "
            f"takes) and --template: {', '.join(TEMPLATES)}."
        )


def _refuse_text_alone(layout: Layout, options: argparse.Namespace) -> None:
    if options.model is not None and layout.text_alone:
        raise ValueEvalError(
            f"--template {options.template}: its prompts are about a conclusion and a stance: name "
            "their columns, or give the same for every row: --conclusion =TEXT --stance =for."
        )


def _load(options: argparse.Namespace, texts: int) -> LabellingModel:
    """Load the model that labels a number of texts."""
    if options.model is not None:
        from valueeval.adapters.predict.prompted import load_prompted

        return load_prompted(
            options.model, options.model_args, options.template, options.paraphrase or 1,
            options.apply_chat_template, options.calibration, options.device, options.batch_size,
            options.use_cache,
        )  # fmt: skip
    from valueeval.adapters.directory.ensemble import find_members

    adapter, shipped = options.adapter, options.adapter is None
    if shipped:
        adapter = str(shipped_adapter())
        _note(f"the model is {NAME}, which ships with valueeval; --adapter names another")
    members = find_members(adapter)
    if options.device not in (None, "cpu"):
        from valueeval.adapters.runtime.devices import choose_device

        if not options.device.startswith(choose_device(options.device).type):
            _note(f"device {options.device} is not there: running on the CPU")
    model = load_found(
        adapter, members, options.device, options.batch_size, options.engine,
        worth_exporting=shipped or texts >= MANY_TEXTS, say=_note,
    )  # fmt: skip
    if model.engine == "onnx-int8" and options.engine == "auto":
        _note(
            "8-bit numbers are used, which cost at most 0.002 of macro_f1 on validation; "
            "--engine onnx or torch is exact"
        )
    return model


def _count(labelled: LabelledRow, summary: Summary, agreement: Agreement | None, name: str) -> None:
    """Count a row in the summary, and in the agreement with hand labels."""
    if labelled.argument is None or labelled.decided is None:
        summary.problems[labelled.problem.kind if labelled.problem else ""] += 1
        return
    summary.add(labelled.decided, labelled.row)
    labels = None if agreement is None else agreement.columns.of(labelled.row, name)
    if agreement is not None and labels is not None:
        agreement.add(labelled.argument, labels, labelled.decided)


def _report(
    summary: Summary, agreement: Agreement | None, output: Output, figure: Path | None
) -> None:
    """Print the summary: on stderr if the rows went to standard output."""
    console = Console(highlight=False, stderr=output.path == "-", soft_wrap=True)
    where = "standard output" if output.path == "-" else clean(output.path)
    rows = summary.rows
    console.print(
        f"{summary.labelled.rows} of {rows} row{'s' * (rows != 1)} labelled: {where}", markup=False
    )
    for line in summary.lines():
        console.print(line, markup=False)
    console.print()
    console.print(summary.table())
    if summary.left_out is not None:
        console.print(summary.left_out, markup=False)
    console.print("These are the model's labels, and it errs: small differences can be its errors.")
    for line in [] if agreement is None else agreement.lines():
        console.print(line, markup=False)
    if figure is not None:
        console.print(f"Figure: {clean(figure)}", markup=False)


def _cut(model: LabellingModel) -> str | None:
    if not isinstance(model, Model) or not model.truncated:
        return None
    limit = model.manifest.reading.max_length
    one = model.truncated == 1
    return (
        f"{model.truncated} text{' is' if one else 's are'} longer than {limit} tokens and "
        f"{'was' if one else 'were'} cut: the model did not read the end"
    )


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval predict",
        description="Label arguments or texts of your own with the 20 values. Every row and column "
        "stays; added are `values` (their names), `problem` (why a row has no labels), "
        "`labelled_from`, 20 decisions (0 or 1) and 20 probabilities (p_…).",
        epilog="The models read English, and learnt from short arguments. They err often: use them "
        "for many texts together, and read some yourself. Do not use them to judge or to select "
        "persons: they say what a text appeals to, and nothing about who wrote it.",
    )
    parser.add_argument(
        "file", metavar="FILE", nargs="?",
        help="table: .csv (any delimiter), .tsv, .txt, .xlsx, .parquet, .jsonl; - is stdin",
    )  # fmt: skip
    parser.add_argument("--text", metavar="TEXT", help="label this one text and print the answer")
    parser.add_argument(
        "--adapter",
        metavar="DIR",
        help="from `valueeval train`, one that lists members, or org/name on the Hugging Face hub; "
        "several joined by + are averaged: A+B+C (default: the small one that ships with the "
        "package)",
    )
    prompted = parser.add_argument_group(
        "a prompted model instead",
        "A language model that was not trained for this: it answers a template's questions, as "
        "`lm_eval --tasks valueeval_TEMPLATE` asks them. Rows need a conclusion and a stance.",
    )
    prompted.add_argument(
        "--model", metavar="NAME", help="a model of lm-eval: hf, valueeval, valueeval_chat, vllm …"
    )
    prompted.add_argument(
        "--model_args", metavar="ARGS", help="its arguments: pretrained=MODEL,dtype=bfloat16"
    )
    prompted.add_argument("--template", choices=TEMPLATES, help="how it is asked")
    prompted.add_argument("--paraphrase", type=int, metavar="N", help="which wording (default: 1)")
    prompted.add_argument(
        "--apply_chat_template", action="store_true", help="ask in the turns and words of a chat"
    )
    prompted.add_argument(
        "--calibration", metavar="FILE", help="from `valueeval calibrate` (cls, bca)"
    )
    prompted.add_argument(
        "--use_cache", metavar="PATH",
        help="keep answers in PATH_rank0.db, as lm_eval does, and ask nothing again that is there "
        "(valueeval, valueeval_chat)",
    )  # fmt: skip
    columns = parser.add_argument_group(
        "columns", "Found by their names (Premise, Conclusion, Stance; text …) if not given."
    )
    columns.add_argument("--premise", metavar="NAME", help="column of the premise (what is said)")
    columns.add_argument(
        "--conclusion", metavar="NAME",
        help="column of the conclusion (what is argued about), or =TEXT, the same for every row",
    )  # fmt: skip
    columns.add_argument(
        "--stance", metavar="NAME",
        help="column of the stance (for, pro, 1, against, con, -1, …), or =for, =against",
    )  # fmt: skip
    columns.add_argument(
        "--stance_map", metavar="MAP", help="what the stances mean: dafür=pro,dagegen=con"
    )
    columns.add_argument(
        "--text_column", metavar="NAME",
        help="column of texts without conclusion and stance: the model reads them alone",
    )  # fmt: skip
    columns.add_argument(
        "--labels", action="store_true",
        help="compare with hand labels: columns called like the values, with 1 or 0",
    )  # fmt: skip
    reading = parser.add_argument_group("how the table is read, if it is not found out rightly")
    reading.add_argument("--input_format", choices=FORMATS, help="its format")
    reading.add_argument("--delimiter", metavar="CHAR", help="a character, comma, semicolon or tab")
    reading.add_argument("--encoding", metavar="NAME", help="utf-8, utf-16, windows-1252 …")
    reading.add_argument("--sheet", metavar="NAME", help="sheet of an Excel workbook")
    reading.add_argument(
        "--no_header", action="store_true", help="the first row is not the names of the columns"
    )
    writing = parser.add_argument_group("output")
    writing.add_argument(
        "-o", "--output", metavar="OUT",
        help="file to write, its format by its ending; - is stdout (default: FILE-labelled, as "
        "FILE is written)",
    )  # fmt: skip
    writing.add_argument("--overwrite", action="store_true", help="write over OUT if it exists")
    writing.add_argument(
        "--for_excel", action="store_true",
        help="write what Excel opens rightly: a workbook, or for an OUT that ends in .csv UTF-8 "
        "with a byte order mark, and no cell that Excel would run as a formula",
    )  # fmt: skip
    writing.add_argument("--output_format", choices=FORMATS, help="if OUT's name does not say it")
    writing.add_argument(
        "--prefix", metavar="NAME", help="what the names of the added columns begin with"
    )
    writing.add_argument(
        "--strict", action="store_true",
        help="refuse a table in which some rows cannot be labelled, and list them",
    )  # fmt: skip
    writing.add_argument(
        "--by", metavar="COLUMN", help="also show the shares for each content of this column"
    )
    writing.add_argument(
        "--figure", type=Path, metavar="FILE", help="draw the shares (.png, .svg, .pdf)"
    )
    running = parser.add_argument_group("running")
    running.add_argument(
        "--batch_size", default="auto", metavar="N", help="texts read at once (default: auto)"
    )
    running.add_argument(
        "--engine", choices=(*ENGINES, "ray"), default="auto",
        help="torch; onnx (ONNX Runtime, on the CPU: starts sooner; extra `onnx`); onnx-int8 "
        "(about twice as fast, scores may differ a little); auto (default): the best here; ray "
        "(extra `ray`): FILE is a folder of Parquet files, labelled on all cores or GPUs",
    )  # fmt: skip
    running.add_argument("--device", metavar="NAME", help="cpu, cuda, mps … (default: the best)")
    return parser


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar of rows on stderr."""
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
    print(f"note: {error_message(text)}", file=sys.stderr)
