"""``valueeval predict`` on tables that people have, and what it says about them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from naming_model import NamingModel
from openpyxl import Workbook, load_workbook
from pyarrow import parquet
from tiny_adapters import write_adapter

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.predict import cli
from valueeval.adapters.predict.labelling import ADDED_COLUMNS, NamedValues, value_names
from valueeval.adapters.predict.score_table import table_report
from valueeval.adapters.tables.table import TableOptions, opened_table
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.values import VALUE_NAMES, VALUE_SLUGS

TREES = [
    ("Trees, they say, give shade to all; and fruit", "Plant trees", "in favor of"),
    ('They are "messy", and the town must pay for it', "Plant trees", "against"),
    ("Shade is nice for the people who have no garden", "Plant trees", "in favor of"),
]
PREMISES = [premise for premise, *_ in TREES]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    return write_adapter(tmp_path_factory.mktemp("runs") / "tiny", tiny_bert)


@pytest.fixture
def run(adapter: Path, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Runs the command on a file, returns the rows of the output that it names."""

    def run(source: Path, *flags: object) -> list[dict[str, Any]]:
        argv = [str(source), "--adapter", str(adapter), "--device", "cpu", *map(str, flags)]
        assert cli.main(argv) == 0
        out = next((argv[n + 1] for n, word in enumerate(argv) if word == "-o"), None)
        return read(Path(out) if out else source.with_stem(f"{source.stem}-labelled"))

    return run


Run = Callable[..., list[dict[str, Any]]]


def read(path: Path) -> list[dict[str, Any]]:
    with opened_table(str(path), TableOptions()) as table:
        return [row.cells for row in table.read_rows()]


def refusal(adapter: Path, *argv: object) -> str:
    with pytest.raises(ValueEvalError) as caught:
        cli.main([*map(str, argv), "--adapter", str(adapter), "--device", "cpu"])
    return str(caught.value)


