"""``valueeval predict``: tables in and out, columns, stances, refusals, whole files only."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from killing import killed
from tiny_adapters import write_adapter

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.predict import cli as cli_predict
from valueeval.adapters.predict import predict
from valueeval.adapters.predict.predict import (
    OUTPUT_COLUMNS,
    Columns,
    Source,
    label,
    whole_file,
)
from valueeval.adapters.predict.tables import format_of, read_rows, writer_of
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_SLUGS

ARGUMENTS = [
    {
        "id": "a",
        "Premise": "Trees, they say, give shade",
        "Conclusion": "Plant trees",
        "Stance": "pro",
    },
    {"id": "b", "Premise": 'They are "messy"', "Conclusion": "Plant trees", "Stance": "CON"},
    {
        "id": "ü",
        "Premise": "Shade is nice",
        "Conclusion": "Plant trees",
        "Stance": " In  favour of",
    },
]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    return write_adapter(tmp_path_factory.mktemp("runs") / "tiny", tiny_bert)


def write_table(path: Path, rows: Sequence[dict[str, Any]] = ARGUMENTS) -> Path:
    writer = writer_of(path.suffix[1:])
    path.write_text("".join(writer.text(row, "") for row in rows), encoding="utf-8")
    return path


def read_table(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as stream:
        return [row for _, row in read_rows(stream, path.name, path.suffix[1:])]


@pytest.fixture
def labelled(adapter: Path, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Runs the command on a file of tmp_path, returns the rows of what it wrote."""

    def run(source: Path, output: str = "out.jsonl", *flags: str) -> list[dict[str, Any]]:
        out = tmp_path / output
        argv = [str(source), "--adapter", str(adapter), "-o", str(out), "--device", "cpu", *flags]
        assert cli_predict.main(argv) == 0
        return read_table(out)

    return run


Labelled = Callable[..., list[dict[str, Any]]]


def test_labels_are_the_adapters(labelled: Labelled, adapter: Path, tmp_path: Path) -> None:
    rows = labelled(write_table(tmp_path / "in.tsv"))
    classifier = load_classifier(adapter, "cpu")
    stances = ("in favor of", "against", "in favor of")
    arguments = [
        Argument("", row["Conclusion"], stance, row["Premise"])
        for row, stance in zip(ARGUMENTS, stances, strict=True)
    ]
    logits = classifier.logits(arguments).astype(float)
    decisions = classifier.manifest.thresholds.decide(logits)
    assert 0 < decisions.mean() < 1
    for row, z, decided in zip(rows, logits, decisions, strict=True):
        assert tuple(row) == (*ARGUMENTS[0], *OUTPUT_COLUMNS)
        assert [row[f"p_{s}"] for s in VALUE_SLUGS] == pytest.approx(1 / (1 + np.exp(-z)), rel=1e-4)
        assert [row[s] for s in VALUE_SLUGS] == decided.astype(int).tolist()


@pytest.mark.parametrize("given_format", ["tsv", "csv", "jsonl"])
@pytest.mark.parametrize("wanted_format", ["tsv", "csv", "jsonl"])
def test_every_format_into_every_format(
    labelled: Labelled, tmp_path: Path, given_format: str, wanted_format: str
) -> None:
    expected = labelled(write_table(tmp_path / "in.jsonl"), "expected.jsonl")
    rows = labelled(write_table(tmp_path / f"in.{given_format}"), f"out.{wanted_format}")
    if wanted_format != "jsonl":
        expected = [{key: str(value) for key, value in row.items()} for row in expected]
    assert rows == expected


