"""`valueeval data verify` and `info` (`fetch`: test_fetch.py)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from valueeval.tasks.commands import data as cli_data
from valueeval.tasks.data import official
from valueeval.tasks.data.official import OFFICIAL_FILES, OfficialFile, verify_folder
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES, VALUE_SLUGS

HEADER = "Argument ID\tConclusion\tStance\tPremise\n"
LABEL_HEADER = "\t".join(["Argument ID", *VALUE_NAMES]) + "\n"

# Premises of 1, 2, 3 and 10 words; two conclusions of 2 words and one of 3; one stance against.
ROWS = (
    "X1\tSing more\tin favor of\tone\n"
    "X2\tSing more\tin favor of\tone two\n"
    "X3\tDance more\tagainst\tone two three\n"
    "X4\tDance much more\tin favor of\tone two three four five six seven eight nine ten\n"
)


def label_row(one: str, *positive: int) -> str:
    return "\t".join([one, *("1" if index in positive else "0" for index in range(20))]) + "\n"


# Value 0 three times, value 19 once, X4 with none: 4 labels for 4 arguments.
LABELS = label_row("X1", 0) + label_row("X2", 0, 19) + label_row("X3", 0) + label_row("X4")

SUFFIXES = (
    "training",
    "validation",
    "test",
    "validation-zhihu",
    "test-nahjalbalagha",
    "test-nyt",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own with all six sets, found by the variable."""
    for suffix in SUFFIXES:
        (tmp_path / f"arguments-{suffix}.tsv").write_text(HEADER + ROWS, encoding="utf-8")
        (tmp_path / f"labels-{suffix}.tsv").write_text(LABEL_HEADER + LABELS, encoding="utf-8")
    monkeypatch.setenv("VALUEEVAL_DATA", str(tmp_path))
    return tmp_path


# info


