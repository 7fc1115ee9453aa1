"""The reader of the official files: golden cases, every refusal, properties, the real data."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valueeval.tasks.data import dataset as data
from valueeval.tasks.data.dataset import (
    Argument,
    find_data_dir,
    load_set,
    read_arguments,
    read_labels,
)
from valueeval.tasks.data.official import OFFICIAL_SHA256
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES

HEADER = "Argument ID\tConclusion\tStance\tPremise\n"
LABEL_HEADER = "\t".join(["Argument ID", *VALUE_NAMES]) + "\n"
TWO = (
    Argument("X1", "We should sing", "in favor of", "singing is fun"),
    Argument("X2", "We should sing", "against", 'a "song" is only noise'),
)


def arguments_text(arguments: tuple[Argument, ...]) -> str:
    return HEADER + "".join(
        f"{one.id}\t{one.conclusion}\t{one.stance}\t{one.premise}\n" for one in arguments
    )


def labels_text(ids: list[str], labels: np.ndarray) -> str:
    return LABEL_HEADER + "".join(
        "\t".join([one, *("1" if label else "0" for label in row)]) + "\n"
        for one, row in zip(ids, labels, strict=True)
    )


def label_row(one: str, *positive: int) -> str:
    return "\t".join([one, *("1" if index in positive else "0" for index in range(20))]) + "\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of one's own with the main set: two arguments, values 3 and (0, 19)."""
    write(tmp_path / "arguments-test.tsv", arguments_text(TWO))
    labels = LABEL_HEADER + label_row("X1", 3) + label_row("X2", 0, 19)
    write(tmp_path / "labels-test.tsv", labels)
    return tmp_path


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Neither variable nor cache; returns where the cache would be."""
    monkeypatch.delenv("VALUEEVAL_DATA", raising=False)
    monkeypatch.setenv("VALUEEVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "touche23-valueeval"


# What is read


def test_texts_are_read_verbatim(folder: Path) -> None:
    assert read_arguments(folder / "arguments-test.tsv") == TWO


@pytest.mark.parametrize(
    "premise",
    ['"quoted as a whole"', '"open', 'close"', 'a ""doubled"" one', "it's", " spaces kept ", "\\t"],
)
def test_quotes_and_backslashes_are_plain_characters(tmp_path: Path, premise: str) -> None:
    content = HEADER + f"X1\tc\tagainst\t{premise}\nX2\tc\tagainst\tp\n"
    first, second = read_arguments(write(tmp_path / "a.tsv", content))
    assert (first.premise, second.id) == (premise, "X2")


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u200b", "\u00a0", "\ufeff"])
def test_only_a_newline_ends_a_line(tmp_path: Path, separator: str) -> None:
    content = HEADER + f"X1\tc\tagainst\tone{separator}two\n"
    assert read_arguments(write(tmp_path / "a.tsv", content))[0].premise == f"one{separator}two"


def test_the_last_newline_may_be_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", arguments_text(TWO).removesuffix("\n"))
    assert read_arguments(path) == TWO


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    content = "Stance\tPremise\tArgument ID\tConclusion\nagainst\tp\tX1\tc\n"
    assert read_arguments(write(tmp_path / "a.tsv", content)) == (
        Argument("X1", "c", "against", "p"),
    )


def test_label_columns_are_found_by_name(tmp_path: Path) -> None:
    header = "\t".join([*reversed(VALUE_NAMES), "Argument ID"])
    row = "\t".join(["1"] + ["0"] * 19 + ["X1"])
    ids, labels = read_labels(write(tmp_path / "l.tsv", f"{header}\n{row}\n"))
    assert ids == ("X1",)
    assert np.flatnonzero(labels[0]).tolist() == [19]


def test_labels(folder: Path) -> None:
    ids, labels = read_labels(folder / "labels-test.tsv")
    assert ids == ("X1", "X2")
    assert labels.dtype == np.bool_
    assert [np.flatnonzero(row).tolist() for row in labels] == [[3], [0, 19]]


def test_an_argument_may_have_no_label(tmp_path: Path) -> None:
    _, labels = read_labels(write(tmp_path / "l.tsv", LABEL_HEADER + label_row("X1")))
    assert labels.shape == (1, 20)
    assert not labels.any()


# What is refused

A = "X1\tc\tagainst\tp\n"  # a good line

BROKEN_ARGUMENTS = {
    "empty file": (b"", "the file is empty"),
    "header only": (HEADER, "only a header"),
    "only a newline": (b"\n", "line 1 (header)"),
    "byte order mark": ("\ufeff" + HEADER + A, "line 1: starts with a byte order"),
    "UTF-16": ((HEADER + A).encode("utf-16"), "line 1: starts with a byte order mark"),
    "CRLF": ((HEADER + A).replace("\n", "\r\n"), "line 1, field 4: ends in CRLF"),
    "CRLF in one line": (HEADER + A + A[:-1] + "\r\n", "line 3, field 4: ends in CRLF"),
    "lone carriage return": (HEADER + "X1\tc\rd\tagainst\tp\n", "line 2, field 2: control"),
    "invalid UTF-8": (HEADER.encode() + b"X1\tc\xe9\tagainst\tp\n", "line 2, field 2: byte 0xe9"),
    "cut within a character": (
        HEADER.encode() + "X1\tc\tagainst\té".encode()[:-1],
        "line 2, field 4",
    ),
    "NUL": (HEADER + "X1\tc\tagainst\tp\0\n", "line 2, field 4: control character U+0000"),
    "control character": (HEADER + "X1\tc\x85\tagainst\tp\n", "field 2: control character U+0085"),
    "commas": ((HEADER + A).replace("\t", ","), "line 1 (header): unknown column"),
    "missing column": (
        b"Argument ID\tConclusion\tStance\nX1\tc\tagainst\n",
        "column 'Premise' is missing",
    ),
    "misspelt column": (
        HEADER.replace("Stance", "stance") + A,
        "unknown column 'stance' ('Stance'?)",
    ),
    "column twice": (
        HEADER.replace("Stance", "Premise") + A,
        "column 'Premise' twice",
    ),
    "extra column": (
        HEADER.replace("\n", "\tUsage\n") + A,
        "unknown column 'Usage'",
    ),
    "no header": (A, "unknown column 'X1'"),
    "missing tab": (HEADER + "X1\tc\tagainst p\n", "line 2, field 'Premise': is missing: 3 of 4"),
    "extra tab": (
        HEADER + "X1\tc\tagainst\tp\tq\n",
        "line 2, field 'Premise': is followed by more: 5",
    ),
    "empty line": (HEADER + "\n" + A, "line 2: the line is empty"),
    "empty line at the end": (HEADER + A + "\n", "line 3: the line is empty"),
    "doubled id": (HEADER + A + A, "line 3, field 'Argument ID': 'X1' stands in line 2"),
    "empty id": (HEADER + " \tc\tagainst\tp\n", "line 2, field 'Argument ID': is empty"),
    "empty conclusion": (HEADER + "X1\t \tagainst\tp\n", "line 2, field 'Conclusion': is empty"),
    "empty premise": (HEADER + "X1\tc\tagainst\t\n", "line 2, field 'Premise': is empty"),
    "unknown stance": (HEADER + A + "X2\tc\tpro\tp\n", "line 3, field 'Stance': 'pro' is not"),
    "empty stance": (HEADER + "X1\tc\t\tp\n", "line 2, field 'Stance': '' is not"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN_ARGUMENTS.values(), ids=BROKEN_ARGUMENTS)
def test_malformed_arguments_are_refused(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = write(tmp_path / "mine.tsv", content)
    with pytest.raises(ValueEvalError) as caught:
        read_arguments(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


BROKEN_LABELS = {
    "two": (
        LABEL_HEADER + label_row("X1").replace("0", "2", 1),
        "line 2, field 'Self-direction: thought': '2' is not a label",
    ),
    "empty": (
        LABEL_HEADER + label_row("X1") + label_row("X2").replace("0\n", "\n"),
        "line 3, field 'Universalism: objectivity': '' is not",
    ),
    # Together as long as two good labels.
    "ten and empty": (
        LABEL_HEADER + label_row("X1").replace("0\t0\n", "10\t\n"),
        "'10' is not a label",
    ),
    "decimal": (LABEL_HEADER + label_row("X1").replace("0\n", "0.0\n"), "'0.0' is not a label"),
    "one too few": (
        LABEL_HEADER + label_row("X1").replace("\t0\n", "\n"),
        "field 'Universalism: objectivity': is missing: 20 of 21",
    ),
    "missing value": (
        LABEL_HEADER.replace("\tFace", "") + label_row("X1"),
        "column 'Face' is missing",
    ),
    "doubled id": (
        LABEL_HEADER + label_row("X1") + label_row("X1"),
        "line 3, field 'Argument ID': 'X1' stands in line 2",
    ),
    "arguments": (arguments_text(TWO), "unknown column 'Conclusion'"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN_LABELS.values(), ids=BROKEN_LABELS)
def test_malformed_labels_are_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueEvalError) as caught:
        read_labels(write(tmp_path / "mine.tsv", content))
    assert message in str(caught.value)


def test_a_header_with_much_wrong_is_told_shortly(tmp_path: Path) -> None:
    with pytest.raises(ValueEvalError) as caught:
        read_labels(write(tmp_path / "mine.tsv", "Argument ID\nX1\n"))
    assert "and 17 more" in str(caught.value)
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize("name", ["absent.tsv", "."])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueEvalError, match="cannot be read"):
        read_arguments(tmp_path / name)


# A set: two files


def test_load_set(folder: Path) -> None:
    loaded = load_set("main", folder)
    assert loaded.arguments == TWO
    assert loaded.ids == ("X1", "X2")
    assert loaded.conclusions == ("We should sing", "We should sing")
    assert [np.flatnonzero(row).tolist() for row in loaded.labels] == [[3], [0, 19]]
    assert (loaded.name, loaded.directory, loaded.official) == ("main", folder, False)


def test_the_digest_is_over_both_files(folder: Path) -> None:
    content = (folder / "arguments-test.tsv").read_bytes() + (
        folder / "labels-test.tsv"
    ).read_bytes()
    assert load_set("main", folder).sha256 == hashlib.sha256(content).hexdigest()


def test_labels_are_joined_by_id(folder: Path) -> None:
    swapped = LABEL_HEADER + label_row("X2", 0, 19) + label_row("X1", 3)
    write(folder / "labels-test.tsv", swapped)
    loaded = load_set("main", folder)
    assert loaded.ids == ("X1", "X2")
    assert [np.flatnonzero(row).tolist() for row in loaded.labels] == [[3], [0, 19]]


def test_unmatched_ids_are_named(folder: Path) -> None:
    rows = "".join(label_row(one) for one in ("X1", "Y1", "Y2", "Y3", "Y4"))
    write(folder / "labels-test.tsv", LABEL_HEADER + rows)
    with pytest.raises(ValueEvalError) as caught:
        load_set("main", folder)
    message = str(caught.value)
    assert "labels-test.tsv has no line for 'X2'" in message
    assert "arguments-test.tsv has no line for 'Y1', 'Y2', 'Y3' and 1 more" in message


@pytest.mark.parametrize(
    ("name", "near"),
    [("test", "main"), ("validation-zhihu", "zhihu"), ("trainig", "training")],
)
def test_an_unknown_set_is_refused_with_a_hint(name: str, near: str) -> None:
    with pytest.raises(ValueEvalError, match=f"Did you mean {near}"):
        load_set(name)


def test_a_missing_file_is_named_with_its_folder(folder: Path) -> None:
    (folder / "labels-test.tsv").unlink()
    with pytest.raises(ValueEvalError) as caught:
        load_set("main", folder)
    assert f"labels-test.tsv is missing in {folder}" in str(caught.value)
    assert "valueeval data fetch" in str(caught.value)


def test_the_times_must_be_rebuilt(folder: Path) -> None:
    with pytest.raises(ValueEvalError) as caught:
        load_set("nyt", folder)
    assert f"arguments-test-nyt.tsv is missing in {folder}" in str(caught.value)
    assert "not distributed" in str(caught.value)
    assert "nyt-downloader" in str(caught.value)


# Where data are looked for


@pytest.mark.usefixtures("no_data")
def test_found_nowhere() -> None:
    with pytest.raises(ValueEvalError) as caught:
        find_data_dir()
    for way in ("data_dir", "VALUEEVAL_DATA", "valueeval data fetch", "_sample"):
        assert way in str(caught.value)


def test_the_order_of_places(
    monkeypatch: pytest.MonkeyPatch, no_data: Path, tmp_path: Path
) -> None:
    places = {name: tmp_path / name for name in ("argument", "variable")} | {"cache": no_data}
    for place in places.values():
        place.mkdir(parents=True)
        write(place / "arguments-test.tsv", arguments_text(TWO))
    assert find_data_dir() == places["cache"]
    monkeypatch.setenv("VALUEEVAL_DATA", "")  # as good as not set
    assert find_data_dir("") == places["cache"]
    monkeypatch.setenv("VALUEEVAL_DATA", str(places["variable"]))
    assert find_data_dir() == places["variable"]
    assert find_data_dir(places["argument"]) == places["argument"]
    assert find_data_dir(str(places["argument"])) == places["argument"]


@pytest.mark.parametrize("problem", ["does not exist", "is no folder", "no arguments-….tsv"])
def test_a_named_place_must_be_right(
    monkeypatch: pytest.MonkeyPatch, no_data: Path, tmp_path: Path, problem: str
) -> None:
    no_data.mkdir(parents=True)
    write(no_data / "arguments-test.tsv", arguments_text(TWO))  # what must not be fallen back to
    place = tmp_path / "place"
    if problem == "is no folder":
        write(place, "a file")
    elif problem == "no arguments-….tsv":
        place.mkdir()
    with pytest.raises(ValueEvalError, match=f"(?s)data_dir = .*{problem}"):
        find_data_dir(place)
    monkeypatch.setenv("VALUEEVAL_DATA", str(place))
    with pytest.raises(ValueEvalError, match=f"(?s)VALUEEVAL_DATA = .*{problem}"):
        find_data_dir()


def test_home_is_understood(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert find_data_dir(f"~/{folder.name}") == folder
    with pytest.raises(ValueEvalError, match="does not exist"):
        find_data_dir("~no-such-user/data")


def test_unfinished_downloads_are_no_data(no_data: Path) -> None:
    no_data.mkdir(parents=True)
    write(no_data / "arguments-test.tsv.part", arguments_text(TWO))
    with pytest.raises(ValueEvalError, match="No data found"):
        find_data_dir()


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = "touche23-valueeval"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("VALUEEVAL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert data.cache_dir() == tmp_path / ".cache" / "valueeval" / name
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data.cache_dir() == tmp_path / "xdg" / "valueeval" / name
    monkeypatch.setenv("VALUEEVAL_CACHE", str(tmp_path / "own"))
    assert data.cache_dir() == tmp_path / "own" / name
    assert data.cache_dir(tmp_path / "argument") == tmp_path / "argument" / name


# The sample set of the package


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize("name", ["sample_training", "sample_validation", "sample"])
def test_sample_sets_need_no_data_folder(name: str) -> None:
    loaded = load_set(name, "/no/such/folder")
    assert len(loaded.arguments) >= 50
    assert loaded.labels.shape == (len(loaded.arguments), 20)
    assert not loaded.official


# Properties

# Any character of a text: no tab, newline, control character or half of a surrogate pair.
CHARACTERS = st.characters(exclude_categories=("Cc", "Cs"))
TEXTS = st.text(CHARACTERS, min_size=1, max_size=30).filter(str.strip)
STANCES = st.sampled_from(["in favor of", "against"])
ARGUMENTS = st.lists(
    st.builds(Argument, TEXTS, TEXTS, STANCES, TEXTS),
    min_size=1,
    max_size=8,
    unique_by=lambda argument: argument.id,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@given(ARGUMENTS, st.data())
def test_what_is_written_is_read(
    scratch: Path, arguments: list[Argument], draw: st.DataObject
) -> None:
    ids = [argument.id for argument in arguments]
    bits = draw.draw(st.lists(st.booleans(), min_size=20 * len(ids), max_size=20 * len(ids)))
    labels = np.array(bits).reshape(-1, 20)
    order = draw.draw(st.permutations(range(len(ids))))
    write(scratch / "arguments-test.tsv", arguments_text(tuple(arguments)))
    shuffled = labels_text([ids[row] for row in order], labels[order])
    write(scratch / "labels-test.tsv", shuffled)
    loaded = load_set("main", scratch)
    assert loaded.arguments == tuple(arguments)
    np.testing.assert_array_equal(loaded.labels, labels)


def reads_or_refuses(path: Path) -> None:
    with contextlib.suppress(ValueEvalError):
        arguments = read_arguments(path)
        assert arguments
        assert len({argument.id for argument in arguments}) == len(arguments)
        assert {argument.stance for argument in arguments} <= set(data.STANCE_WORDS)
    with contextlib.suppress(ValueEvalError):
        ids, labels = read_labels(path)
        assert labels.shape == (len(set(ids)), 20)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(scratch: Path, content: bytes) -> None:
    reads_or_refuses(write(scratch / "any.tsv", content))


@settings(max_examples=300)
@given(
    st.sampled_from([arguments_text(TWO), LABEL_HEADER + label_row("X1") + label_row("X2", 4)]),
    st.floats(0, 1),
    st.integers(0, 12),
    st.binary(max_size=6) | st.text('\t\n\r"01 \0X2\ufeff', max_size=6).map(str.encode),
)
def test_any_damage_is_read_or_refused(
    scratch: Path, text: str, position: float, cut: int, inserted: bytes
) -> None:
    content = text.encode()
    start = round(position * len(content))
    damaged = content[:start] + inserted + content[start + cut :]
    reads_or_refuses(write(scratch / "damaged.tsv", damaged))


# The real data


@pytest.mark.parametrize(
    ("name", "arguments", "conclusions", "largest", "unlabelled"),
    [
        ("training", 5393, 332, 114, 1),
        ("validation", 1896, 157, 118, 0),
        ("zhihu", 100, 12, 15, 0),
        ("main", 1576, 106, 183, 0),
    ],
)
def test_real_sets(
    real_data_dir: Path, name: str, arguments: int, conclusions: int, largest: int, unlabelled: int
) -> None:
    loaded = load_set(name, real_data_dir)
    clusters = Counter(loaded.conclusions)
    assert loaded.official
    assert loaded.labels.shape == (arguments, 20)
    assert (len(clusters), max(clusters.values())) == (conclusions, largest)
    assert int((~loaded.labels.any(axis=1)).sum()) == unlabelled


def test_no_real_conclusion_is_in_two_sets(real_data_dir: Path) -> None:
    sets = [
        set(load_set(name, real_data_dir).conclusions)
        for name in ("training", "validation", "zhihu", "main")
    ]
    assert sum(map(len, sets)) == len(set().union(*sets))


def test_the_values_are_those_of_the_real_header(real_data_dir: Path) -> None:
    header = (real_data_dir / "labels-test.tsv").read_text(encoding="utf-8").split("\n")[0]
    assert tuple(header.split("\t")[1:]) == VALUE_NAMES
    categories = json.loads((real_data_dir / "value-categories.json").read_text(encoding="utf-8"))
    assert set(categories) == set(VALUE_NAMES)


def test_all_real_arguments(real_data_dir: Path) -> None:
    sets = [name for name in data.SETS if not name.startswith("sample")]
    absent = [
        file
        for name in sets
        for file in data.file_names(name)
        if not (real_data_dir / file).is_file()
    ]
    if absent:
        pytest.skip(f"not here: {', '.join(absent)}")
    loaded = [load_set(name, real_data_dir) for name in sets]
    assert sum(len(one.arguments) for one in loaded) == 9324


def test_real_files_have_the_published_digests(real_data_dir: Path) -> None:
    present = [name for name in OFFICIAL_SHA256 if (real_data_dir / name).is_file()]
    assert len(present) >= 9
    for name in present:
        content = (real_data_dir / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == OFFICIAL_SHA256[name], name


# Weight


def test_reading_imports_nothing_heavy() -> None:
    heavy = {"torch", "lm_eval", "datasets", "transformers", "pandas", "requests", "sklearn"}
    code = "import sys, valueeval.tasks.data.dataset\n"
    code += f"sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