def test_order_is_kept_over_batches_and_chunks(
    labelled: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [
        {"id": str(i), "Premise": "word " * (i % 7 + 1), "Conclusion": "c", "Stance": "for"}
        for i in range(23)
    ]
    source = write_table(tmp_path / "in.csv", many)
    expected = labelled(source, "a.jsonl", "--batch-size", "1")
    monkeypatch.setattr(predict, "CHUNK", 5)
    rows = labelled(source, "b.jsonl", "--batch-size", "4")
    assert [row["id"] for row in rows] == [row["id"] for row in many]
    for row, other in zip(rows, expected, strict=True):
        for slug in VALUE_SLUGS:
            assert row[f"p_{slug}"] == pytest.approx(other[f"p_{slug}"], rel=1e-4)
            assert row[slug] == other[slug]


def test_columns_by_other_names(labelled: Labelled, tmp_path: Path) -> None:
    expected = labelled(write_table(tmp_path / "in.csv"), "a.jsonl")
    mine = [
        {"text": r["Premise"], "topic": r["Conclusion"], "side": r["Stance"]} for r in ARGUMENTS
    ]
    flags = ("--premise", "text", "--conclusion", "topic", "--stance", "side")
    rows = labelled(write_table(tmp_path / "mine.csv", mine), "b.jsonl", *flags)
    lower = [{key.lower(): value for key, value in row.items()} for row in ARGUMENTS]
    small = labelled(write_table(tmp_path / "lower.csv", lower), "c.jsonl")
    for one, two, three in zip(expected, rows, small, strict=True):
        assert [one[c] for c in OUTPUT_COLUMNS] == [two[c] for c in OUTPUT_COLUMNS]
        assert [one[c] for c in OUTPUT_COLUMNS] == [three[c] for c in OUTPUT_COLUMNS]


def test_files_of_spreadsheets(labelled: Labelled, tmp_path: Path) -> None:
    """A byte order mark, Windows line ends, line breaks inside quotes, an empty line at the end."""
    path = tmp_path / "in.csv"
    path.write_bytes(
        b'\xef\xbb\xbfPremise,Conclusion,Stance\r\n"one,\r\ntwo",c,for\r\nx,c,against\r\n\r\n'
    )
    rows = labelled(path)
    assert [row["Premise"] for row in rows] == ["one,\r\ntwo", "x"]


def test_from_stdin_to_stdout(
    adapter: Path,
    tmp_path: Path,
    labelled: Labelled,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    source = write_table(tmp_path / "in.csv")
    labelled(source, "out.csv")
    capsysbinary.readouterr()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(source.read_bytes())))
    argv = ["-", "--adapter", str(adapter), "-o", "-", "--input-format", "csv", "--device", "cpu"]
    assert cli_predict.main(argv) == 0
    assert capsysbinary.readouterr().out == (tmp_path / "out.csv").read_bytes()
    print("still open")


# ------------------------------------------------------------------------------------ refusals


def refused(adapter: Path, argv: Sequence[object]) -> str:
    with pytest.raises(ValueEvalError) as caught:
        cli_predict.main([*map(str, argv), "--adapter", str(adapter), "--device", "cpu"])
    return str(caught.value)