def test_info_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_data.main(["info", "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert list(described) == ["training", "validation", "main", "zhihu", "nahjalbalagha", "nyt"]
    main = described["main"]
    values = main.pop("values")
    assert list(values) == list(VALUE_SLUGS)
    assert values["self_direction_thought"] == {"count": 3, "share": 0.75}
    assert values["universalism_objectivity"] == {"count": 1, "share": 0.25}
    assert values["face"] == {"count": 0, "share": 0.0}
    assert len(main.pop("sha256")) == 64
    assert main == {
        "official": False,
        "arguments": 4,
        "stance": {"in favor of": 3, "against": 1},
        "conclusions": 3,
        "largest_cluster": 2,
        "unlabelled": 1,
        "values_per_argument": 1.0,
        "words": {
            "premise": {"median": 2.5, "p95": 10, "max": 10},
            "conclusion": {"median": 2.0, "p95": 3, "max": 3},
        },
    }


def test_info_of_one_set_has_bars(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli_data.main(["info", "--set", "main"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert max(map(len, lines)) <= 80
    shown = {line[:27].strip(): line[27:].split() for line in lines}
    assert shown["total"] == ["4"]
    assert shown["as published"] == ["no"]
    assert shown["in favor of / against"] == ["75/25%"]
    share, count, bar = shown["Self-direction: thought"]
    assert (share, count) == ("75.0%", "3")
    assert set(bar) == {"█"}
    assert len(bar) == 3 * len(shown["Universalism: objectivity"][2])
    assert shown["Face"] == ["0.0%", "0"]


@pytest.mark.parametrize("columns", [80, 120])
def test_info_of_all_sets_fits(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert cli_data.main(["info", str(folder)]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert max(map(len, lines)) <= columns
    for value in VALUE_NAMES:  # nothing cut off or wrapped
        (line,) = (line for line in lines if line.startswith(value))
        assert line.count("%") == 6


def test_info_of_the_sample_sets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VALUEEVAL_DATA", str(tmp_path / "absent"))
    sets = ["--set", "sample_training", "--set", "sample_validation", "--set", "sample"]
    assert cli_data.main(["info", *sets]) == 0
    (line,) = (line for line in capsys.readouterr().out.split("\n") if "as published" in line)
    assert line.split()[2:] == ["sample"] * 3


def test_info_names_the_sets_that_are_not_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "arguments-test-nyt.tsv").unlink()
    assert cli_data.main(["info"]) == 0
    assert "Not in this folder: nyt." in capsys.readouterr().out


def test_info_of_nothing_whole(folder: Path) -> None:
    for suffix in SUFFIXES:
        (folder / f"labels-{suffix}.tsv").unlink()
    with pytest.raises(ValueEvalError, match="no set has both its arguments file"):
        cli_data.main(["info"])


def test_info_of_a_malformed_set(folder: Path) -> None:
    (folder / "labels-test.tsv").write_bytes(b"")
    with pytest.raises(ValueEvalError, match=r"labels-test\.tsv: the file is empty"):
        cli_data.main(["info"])


# verify


def state_of(folder: Path, file: OfficialFile) -> tuple[str, str]:
    (found,) = (one for one in verify_folder(folder) if one.file == file)
    return found.state, found.detail


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> OfficialFile:
    """One published file, of two lines."""
    file = OfficialFile("arguments-test.tsv", hashlib.sha256(b"a\nb\n").hexdigest(), 4)
    monkeypatch.setattr(official, "OFFICIAL_FILES", (file,))
    return file


@pytest.mark.parametrize(
    ("content", "state", "detail"),
    [
        (b"a\nb\n", "ok", ""),
        (None, "missing", ""),
        (b"a\n", "truncated", "2 of 4 bytes"),
        (b"", "truncated", "0 of 4 bytes"),
        (b"a\nc\n", "changed", "SHA-256 "),
        (b"a\nb\nc\n", "changed", "SHA-256 "),
        (b"a\r\nb\r\n", "changed", "line ends became CRLF (Windows)"),
    ],
)
def test_verify_tells_what_is_wrong(
    tmp_path: Path, published: OfficialFile, content: bytes | None, state: str, detail: str
) -> None:
    if content is not None:
        (tmp_path / published.name).write_bytes(content)
    found, why = state_of(tmp_path, published)
    assert found == state
    assert why.startswith(detail)


def test_verify_names_the_earlier_release(
    tmp_path: Path, published: OfficialFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = hashlib.sha256(b"A1\tin favour of\n").hexdigest()
    monkeypatch.setitem(official.EARLIER_SHA256, published.name, earlier)
    (tmp_path / published.name).write_bytes(b"A1\tin favour of\n")
    assert state_of(tmp_path, published) == (
        "changed",
        "the earlier release, Zenodo record 7550385",
    )


def test_verify_what_cannot_be_read(tmp_path: Path, published: OfficialFile) -> None:
    (tmp_path / published.name).mkdir()
    assert state_of(tmp_path, published)[0] == "unreadable"


def test_verify_command(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (folder / "arguments-test-nyt.tsv").unlink()
    assert cli_data.main(["verify"]) == 1
    lines = capsys.readouterr().out.split("\n")
    for file in OFFICIAL_FILES:
        (line,) = (line for line in lines if line[3:].split(" ")[0] == file.name)
        assert len(line) <= 80
    assert f"12 of 13 files are not as published: {folder}" in lines


def test_verify_explains_the_times(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nyt = OfficialFile("arguments-test-nyt.tsv", "0" * 64, None, distributed=False)
    monkeypatch.setattr(official, "OFFICIAL_FILES", (nyt,))
    assert cli_data.main(["verify", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert "nyt-downloader" in shown
    assert "data fetch" not in shown
    (folder / nyt.name).unlink()
    assert cli_data.main(["verify", str(folder)]) == 0
    assert "optional, not distributed" in capsys.readouterr().out


def test_verify_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueEvalError, match="does not exist"):
        cli_data.main(["verify", str(tmp_path / "absent")])


@pytest.mark.parametrize("arguments", [[], ["fetsh"], ["info", "--nosuch"], ["verify", "a", "b"]])
def test_bad_use_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli_data.main(arguments)
    assert caught.value.code == 2
    assert "(valueeval data" in capsys.readouterr().err


def test_terminals_without_unicode(folder: Path) -> None:
    for arguments in (["verify"], ["info"], ["info", "--set", "main"]):
        done = subprocess.run(
            [sys.executable, "-m", "valueeval", "data", *arguments],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )
        assert done.stderr == b""
        assert done.stdout.isascii()


# The real data


def test_real_files_are_as_published(real_data_dir: Path) -> None:
    states = {one.file.name: one for one in verify_folder(real_data_dir)}
    assert {one.state for one in states.values()} <= {"ok", "missing", "absent"}
    for name in ("training", "validation", "test"):
        assert states[f"arguments-{name}.tsv"].state == "ok"
        assert states[f"labels-{name}.tsv"].state == "ok"


@pytest.mark.parametrize("name", ["training", "validation", "test"])
def test_the_earlier_release_is_recognised(
    name: str, real_data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It spelled «favour» in the stances of the arguments D03…, and in three training premises."""
    lines = (real_data_dir / f"arguments-{name}.tsv").read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines):
        start, stance, premise = line.partition("\tin favor of\t")
        if line.startswith("D03"):
            lines[number] = start + stance.replace("favor", "favour") + premise
        elif line.startswith(("A19254\t", "A20348\t", "A22362\t")):
            lines[number] = start + stance + premise.replace("in favor of", "in favour of")
    earlier = tmp_path / f"arguments-{name}.tsv"
    earlier.write_text("\n".join(lines), encoding="utf-8", newline="")
    (state,) = (one for one in verify_folder(tmp_path) if one.file.name == earlier.name)
    assert state.detail == "the earlier release, Zenodo record 7550385"
    shutil.copy(real_data_dir / f"labels-{name}.tsv", tmp_path)
    with pytest.raises(ValueEvalError, match=r"earlier release \(Zenodo .*`valueeval data fetch`"):
        cli_data.main(["info", str(tmp_path)])


def test_real_data_cut_short(real_data_dir: Path, tmp_path: Path) -> None:
    content = (real_data_dir / "arguments-test.tsv").read_bytes()
    (tmp_path / "arguments-test.tsv").write_bytes(content[:1000])
    (state,) = (one for one in verify_folder(tmp_path) if one.file.name == "arguments-test.tsv")
    assert (state.state, state.detail) == ("truncated", "1000 of 290185 bytes")


def test_real_label_distribution(real_data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_data.main(["info", str(real_data_dir), "--set", "main", "--json"]) == 0
    main = json.loads(capsys.readouterr().out)["main"]
    assert main["official"]
    assert sum(value["count"] for value in main["values"].values()) == 4771
    # Every value for every argument: precision of a value is its share (DESIGN: 0.2629…, 0.2484…).
    shares = [value["share"] for value in main["values"].values()]
    precision = sum(shares) / 20
    assert 2 * precision / (precision + 1) == pytest.approx(0.26293020308, abs=1e-10)
    f1 = sum(2 * share / (share + 1) for share in shares) / 20
    assert f1 == pytest.approx(0.24842634517, abs=1e-10)
