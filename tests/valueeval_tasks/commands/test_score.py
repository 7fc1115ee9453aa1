"""``valueeval score`` and ``valueeval export``: run files, logged samples, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valueeval.tasks.commands import export as cli_export
from valueeval.tasks.commands import score as cli_score
from valueeval.tasks.data.dataset import ARGUMENT_COLUMNS, LABEL_COLUMNS
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.runfile import read_run, write_run
from valueeval.tasks.scores.scoring import METRICS
from valueeval.tasks.values import VALUE_NAMES, VALUE_SLUGS

# Four arguments on two conclusions; the values are columns of test_scoring's hand-counted case.
IDS = ("A1", "A2", "A3", "A4")
CONCLUSIONS = ("We should", "We should", "We must not", "We must not")
TRUTH = np.array([[v in s for v in range(20)] for s in ({0, 1}, {1}, {2}, set())])
PREDICTION = np.array([[v in s for v in range(20)] for s in ({0, 1}, {0}, {3}, set())])


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.tsv"
    write_run(path, IDS, TRUTH)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run.tsv"
    write_run(path, IDS[::-1], PREDICTION[::-1])  # joined on the id, not on position
    return path


@pytest.fixture
def arguments(tmp_path: Path) -> Path:
    path = tmp_path / "arguments.tsv"
    lines = ["Argument ID\tConclusion\tStance\tPremise"]
    for id, conclusion in zip(IDS, CONCLUSIONS, strict=True):
        lines.append(f"{id}\t{conclusion}\tagainst\tbecause")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def bca_sample(row: int) -> dict[str, Any]:
    """A line of a samples file as lm-eval writes it: numbers as strings, no then yes."""
    responses = []
    for value in range(20):
        yes = PREDICTION[row, value]
        responses += [["-0.5", "False"], ["-0.25" if yes else "-0.75", "False"]]
    doc = {
        "id": IDS[row],
        "conclusion": CONCLUSIONS[row],
        "stance": "against",
        "premise": "because",
        "labels": TRUTH[row].astype(int).tolist(),
    }
    return {"doc_id": row, "doc": doc, "filtered_resps": responses, "filter": "none", "bypass": 0}


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "samples_valueeval_bca_p2_zhihu_2026-01-01T00-00-00.jsonl"
    path.write_text("".join(json.dumps(bca_sample(row)) + "\n" for row in range(4)))
    return path


Command = Callable[..., dict[str, Any]]


@pytest.fixture
def scored(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command with --json and returns what it prints."""

    def command(*argv: object) -> dict[str, Any]:
        assert cli_score.main([*map(str, argv), "--json"]) == 0
        return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)

    return command


def test_run_against_labels(labels: Path, run: Path, scored: Command) -> None:
    report = scored("--labels", labels, "--run", run)
    assert report["n"] == 4
    assert report["official_f1"] == pytest.approx(1 / 2)
    assert report["macro_f1"] == pytest.approx(4 / 9)
    assert report["subset_accuracy"] == 0.5
    assert report["unparsed"] is None
    assert set(METRICS) <= set(report)
    assert report["per_value"][VALUE_SLUGS[0]] == {
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
        "support": 1,
        "predicted": 2,
    }
    assert report["per_value"][VALUE_SLUGS[3]]["f1"] is None


def test_interval_is_over_conclusions_if_they_are_known(
    labels: Path, run: Path, arguments: Path, scored: Command
) -> None:
    plain = scored("--labels", labels, "--run", run)
    assert (plain["interval"]["over"], plain["interval"]["units"]) == ("arguments", 4)
    known = scored("--labels", labels, "--run", run, "--arguments", arguments)
    assert (known["interval"]["over"], known["interval"]["units"]) == ("conclusions", 2)
    assert known["argument_interval"] == plain["argument_interval"]
    assert plain["macro_f1_stderr"] == plain["argument_interval"]["macro_f1_stderr"]
    assert known["macro_f1_stderr"] is None  # two conclusions are too few
    assert known["macro_f1_ci_low"] is None


def test_samples_of_predict_only_score_like_the_run(
    samples: Path, labels: Path, run: Path, arguments: Path, scored: Command
) -> None:
    from_samples = scored("--samples", samples)
    assert from_samples.pop("unparsed") == 0
    assert from_samples.pop("macro_ap") == 0.5
    from_run = scored("--labels", labels, "--run", run, "--arguments", arguments)
    assert from_run.pop("unparsed") is None
    assert from_run.pop("macro_ap") is None
    assert from_samples == from_run