HEADER = "Premise\tConclusion\tStance\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "in.tsv: there is no argument in it."),
        (HEADER, "in.tsv: there is no argument in it."),
        ("Premise\tStance\np\tfor\n", "no column 'Conclusion': name the one that holds"),
        ("Premise\tConclusion\np\tc\n", "add a column that says it. Columns: 'Premise', 'Conclus"),
        ("PREMISE\tpremise\tConclusion\tStance\na\tb\tc\tfor\n", "choose by --premise"),
        ("Premise\tPremise\na\tb\n", "line 1: column 'Premise' is there twice"),
        (HEADER + "p\tc\tfor\np\tc\n", "in.tsv, line 3: 2 fields where the first line has 3"),
        (
            HEADER + "p\tc\tfor\n \tc\tfor\n",
            "in.tsv, line 3, column 'Premise': the premise is empty",
        ),
        (HEADER + "p\t\tfor\n", "in.tsv, line 2, column 'Conclusion': the conclusion is empty"),
        (HEADER + "p\tc\tmaybe\n", "in.tsv, line 2, column 'Stance': 'maybe' is no stance. Known"),
        (
            "Premise\tConclusion\tStance\thedonism\np\tc\tfor\t1\n",
            "line 2: column 'hedonism' is there already",
        ),
    ],
)
def test_refused_tables(adapter: Path, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "in.tsv"
    path.write_text(text)
    assert message in refused(adapter, [path, "-o", tmp_path / "out.tsv"])
    assert [file.name for file in tmp_path.iterdir()] == ["in.tsv"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", b'Premise,Conclusion,Stance\n"p,c,for\n', "line 2: not valid CSV"),
        ("in.csv", b"Premise,Conclusion,Stance\np,c,for\n\xff,c,for\n", "not UTF-8 text"),
        ("in.jsonl", b'{"premise": "p"\n', "line 1: not valid JSON"),
        ("in.jsonl", b"[1]\n", "line 1: not a JSON object"),
        ("in.jsonl", b'\n{"premise": NaN}\n', "line 2: not valid JSON: NaN is no JSON number"),
        (
            "in.jsonl",
            b'{"premise": "\\ud800", "conclusion": "c", "stance": "for"}\n',
            "line 1: not valid JSON",
        ),
        (
            "in.jsonl",
            b'{"premise": ["p"], "conclusion": "c", "stance": "for"}\n',
            "line 1, column 'premise': the premise is not text",
        ),
        (
            "in.jsonl",
            b'{"premise": "p", "conclusion": "c", "stance": "for"}\n{"premise": "p"}\n',
            "line 2, column 'conclusion': the conclusion is empty",
        ),
        (
            "in.jsonl",
            b'{"premise": "p\\tq", "conclusion": "c", "stance": "for"}\n',
            "line 1: a tab or line break inside a field, which TSV cannot hold",
        ),
        (
            "in.jsonl",
            b'{"premise": "p", "conclusion": "c", "stance": "for"}\n'
            b'{"premise": "p", "conclusion": "c", "stance": "for", "more": 1}\n',
            "line 2: field 'more' is not in every line",
        ),
    ],
)
def test_refused_formats(
    adapter: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert message in refused(adapter, [path, "-o", tmp_path / "out.tsv"])
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_refused_files(adapter: Path, tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.csv")
    out = tmp_path / "out.csv"
    out.write_text("before")
    assert "exists already" in refused(adapter, [source, "-o", out])
    assert "this is a folder" in refused(
        adapter, [source, "-o", tmp_path, "--output-format", "csv"]
    )
    assert "cannot be read" in refused(adapter, [tmp_path / "no.csv", "-o", tmp_path / "x.csv"])
    assert "cannot be written" in refused(adapter, [source, "-o", tmp_path / "no" / "x.csv"])
    assert "format is not clear" in refused(adapter, [source, "-o", tmp_path / "x.xlsx"])
    assert "--input-format" in refused(adapter, ["-", "-o", out])
    assert "Did you mean 'Premise'?" in refused(
        adapter, [source, "-o", tmp_path / "x.csv", "--premise", "premis"]
    )
    assert "no such adapter" in refused(tmp_path / "no", [source, "-o", tmp_path / "x.csv"])
    assert out.read_text() == "before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_overwrite(labelled: Labelled, tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.csv")
    labelled(source, "out.csv")
    assert len(labelled(source, "out.csv", "--overwrite")) == 3
    assert len(labelled(source, "in.csv", "--overwrite")) == 3  # even itself


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"

    def interrupted() -> None:
        with whole_file(str(out), overwrite=False) as write:
            write("half")
            assert not out.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_hundred_kills_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "CHUNK", 100)
    many = [{**ARGUMENTS[0], "id": str(number)} for number in range(500)]
    source, out = write_table(tmp_path / "in.tsv", many), tmp_path / "out.tsv"

    def logits(arguments: Sequence[Argument]) -> npt.NDArray[np.float32]:
        return np.zeros((len(arguments), 20), dtype=np.float32)

    def run() -> None:
        with whole_file(str(out), overwrite=True) as write:
            label(
                Source(str(source), "tsv", Columns()),
                write,
                writer_of("tsv"),
                logits,
                np.zeros(20),
                lambda rows: None,
            )

    began = time.monotonic()
    run()
    lasts = time.monotonic() - began
    whole = out.read_bytes()
    assert [row["id"] for row in read_table(out)] == [row["id"] for row in many]
    moments, half_way = np.random.default_rng(1), 0
    for number in range(100):
        if number % 2:
            out.unlink(missing_ok=True)
        killed(run, 1.2 * lasts, moments)
        left = {path.name for path in tmp_path.iterdir()} - {"in.tsv", "out.tsv"}
        assert len(left) <= 1  # that of the last kill
        half_way += bool(left)
        assert not out.exists() or out.read_bytes() == whole
    assert half_way > 10
    run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tsv", "out.tsv"]
    assert out.read_bytes() == whole


