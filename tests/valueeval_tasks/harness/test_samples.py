"""Logged samples: what is read of them, and what is refused, in one line that says where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.samples import read_samples

LABELS = [1, 0] * 10
NO, YES = ["-1.0", "False"], ["-0.5", "False"]


def sample(id: Any = "A1", **changes: Any) -> dict[str, Any]:
    """A line of valueeval_bca, whose answers are no to the first ten values and yes to the rest."""
    doc = {"id": id, "conclusion": "C", "stance": "against", "premise": "P", "labels": LABELS}
    responses = [*[YES, NO] * 10, *[NO, YES] * 10]
    line = {"doc": {**doc, **changes.pop("doc", {})}, "filtered_resps": responses}
    return {**line, **changes}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "samples_valueeval_bca_2026-01-01.jsonl"


def write(path: Path, *lines: object) -> None:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def test_what_is_read(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "samples_valueeval_bca_2026-01-02.jsonl"
    write(path, sample("A1"), sample("A2", doc={"conclusion": "D"}))
    write(other, sample("A3"))
    read = read_samples([path, other])
    assert read.ids == ("A1", "A2", "A3")
    assert (read.truth == np.array([LABELS] * 3, dtype=bool)).all()
    assert (read.prediction == np.array([[0] * 10 + [1] * 10] * 3, dtype=bool)).all()
    assert read.truth.dtype == read.prediction.dtype == np.bool_
    assert read.unparsed.tolist() == [0, 0, 0]
    first, second, third = read.clusters
    assert first == third != second


def test_an_argument_of_two_files_is_refused(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "samples_valueeval_bca_2026-01-02.jsonl"
    write(path, sample("A1"), sample("A2"))
    write(other, sample("A3"), sample("A2"))
    with pytest.raises(ValueEvalError) as refused:
        read_samples([path, other])
    assert str(refused.value).startswith(
        f"{other}, line 2: argument A2 is there twice, first in {path}, line 2."
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[" * 200_000, "nested too deeply"),
        (f'{{"doc": {"[" * 200_000}', "nested too deeply"),
        (f'{{"doc_id": {"9" * 5000}}}', "a number has too many digits"),
        (json.dumps(sample(doc={"labels": [10**4000] * 20})), "the labels are not 20 times 0 or 1"),
        (json.dumps(sample(doc={"labels": [0.5] * 20})), "the labels are not 20 times 0 or 1"),
        (json.dumps(sample(filtered_resps=[[10**4000]] * 40)), "too large"),
        (json.dumps(sample(filtered_resps=[["9" * 100_000 + "x"]] * 40)), "not a sample of"),
        (json.dumps(sample(doc={"conclusion": None})), "not a sample of .*NoneType"),
        (json.dumps(sample(doc={"conclusion": "\ud800"})), "not a sample of .*surrogates"),
        (json.dumps(sample("A\ud800")), "no argument id"),
        (json.dumps(sample("A\x1b[2J")), "no argument id"),
        (json.dumps(sample("A\x07" + "x" * 100_000)), "no argument id"),
        (json.dumps(sample([["x"] * 100_000])), "no argument id"),
        ('"' + "\u202e" * 10 + '"', "not a JSON object"),
    ],
)
def test_hostile_lines(line: str, problem: str, path: Path) -> None:
    path.write_text(f"{json.dumps(sample('A0'))}\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueEvalError, match=problem) as refused:
        read_samples([path])
    message = str(refused.value)
    assert message.startswith(f"{path}, line 2: ")
    assert len(message) < len(str(path)) + 300
    assert message.replace("\n", " ").isprintable()


def test_ids_of_100_000_characters(path: Path) -> None:
    write(path, sample("A" * 100_000))
    assert read_samples([path]).ids == ("A" * 100_000,)
    write(path, sample("A\u202e" * 50_000), sample("A\u202e" * 50_000))
    with pytest.raises(ValueEvalError, match="is there twice") as refused:
        read_samples([path])
    assert len(str(refused.value)) < 2 * len(str(path)) + 400
    assert "\u202e" not in str(refused.value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(
    place=st.sampled_from(["sample", "doc", "id", "conclusion", "labels", "responses", "response"]),
    content=ANYTHING,
)
def test_anything_in_any_place_is_read_or_refused(
    place: str, content: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    line: Any = sample()
    if place == "sample":
        line = content
    elif place == "doc":
        line["doc"] = content
    elif place == "responses":
        line["filtered_resps"] = content
    elif place == "response":
        line["filtered_resps"][3] = content
    else:
        line["doc"][place] = content
    path = tmp_path_factory.getbasetemp() / "samples_valueeval_bca_any.jsonl"
    write(path, line)
    try:
        read = read_samples([path])
    except ValueEvalError as refused:
        assert str(refused).startswith(f"{path}, line 1: ")  # noqa: PT017
    else:
        assert read.truth.shape == read.prediction.shape == (1, 20)
