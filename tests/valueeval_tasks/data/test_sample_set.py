"""The promises of SAMPLE_SET.md, counted on the files that ship."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import valueeval.tasks
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import SETS, Argument, DataSet, load_set, read_arguments
from valueeval.tasks.values import VALUE_NAMES

MINIMUM_SIZE = {"sample_training": 200, "sample_validation": 50, "sample": 50}
MINIMUM_TOTAL = 300
MINIMUM_CONCLUSIONS = 60
MINIMUM_PER_VALUE = 4
NEAR_DUPLICATE = 0.5  # Jaccard index of the sets of three words in a row
COPIED_WORDS = 8

FOLDER = Path(valueeval.tasks.__file__).parent
EACH_SPLIT = pytest.mark.parametrize("split", MINIMUM_SIZE)


@cache
def loaded(split: str) -> DataSet:
    return load_set(split)


def everything() -> list[Argument]:
    return [argument for split in MINIMUM_SIZE for argument in loaded(split).arguments]


def words(text: str) -> list[str]:
    """Words in lower case, without punctuation: what two texts are compared by."""
    return re.findall(r"\w+", text.lower())


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + length]) for i in range(len(found) - length + 1)}


@EACH_SPLIT
def test_size(split: str) -> None:
    assert len(loaded(split).arguments) >= MINIMUM_SIZE[split]


def test_total_and_number_of_conclusions() -> None:
    arguments = everything()
    assert len(arguments) >= MINIMUM_TOTAL
    assert len({one.conclusion for one in arguments}) >= MINIMUM_CONCLUSIONS


def test_no_conclusion_in_two_splits() -> None:
    conclusions = [
        {conclusion_key(one.conclusion) for one in loaded(split).arguments}
        for split in MINIMUM_SIZE
    ]
    assert all(not one & other for one, other in itertools.combinations(conclusions, 2))


def test_a_conclusion_is_spelled_in_one_way() -> None:
    spellings = {one.conclusion for one in everything()}
    assert len({conclusion_key(spelling) for spelling in spellings}) == len(spellings)


@EACH_SPLIT
def test_both_stances_are_common(split: str) -> None:
    stances = Counter(one.stance for one in loaded(split).arguments)
    assert set(stances) == {"in favor of", "against"}
    assert min(stances.values()) >= 0.4 * stances.total()


@EACH_SPLIT
def test_every_value_occurs(split: str) -> None:
    counts = loaded(split).labels.sum(axis=0)
    few = {
        name: int(count)
        for name, count in zip(VALUE_NAMES, counts, strict=True)
        if count < MINIMUM_PER_VALUE
    }
    assert not few


@EACH_SPLIT
def test_every_argument_has_a_few_values(split: str) -> None:
    per_argument = loaded(split).labels.sum(axis=1)
    assert per_argument.min() >= 1
    assert per_argument.max() <= 7
    assert 2.5 <= per_argument.mean() <= 3.5


@EACH_SPLIT
def test_lengths_vary(split: str) -> None:
    lengths = np.array([len(one.premise.split()) for one in loaded(split).arguments])
    assert lengths.min() >= 8
    assert lengths.max() <= 85
    low, middle, high = np.percentile(lengths, [10, 50, 99])
    assert low <= 15
    assert 15 <= middle <= 25
    assert high >= 50


def test_conclusions_have_few_or_many_arguments() -> None:
    sizes = Counter(one.conclusion for one in everything()).values()
    assert min(sizes) == 1
    assert max(sizes) >= 12


def test_ids_are_unique_and_numbered_by_conclusion() -> None:
    arguments = everything()
    assert all(re.fullmatch(r"S\d{5}", one.id) for one in arguments)
    assert len({one.id for one in arguments}) == len(arguments)
    numbers: dict[str, set[str]] = {}
    for one in arguments:
        numbers.setdefault(one.conclusion, set()).add(one.id[:4])
    assert all(len(number) == 1 for number in numbers.values())
    assert len(set().union(*numbers.values())) == len(numbers)


def test_no_two_premises_are_near_duplicates() -> None:
    grams = [runs(one.premise, 3) for one in everything()]
    for one, other in itertools.combinations(grams, 2):
        assert len(one & other) < NEAR_DUPLICATE * len(one | other), (one, other)


def test_premises_do_not_start_alike() -> None:
    starts = Counter(" ".join(words(one.premise)[:3]) for one in everything())
    assert starts.most_common(1)[0][1] <= 5


@pytest.mark.parametrize("split", ["training", "validation", "test"])
def test_files_are_plain(split: str) -> None:
    for kind in ("arguments", "labels"):
        text = (FOLDER / f"{kind}-sample-{split}.tsv").read_bytes().decode("utf-8")
        assert text.endswith("\n")
        assert "\r" not in text
        assert "  " not in text
        assert not any(
            field != field.strip() for line in text.splitlines() for field in line.split("\t")
        )


def test_card_states_the_counts() -> None:
    card = (FOLDER / "SAMPLE_SET.md").read_text(encoding="utf-8")
    for split in MINIMUM_SIZE:
        one = loaded(split)
        stances = Counter(argument.stance for argument in one.arguments)
        cells = [
            len(one.arguments),
            len(set(one.conclusions)),
            stances["in favor of"],
            stances["against"],
            f"{one.labels.sum(axis=1).mean():.2f}",
        ]
        assert f"| {' | '.join(map(str, cells))} |" in card, (split, cells)
    counts = np.stack([loaded(split).labels.sum(axis=0) for split in MINIMUM_SIZE], axis=1)
    for name, row in zip(VALUE_NAMES, counts, strict=True):
        assert f"| {name} | {' | '.join(map(str, row))} |" in card, (name, row)


@pytest.fixture(scope="module")
def published(real_data_dir: Path) -> tuple[Argument, ...]:
    """Every published argument that is at hand (the New York Times text is not distributed)."""
    files = sorted(real_data_dir.glob("arguments-*.tsv"))
    assert len(files) >= len(("training", "validation", "test"))
    return tuple(argument for file in files for argument in read_arguments(file))


def test_nothing_is_taken_from_the_published_data(published: tuple[Argument, ...]) -> None:
    conclusions = {conclusion_key(one.conclusion) for one in published}
    premises = {" ".join(words(one.premise)) for one in published}
    copied = set().union(*(runs(one.premise, COPIED_WORDS) for one in published))
    for one in everything():
        assert conclusion_key(one.conclusion) not in conclusions, one
        assert " ".join(words(one.premise)) not in premises, one
        assert not runs(one.premise, COPIED_WORDS) & copied, one


def test_the_sets_are_known_to_the_reader() -> None:
    assert set(MINIMUM_SIZE) <= set(SETS)
    assert not any(loaded(split).official for split in MINIMUM_SIZE)