def test_template_can_be_said(samples: Path, scored: Command) -> None:
    expected = scored("--samples", samples)
    renamed = samples.rename(samples.with_name("mine.jsonl"))
    with pytest.raises(ValueEvalError, match="does not say the task"):
        cli_score.main(["--samples", str(renamed)])
    assert scored("--samples", renamed, "--template", "bca") == expected


def test_tables_for_people(
    labels: Path, run: Path, arguments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli_score.main(["--labels", str(labels), "--run", str(run)])
    text = capsys.readouterr().out
    assert all(name in text for name in ("4 arguments", "official_f1", "macro_f1", *VALUE_NAMES))
    assert "0.4444" in text
    assert "nan" not in text.lower().split()
    assert "as if they were independent" in " ".join(text.split())
    cli_score.main(["--labels", str(labels), "--run", str(run), "--arguments", str(arguments)])
    assert "2 conclusions are too few" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--run", "r"],
        ["--labels", "l"],
        ["--samples", "s", "--run", "r"],
        ["--samples", "s", "--arguments", "a"],
        ["--labels", "l", "--run", "r", "--template", "cls"],
    ],
)
def test_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli_score.main(argv)
    assert caught.value.code == 2
    assert "either --labels and --run" in capsys.readouterr().err


def edited(run: Path, edit: Callable[[list[str]], None]) -> Path:
    lines = run.read_text().splitlines()
    edit(lines)
    run.write_text("\n".join(lines) + "\n")
    return run


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: lines.pop(), "argument A1 is in .*labels.tsv but not in the run"),
        (
            lambda lines: lines.__delitem__(slice(2, None)),
            r"3 arguments \(A1, A2, A3\) are in .*labels.tsv but not in the run",
        ),
        (
            lambda lines: lines.append("B9" + "\t0" * 20),
            "run.tsv, line 6: argument B9 is in the run but not in .*labels.tsv",
        ),
        (lambda lines: lines.append(lines[1]), "run.tsv, line 6.*A4.*line 2"),
        (
            lambda lines: lines.__setitem__(
                slice(None), [line.rsplit("\t", 20)[0] for line in lines]
            ),
            "'Self-direction: thought' is missing",
        ),
        (
            lambda lines: lines.__setitem__(0, lines[0].replace("Hedonism", "Hedonsim")),
            "unknown column 'Hedonsim'",
        ),
        (
            lambda lines: lines.__setitem__(2, lines[2].replace("1", "0.7")),
            "run.tsv, line 3.*'0.7'.*0 or 1",
        ),
        (lambda lines: lines.clear(), "run.tsv"),
    ],
)
def test_refused_runs(
    labels: Path, run: Path, edit: Callable[[list[str]], None], message: str
) -> None:
    edited(run, edit)
    with pytest.raises(ValueEvalError, match=message):
        cli_score.main(["--labels", str(labels), "--run", str(run)])