def delimited(delimiter: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([header, *rows])
    return out.getvalue()


def workbook(rows: Sequence[Sequence[Any]], *, second: bool = False) -> bytes:
    book = Workbook()
    book.active.title = "Coded"
    for row in rows:
        book.active.append(row)
    if second:
        book.create_sheet("Codebook").append(["see the handbook"])
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def columnar(columns: dict[str, list[Any]]) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


# --------------------------------------------------------------------- tables that people have


@dataclass(frozen=True)
class Given:
    """A table, and what the command needs to be told about it after the first refusal.

    Attributes:
        name: The file's name.
        content: Its bytes.
        refused: What the first try says; ``None`` if it works.
        flags: What then makes it work.
        labelled: Places of the rows that get labels.
        said: What the notes say.
    """

    name: str
    content: bytes
    refused: str | None = None
    flags: tuple[str, ...] = ()
    labelled: tuple[int, ...] = (0, 1, 2)
    said: str = ""


GERMAN = [("dafür", "dagegen")[stance == "against"] for *_, stance in TREES]
NUMBERS = ["-1" if stance == "against" else "1" for *_, stance in TREES]
ALONE = [[str(n), premise] for n, premise in enumerate(PREMISES)]

TABLES = [
    Given(
        "official.tsv",
        "".join(
            "\t".join(row) + "\n"
            for row in [
                ("Argument ID", "Conclusion", "Stance", "Premise"),
                *((f"A{n}", c, s, p) for n, (p, c, s) in enumerate(TREES)),
            ]
        ).encode(),
    ),
    Given(
        "german-excel.csv",
        delimited(
            ";",
            ("Nr", "Aussage", "These", "Haltung"),
            [
                (str(n), p, "Mehr Bäume braucht die Stadt", s)
                for n, (p, s) in enumerate(zip(PREMISES, GERMAN, strict=True))
            ],
        ).encode("cp1252"),
        "Say --text_column NAME for texts alone, or --premise, --conclusion and --stance",
        (
            *("--premise", "Aussage", "--conclusion", "These", "--stance", "Haltung"),
            *("--stance_map", "dafür=pro,dagegen=con"),
        ),
        said="not UTF-8: read as Windows-1252",
    ),
    Given(
        "unicode-text.txt",
        delimited("\t", ("premise", "claim", "stance"), TREES).encode("utf-16"),
        said="read as UTF-16",
    ),
    Given(
        "utf8-with-mark.csv",
        delimited(",", ("Premise", "Conclusion", "Stance"), TREES).encode("utf-8-sig"),
    ),
    Given(
        "numbers.csv",
        delimited(
            ",", ("reason", "topic", "position"),
            [(p, c, n) for (p, c, _), n in zip(TREES, NUMBERS, strict=True)],
        ).encode(),
        said="premise from column 'reason', conclusion from column 'topic', stance from column",
    ),
    Given(
        "one-topic.csv",
        delimited(
            ",", ("argument", "position"), [(p, s) for p, _, s in TREES]
        ).encode(),
        "no column for the conclusion. Say --conclusion: a column, or '=TEXT' for every row",
        ("--conclusion", "=Plant trees"),
        said="conclusion is 'Plant trees'",
    ),
    Given(
        "posts.csv",
        delimited(",", ("id", "text"), ALONE).encode(),
        said="text from column 'text', read alone (no conclusion, no stance)",
    ),
    Given("lines.txt", ("\n".join(PREMISES) + "\n").encode(), "give --no_header", ("--no_header",)),
    Given(
        "interviews.xlsx",
        workbook([("Nr", "Interview", "Land"), *([n, p, "DE"] for n, p in ALONE)], second=True),
        "choose one by --sheet NAME. Sheets: 'Coded', 'Codebook'",
        ("--sheet", "Coded"),
        said="text from column 'Interview'",
    ),
    Given(
        "gaps.xlsx",
        workbook(
            [
                ("Survey of 2024",), (), ("Premise", "Conclusion", "Stance"), TREES[0], (),
                (None, "Plant trees", "pro"), (TREES[1][0], TREES[1][1], -1),
                (TREES[2][0], TREES[2][1], "perhaps"),
            ]
        ),
        labelled=(0, 3),
        said="the header is in row 3",
    ),
    Given(
        "export.jsonl",
        "".join(
            json.dumps({"premise": p, "conclusion": c, "stance": s, "meta": {"n": [1]}}) + "\n"
            for p, c, s in TREES
        ).encode(),
    ),
    Given(
        "valueeval24-sentences.tsv",
        delimited(
            "\t", ("Text-ID", "Sentence-ID", "Text"),
            [("EN_001", str(n), p) for n, p in enumerate(PREMISES, start=1)],
        ).encode(),
        said="text from column 'Text', read alone",
    ),
    Given(
        "manifesto.csv",
        delimited(",", ("sentence", "cmp_code"), [(p, "501") for p in PREMISES]).encode(),
        flags=("--premise", "sentence", "--conclusion", "=Plant trees", "--stance", "=for"),
        said="conclusion is 'Plant trees', stance is 'for'",
    ),
    Given(
        "ragged.csv",
        b"id;comment;topic;side\n1;Shade is nice for everyone;Plant trees;pro\n2;too short\n"
        b"3;They are messy; and old;Plant trees;con\n4;They cost us money;Plant trees;con;;\n",
        labelled=(0, 3),
        said="stance from column 'side'",
    ),
    Given("survey.parquet", columnar({"nr": [1, 2, 3], "answer": PREMISES}), said="'answer'"),
]  # fmt: skip


@pytest.mark.parametrize("given", TABLES, ids=lambda given: given.name)
def test_tables_that_people_have(
    run: Run, adapter: Path, tmp_path: Path, given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is labelled at once, or with the options that the message names."""
    source = tmp_path / given.name
    source.write_bytes(given.content)
    if given.refused is not None:
        told = refusal(adapter, source)
        assert given.refused in told
        assert all(flag in told or flag == "--stance_map" for flag in given.flags[::2])
        assert [file.name for file in tmp_path.iterdir()] == [given.name]
    rows = run(source, *given.flags)
    assert given.said in capsys.readouterr().err
    assert [n for n, row in enumerate(rows) if not row["problem"]] == list(given.labelled)
    for number, row in enumerate(rows):
        decided = [int(row[slug] or 0) for slug in VALUE_SLUGS]
        assert (row["values"] or "") == value_names(decided)
        assert (row["face"] in ("", None)) == (number not in given.labelled)


def test_unknown_stances_name_the_option(adapter: Path, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_bytes(delimited(",", ("premise", "conclusion", "stance"),
                                 [(p, c, s) for (p, c, _), s in zip(TREES, GERMAN, strict=True)]
                                 ).encode())  # fmt: skip
    told = refusal(adapter, source)
    assert "no row can be labelled: unknown stance (3)." in told
    option = told.splitlines()[1].partition(": ")[2]
    assert shlex.split(option) == ["--stance_map", "dafür=…,dagegen=…"]


def test_broken_characters_name_the_option(adapter: Path, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    good = "id,text\n1,Bäume über Straßen geben uns allen Schatten\n"
    source.write_bytes(good.encode() + b"2,Nobody pays for them\xff\n")
    told = refusal(adapter, source)
    assert "UTF-8 text with broken characters" in told
    assert "name its encoding by --encoding" in told
    words = ["--adapter", str(adapter), "--device", "cpu", "--encoding", "windows-1252"]
    assert cli.main([str(source), *words]) == 0
    with opened_table(str(tmp_path / "t-labelled.csv"), TableOptions(encoding="cp1252")) as table:
        assert [row.cells["problem"] for row in table.read_rows()] == ["", ""]


def test_a_named_delimiter_is_kept(adapter: Path, tmp_path: Path) -> None:
    source = tmp_path / "t.txt"
    source.write_text(delimited(":", ("nr", "text"), ALONE))
    words = ["--adapter", str(adapter), "--device", "cpu", "--delimiter", ":"]
    assert cli.main([str(source), *words]) == 0
    header = (tmp_path / "t-labelled.txt").read_text().splitlines()[0]
    assert header.startswith("nr:text:values:problem:")


def test_parquet_stays_parquet(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "t.parquet"
    table = pa.table({"text": PREMISES, "n": pa.array([1, 2, None], pa.int32())})
    parquet.write_table(table, source)
    run(source)
    found = parquet.read_table(tmp_path / "t-labelled.parquet")
    assert found.select(["text", "n"]).equals(table)
    assert found["face"].type == pa.int64()
    assert found["p_face"].type == pa.float64()


def test_dialects_are_kept(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_bytes("id;text\r\n1;Bäume geben allen Schatten im Sommer\r\n".encode("cp1252"))
    run(source)
    header, row, end = (tmp_path / "t-labelled.csv").read_bytes().decode("cp1252").split("\r\n")
    assert header.startswith("id;text;values;problem;labelled_from;self_direction_thought;")
    assert row.startswith("1;Bäume geben allen Schatten im Sommer;")
    assert end == ""


# ------------------------------------------------------------------------------------- labels


def official(path: Path, rows: Sequence[Sequence[str]] = TREES) -> Path:
    path.write_text(delimited(",", ("Premise", "Conclusion", "Stance"), rows), newline="")
    return path


def test_labels_are_the_adapters(run: Run, adapter: Path, tmp_path: Path) -> None:
    rows = run(official(tmp_path / "in.csv"), "-o", tmp_path / "out.jsonl")
    classifier = load_classifier(adapter, "cpu")
    arguments = [Argument("", conclusion, stance, premise) for premise, conclusion, stance in TREES]
    logits = classifier.logits(arguments).astype(float)
    decisions = classifier.manifest.thresholds.decide(logits)
    assert 0 < decisions.mean() < 1
    for row, z, decided in zip(rows, logits, decisions, strict=True):
        assert tuple(row) == ("Premise", "Conclusion", "Stance", *ADDED_COLUMNS)
        assert [row[f"p_{s}"] for s in VALUE_SLUGS] == pytest.approx(1 / (1 + np.exp(-z)), rel=1e-4)
        assert [row[s] for s in VALUE_SLUGS] == decided.astype(int).tolist()
        assert row["labelled_from"] == "argument"


def test_a_text_alone_is_read_without_conclusion(run: Run, adapter: Path, tmp_path: Path) -> None:
    source = official(tmp_path / "in.csv")
    rows = run(source, "-o", tmp_path / "out.jsonl", "--text-column", "Premise")
    classifier = load_classifier(adapter, "cpu")
    tokens = [classifier.tokenizer(premise) for premise in PREMISES]
    logits = classifier.logits([Argument("", "", "", premise) for premise in PREMISES])
    assert {row["labelled_from"] for row in rows} == {"text alone"}
    for row, z, token in zip(rows, logits, tokens, strict=True):
        import torch

        inputs = {name: torch.tensor([ids]) for name, ids in token.items()}
        with torch.inference_mode():
            plain = classifier.model(**inputs).numpy()[0]
        assert z == pytest.approx(plain, rel=1e-4, abs=1e-5)
        assert row["p_face"] == pytest.approx(
            1 / (1 + np.exp(-z[VALUE_SLUGS.index("face")])), rel=1e-4
        )


@pytest.mark.parametrize("batch_size", ["1", "4"])
def test_order_is_kept_over_batches(run: Run, tmp_path: Path, batch_size: str) -> None:
    rows = [("word " * (n % 7 + 1) + str(n), "c", "for") for n in range(23)]
    found = run(official(tmp_path / "in.csv", rows), "--batch-size", batch_size)
    assert [row["Premise"] for row in found] == [premise for premise, *_ in rows]
    assert len({row["p_face"] for row in found}) > 7


def test_one_text(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(*flags: str) -> str:
        words = ["--text", PREMISES[0], "--adapter", str(adapter), "--device", "cpu", *flags]
        assert cli.main(words) == 0
        return capsys.readouterr().out

    alone, argued = answer(), answer("--conclusion", "Plant trees", "--stance", "=pro")
    assert "The text was read alone" in alone
    assert "read alone" not in argued
    for text in (alone, argued):
        shares = [float(share) for share in re.findall(r" (?:yes|no) +(0\.\d\d|1\.00) ", text)]
        assert len(shares) >= 3
    told = refusal(adapter, "--text", "x y", "--by", "land")
    assert told == "--by is for tables, and --text prints one answer."
    assert "--text: the text is empty." in refusal(adapter, "--text", " ")
    assert "'maybe' is no stance" in refusal(adapter, "--text", "x", "--stance", "maybe")


# -------------------------------------------------------------------------- rows without labels


def test_no_row_is_lost(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*TREES, ("", "c", "for"), ("p", "c", "maybe")]
    found = run(official(tmp_path / "in.csv", rows))
    assert [row["Premise"] for row in found] == [premise for premise, *_ in rows]
    assert [row["problem"] for row in found] == [
        "", "", "", "the premise is empty", "unknown stance: maybe",
    ]  # fmt: skip
    out = capsys.readouterr().out
    assert "3 of 5 rows labelled" in out
    assert (
        "2 rows have no labels (column problem): the premise is empty (1), unknown stance (1)"
        in out
    )


def test_strict(adapter: Path, tmp_path: Path) -> None:
    bad = [("", "c", "for")] * 24
    told = refusal(adapter, official(tmp_path / "in.csv", [*TREES, *bad]), "--strict").splitlines()
    assert told[0].endswith("in.csv: 24 of 27 rows cannot be labelled (--strict):")
    assert told[1] == "line 5: the premise is empty"
    assert told[20] == "line 24: the premise is empty"
    assert told[21] == "… and 4 more"
    assert len(told) == 22
    assert [file.name for file in tmp_path.iterdir()] == ["in.csv"]


# -------------------------------------------------------------------------------------- summary


def test_summary(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.csv"
    rows = [(*row, land, "1", "") for row, land in zip(TREES, ("DE", "FR", "DE"), strict=True)]
    header = ("Premise", "Conclusion", "Stance", "Land", "face", "Tradition")
    source.write_text(delimited(",", header, rows), newline="")
    figure = tmp_path / "shares.png"
    found = run(source, "--by", "Land", "--labels", "--figure", figure)
    out = capsys.readouterr().out
    decided = [int(row["predicted_face"]) for row in found]
    line = next(line for line in out.splitlines() if line.strip().startswith("Face"))
    shares = [np.mean(decided), (decided[0] + decided[2]) / 2, decided[1]]
    assert line.split()[1::2][0] == str(sum(decided))
    assert [int(word) for word in line.split()[2::2]] == [round(100 * share) for share in shares]
    f1 = 2 * sum(decided) / (sum(decided) + 3)
    assert f"Agreement with the hand labels of 3 rows: macro F1 {f1:.2f}" in out
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert [row["face"] for row in found] == ["1"] * 3


def test_hand_labels_by_the_values_names(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`valueeval score` reads what `predict --labels` wrote, and training reads the hand labels."""
    source = tmp_path / "in.csv"
    rows = [(*row, *["1", "0"] * 10) for row in TREES]
    source.write_text(
        delimited(",", ("Premise", "Conclusion", "Stance", *VALUE_NAMES), rows), newline=""
    )
    found = run(source, "--labels")
    assert [row["Face"] for row in found] == [rows[0][3 + VALUE_NAMES.index("Face")]] * 3
    report = table_report(str(source.with_stem("in-labelled")))
    truth = np.array([[True, False] * 10] * 3)
    decided = np.array([[row[f"predicted_{slug}"] == "1" for slug in VALUE_SLUGS] for row in found])
    assert report["macro_f1"] == score(truth, decided)["macro_f1"]
    mixed = delimited(",", (*VALUE_NAMES, *VALUE_SLUGS), [["1"] * 40] * 3)
    source.write_text(mixed, newline="")
    with pytest.raises(
        ValueEvalError, match="two columns for one value, 'Self-direction: thought'"
    ):
        table_report(str(source), str(source.with_stem("in-labelled")))


def test_columns_of_ids_are_refused_before_anything_is_labelled(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_load", None)
    source = tmp_path / "in.csv"
    source.write_text("id,text\n" + "".join(f"{n},We care about it\n" for n in range(1001)))
    told = refusal(adapter, source, "--by", "id")
    assert told.startswith("Column 'id' has more than 1000 different entries")


def test_an_answer_that_the_encoding_cannot_hold_ends_no_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(NamingModel):
        rows_at_once = None

        def label(self, arguments: Sequence[Argument]) -> NamedValues:
            told = ["the answer cannot be read: → \N{DOG}"] * len(arguments)
            return NamedValues(super().label(arguments).decided, told)

    monkeypatch.setattr(cli, "_load", lambda options, texts: Odd())
    source = tmp_path / "in.csv"
    source.write_bytes("text;note\nBäume für alle;x\n".encode("cp1252"))
    (row,) = run(source)
    assert (row["text"], row["problem"]) == ("Bäume für alle", "the answer cannot be read: ? ?")


def test_notes_on_what_models_cannot_do(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "t.csv"
    source.write_text("text\n" + "Die Bäume spenden im Sommer allen Leuten Schatten.\n" * 3)
    run(source)
    assert "3 of 3 texts do not look English" in capsys.readouterr().err
    source.write_text("text\n" + "word " * 500 + "\n")
    run(source, "--overwrite")
    assert "1 text is longer than 96 tokens and was cut" in capsys.readouterr().err


def test_help_says_what_not_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Do not use them to judge or to select persons" in text


# ------------------------------------------------------------------------------------ hostile


def test_formulas_do_not_reach_excel(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    evil = "=cmd|'/c calc'!A0 and we all must pay"
    source.write_text(delimited(",", ("text", "@note"), [(evil, "+1+1"), ("We must act", "-3")]),
                      newline="")  # fmt: skip
    run(source, "-o", tmp_path / "o.csv", "--for-excel")
    content = (tmp_path / "o.csv").read_bytes().decode("utf-8-sig")
    header, one, two = csv.reader(io.StringIO(content, newline=""))
    assert header[:2] == ["text", "'@note"]
    assert (one[:2], two[:2]) == ([f"'{evil}", "'+1+1"], ["We must act", "-3"])
    run(source, "--for_excel", "-o", tmp_path / "o.xlsx")
    sheet = load_workbook(tmp_path / "o.xlsx").active
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n", "inlineStr"}
    assert sheet["A2"].value == evil


def test_escape_sequences_are_not_obeyed(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "t.csv"
    source.write_text("id,\x1b[2Jtext\n1,We must plant trees for all\n")
    words = [str(source), "--adapter", str(adapter), "--device", "cpu"]
    assert cli.main(words) == 0
    assert "\x1b[2J" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", b"", "in.csv: there is no row in it."),
        ("in.csv", b"Premise,Conclusion,Stance\n", "in.csv: there is no row in it."),
        ("in.jsonl", b"", "there is no row in it"),
        ("in.jsonl", b"{\n", "in.jsonl: no line can be read. line 1: not valid JSON: "),
        ("in.csv", b'text,n\n"p,1\n"a, b",2\n', "line 2: the cells of this row do not end"),
        ("in.csv", b"text,face\nWe all must act,1\n", "'face' is there already. Name the added"),
        ("in.csv", b"text,face\nWe all must act,1\n", "If they are hand labels, --labels compares"),
        ("in.xls", b"\xd0\xcf\x11\xe0", "an old Excel file"),
        ("in.docx", b"x", "the format is not clear from the name"),
    ],
)
def test_refused_tables(
    adapter: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert message in refusal(adapter, path, "-o", tmp_path / "out.csv")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_refused_files(adapter: Path, tmp_path: Path) -> None:
    source = official(tmp_path / "in.csv")
    out = tmp_path / "out.csv"
    out.write_text("before")
    assert "exists already" in refusal(adapter, source, "-o", out)
    assert "this is a folder" in refusal(adapter, source, "-o", tmp_path, "--output_format", "csv")
    assert "cannot be read" in refusal(adapter, tmp_path / "no.csv")
    assert "cannot be written" in refusal(adapter, source, "-o", tmp_path / "no" / "x.csv")
    assert "format is not clear" in refusal(adapter, source, "-o", tmp_path / "x.doc")
    assert "no such adapter" in refusal(tmp_path / "no", source)
    assert "no column 'x' (--by). Columns:" in refusal(adapter, source, "--by", "x")
    assert "(--by); did you mean Premise? Columns:" in refusal(adapter, source, "--by", "premis")
    assert "no column is called like a value" in refusal(adapter, source, "--labels")
    assert "--figure x.jpg" in refusal(adapter, source, "--figure", "x.jpg")
    assert out.read_text() == "before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.csv", "out.csv"]
    for words in ([], ["t.csv", "--text", "x"]):
        with pytest.raises(SystemExit):
            cli.main([*words, "--adapter", "a"])


def test_overwrite_and_prefix(run: Run, tmp_path: Path) -> None:
    source = official(tmp_path / "in.csv")
    run(source)
    run(source, "--overwrite")
    assert len(run(source, "-o", source, "--overwrite")) == 3  # even itself
    again = run(source, "-o", tmp_path / "again.csv", "--prefix", "second_")
    assert [row["face"] for row in again] == [row["second_face"] for row in again]


# ------------------------------------------------------------------------------------- pipes


@pytest.mark.slow
def test_as_a_command(adapter: Path, tmp_path: Path) -> None:
    """From a shell: a pipe in, a pipe out, a user error as two lines with status 2."""
    source = official(tmp_path / "in.csv")
    command = [sys.executable, "-m", "valueeval", "predict", "--adapter", str(adapter)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "-", "--output_format", "jsonl"], input=source.read_bytes(),
        capture_output=True, env=environment, timeout=120, check=True,
    )  # fmt: skip
    assert [json.loads(line)["Premise"] for line in done.stdout.splitlines()] == PREMISES
    assert b"3 of 3 rows labelled: standard output" in done.stderr
    failed = subprocess.run(
        [*command, str(source), "-o", "out.docx"], capture_output=True, text=True, env=environment,
        timeout=120, check=False,
    )  # fmt: skip
    assert failed.returncode == 2
    assert failed.stderr.startswith("valueeval predict: out.docx: the format is not clear")
    assert "Traceback" not in failed.stderr


def test_from_stdin_to_stdout(
    adapter: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:  # fmt: skip
    source = official(tmp_path / "in.csv")
    run(source)
    capsysbinary.readouterr()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
    assert cli.main(["-", "--adapter", str(adapter), "--device", "cpu"]) == 0
    assert capsysbinary.readouterr().out == (tmp_path / "in-labelled.csv").read_bytes()
    print("still open")