def test_broken_model(tmp_path: Path) -> None:
    source = Source(str(write_table(tmp_path / "in.csv")), "csv", Columns())
    broken = lambda arguments: np.full((len(arguments), 20), np.nan)  # noqa: E731
    with pytest.raises(ValueEvalError, match="not finite"):
        label(source, print, writer_of("csv"), broken, np.zeros(20), print)


# --------------------------------------------------------------------------------------- tables

texts = st.text(st.characters(exclude_categories=("Cs",)))
cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\t\r\n"), min_size=1)


@given(st.lists(st.tuples(texts, texts, texts), min_size=1))
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_any_text_survives(form: str, rows: list[tuple[str, str, str]]) -> None:
    table = [dict(zip(("a", "b", "c"), row, strict=True)) for row in rows]
    writer = writer_of(form)
    content = "".join(writer.text(row, "") for row in table).encode()
    assert [row for _, row in read_rows(io.BytesIO(content), "t", form)] == table


@given(st.lists(st.tuples(cells, cells), min_size=1))
def test_tsv_keeps_everything_but_tabs_and_line_breaks(rows: list[tuple[str, str]]) -> None:
    table = [dict(zip(("a", "b"), row, strict=True)) for row in rows]
    writer = writer_of("tsv")
    content = "".join(writer.text(row, "") for row in table).encode()
    assert [row for _, row in read_rows(io.BytesIO(content), "t", "tsv")] == table


def test_csv_is_what_python_reads(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", [{"a": 'x"y', "b": None}, {"a": "1,2", "b": [1]}])
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], ['x"y', ""], ["1,2", "[1]"]]


def test_formats_by_name() -> None:
    assert format_of("a.b/C.TSV", None, "--x") == "tsv"
    assert format_of("-", "jsonl", "--x") == "jsonl"
    with pytest.raises(ValueEvalError, match=r"\.tsv, \.csv, \.jsonl; or say it by --x"):
        format_of("a.json", None, "--x")


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    row = json.dumps({"premise": "p" * 500, "conclusion": "c", "stance": "for"}) + "\n"
    peaks = []
    for copies in (2_100, 5_200):
        path = tmp_path / f"{copies}.jsonl"
        with path.open("w") as file:
            file.writelines(row for _ in range(copies))
        source = Source(str(path), "jsonl", Columns())
        written: list[int] = []
        tracemalloc.start()
        count = label(
            source,
            lambda text, written=written: written.append(0),
            writer_of("jsonl"),
            lambda arguments: np.zeros((len(arguments), 20), dtype=np.float32),
            np.zeros(20),
            lambda rows: None,
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == len(written) == copies
    assert peaks[1] < 1.1 * peaks[0] + 100_000


@pytest.mark.slow
def test_as_a_command(adapter: Path, tmp_path: Path) -> None:
    """From a shell: a pipe in, a pipe out, a user error as two lines with status 2."""
    source = write_table(tmp_path / "in.csv")
    command = [sys.executable, "-m", "valueeval", "predict", "--adapter", str(adapter)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "-", "-o", "-", "--input-format", "csv", "--output-format", "jsonl"],
        input=source.read_bytes(), capture_output=True, env=environment, timeout=120, check=True,
    )  # fmt: skip
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["a", "b", "ü"]
    failed = subprocess.run(
        [*command, str(source), "-o", "out.xlsx"], capture_output=True, text=True, env=environment,
        timeout=120, check=False,
    )  # fmt: skip
    assert failed.returncode == 2
    assert failed.stderr.startswith("valueeval predict: out.xlsx: the format is not clear")
    assert "Traceback" not in failed.stderr