def test_missing_columns_are_named(
    labels: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited(run, lambda lines: lines.__setitem__(slice(None), [x[:-2] for x in lines[1:]]))
    run.write_text("\t".join(LABEL_COLUMNS[:-1]) + "\n" + run.read_text())
    assert cli_score.main(["--labels", str(labels), "--run", str(run), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["macro_f1"] == pytest.approx(4 / 9)  # its last value has no 1
    assert shown.err == (
        f"{run} has no column for: Universalism: objectivity. They count as not predicted.\n"
    )


def test_arguments_of_another_set_are_refused(labels: Path, run: Path, arguments: Path) -> None:
    edited(arguments, lambda lines: lines.pop(1))
    with pytest.raises(ValueEvalError, match=r"arguments.tsv: argument A1 of .* is missing"):
        cli_score.main(["--labels", str(labels), "--run", str(run), "--arguments", str(arguments)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("[1]\n", "line 1: not a JSON object"),
        (json.dumps(bca_sample(0)) + "\n" + json.dumps(bca_sample(1))[:99], "line 2: .*cut off"),
        (json.dumps(bca_sample(0)) * 2, "line 1: not valid JSON"),
        ((json.dumps(bca_sample(0)) + "\n") * 2, "line 2: argument A1 is there twice, first in"),
        (json.dumps({**bca_sample(0), "filtered_resps": [["-1", "False"]]}), "line 1: .* 80 "),
        (json.dumps({**bca_sample(0), "filtered_resps": None}), "line 1: not a sample"),
        (json.dumps({"doc": {}, "resps": []}), "line 1: not a sample of a ValueEval bca task"),
        (
            json.dumps({**bca_sample(0), "doc": {**bca_sample(0)["doc"], "id": "A\t1"}}),
            "no argument id",
        ),
        (
            json.dumps({**bca_sample(0), "doc": {**bca_sample(0)["doc"], "labels": [1]}}),
            "line 1: not a sample",
        ),
    ],
)
def test_refused_samples(samples: Path, text: str, message: str) -> None:
    samples.write_text(text)
    with pytest.raises(ValueEvalError, match=message):
        cli_score.main(["--samples", str(samples)])


def test_samples_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "samples_valueeval_cls_1.jsonl"
    with pytest.raises(ValueEvalError, match=r"cannot be read \(No such file"):
        cli_score.main(["--samples", str(path)])
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueEvalError, match="not UTF-8"):
        cli_score.main(["--samples", str(path)])


# ------------------------------------------------------------------------------------ export


def test_export_round_trip(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "exported.tsv"
    assert cli_export.main([str(samples), "-o", str(out)]) == 0
    assert out.read_text().splitlines()[0] == "\t".join(LABEL_COLUMNS)
    run = read_run(out)
    assert run.ids == IDS
    assert (run.prediction == PREDICTION).all()


def test_export_leaves_nothing_on_error(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "exported.tsv"
    out.write_text("before")
    with samples.open("a") as file:
        file.write("{")
    with pytest.raises(ValueEvalError, match="line 5"):
        cli_export.main([str(samples), "-o", str(out)])
    assert out.read_text() == "before"
    with pytest.raises(ValueEvalError, match="cannot be written"):
        write_run(tmp_path / "no" / "where.tsv", IDS, TRUTH)
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, samples.name]


def test_known_answer_on_the_released_test_labels(
    real_data_dir: Path, tmp_path: Path, scored: Command
) -> None:
    labels = real_data_dir / "labels-test.tsv"
    run = read_run(labels)
    write_run(tmp_path / "all.tsv", run.ids, np.ones_like(run.prediction))
    arguments = real_data_dir / "arguments-test.tsv"
    report = scored("--labels", labels, "--run", tmp_path / "all.tsv", "--arguments", arguments)
    assert report["official_f1"] == pytest.approx(0.26293020308, abs=1e-10)
    assert report["macro_f1"] == pytest.approx(0.24842634517, abs=1e-10)
    assert (report["n"], report["interval"]["units"]) == (1576, 103)


def test_run_files_written_on_windows_are_read(labels: Path, run: Path, scored: Command) -> None:
    plain = scored("--labels", labels, "--run", run)
    run.write_bytes(b"\xef\xbb\xbf" + run.read_bytes().replace(b"\n", b"\r\n"))
    assert scored("--labels", labels, "--run", run) == plain


MEASURE = """
import sys
from valueeval.cli import main
assert main(sys.argv[1:]) == 0
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peak, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_a_million_arguments_take_less_than_a_gigabyte(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["\t".join(row) for row in np.char.mod("%d", rng.random((1000, 20)) < 0.15)]
    for name in ("labels", "run"):
        with (tmp_path / f"{name}.tsv").open("w") as file:
            file.write("\t".join(LABEL_COLUMNS) + "\n")
            for number, row in enumerate(rng.integers(0, len(rows), 1_000_000)):
                file.write(f"A{number:07d}\t{rows[row]}\n")
    with (tmp_path / "arguments.tsv").open("w") as file:
        file.write("\t".join(ARGUMENT_COLUMNS) + "\n")
        for number in range(1_000_000):
            premise = f"because of reason number {number}, which is as long as reasons are"
            file.write(f"A{number:07d}\tConclusion {number % 100}\tagainst\t{premise}\n")
    files = [f"--{name}={tmp_path / name}.tsv" for name in ("labels", "run", "arguments")]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, "score", *files, "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["n"], report["interval"]["units"]) == (1_000_000, 100)
    kilobytes = int(done.stderr)
    assert kilobytes < 1_000_000
