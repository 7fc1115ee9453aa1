"""Few-shot examples: balanced, deterministic, no conclusion twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.fewshot import pick_arguments, pick_pairs

# Argument i holds value i and nothing else; each has a conclusion of its own.
ONE_EACH = np.eye(20, dtype=bool)
CONCLUSIONS = [f"c{i}" for i in range(20)]


def test_arguments_cover_every_value_once() -> None:
    examples = pick_arguments(ONE_EACH, CONCLUSIONS, 20, seed=1)
    assert sorted(example.argument for example in examples) == list(range(20))
    assert {example.value for example in examples} == {None}


def test_arguments_take_the_rarest_combination_that_is_left() -> None:
    # 39 arguments hold value 0, one holds value 1: the second pick has to be the odd one.
    labels = np.zeros((40, 20), dtype=bool)
    labels[:, 0] = True
    labels[7] = np.eye(20, dtype=bool)[1]
    for seed in range(5):
        examples = pick_arguments(labels, [f"c{i}" for i in range(40)], 2, seed)
        assert 7 in {example.argument for example in examples}


def test_arguments_keep_their_usual_number_of_values() -> None:
    # Half of the pool holds one value, half holds three: so do the examples, about.
    labels = np.zeros((200, 20), dtype=bool)
    for i in range(200):
        labels[i, [(i + k) % 20 for k in range(1 if i % 2 else 3)]] = True
    examples = pick_arguments(labels, [f"c{i}" for i in range(200)], 100, seed=0)
    sizes = labels[[example.argument for example in examples]].sum(1)
    assert 35 <= (sizes == 1).sum() <= 65


def test_an_argument_without_a_value_is_no_example_of_all_values() -> None:
    labels = np.vstack([np.zeros((1, 20), dtype=bool), ONE_EACH[:2]])
    examples = pick_arguments(labels, ["a", "b", "c"], 2, seed=0)
    assert {example.argument for example in examples} == {1, 2}


def test_pairs_balance_values_and_answers() -> None:
    labels = np.vstack([ONE_EACH] * 4)
    conclusions = [f"c{i}" for i in range(80)]
    examples = pick_pairs(labels, conclusions, 40, seed=3)
    cells = {(example.value, bool(labels[example.argument, example.value])) for example in examples}
    assert cells == {(value, answer) for value in range(20) for answer in (False, True)}


@pytest.mark.parametrize("n", [1, 2, 7, 20, 33])
def test_pairs_are_balanced_at_every_number(n: int) -> None:
    labels = np.vstack([ONE_EACH] * 4)
    examples = pick_pairs(labels, [f"c{i}" for i in range(80)], n, seed=3)
    yes = sum(bool(labels[example.argument, example.value]) for example in examples)
    values = np.bincount([int(e.value or 0) for e in examples], minlength=20)
    assert abs(2 * yes - n) <= 1
    assert values.max() - values.min() <= 1


def test_pairs_with_held_values_only() -> None:
    examples = pick_pairs(ONE_EACH, CONCLUSIONS, 20, seed=0, answers=(True,))
    assert all(example.argument == example.value for example in examples)
    assert len({example.value for example in examples}) == 20


@pytest.mark.parametrize("pick", [pick_arguments, pick_pairs])
def test_no_conclusion_twice_while_fresh_ones_are_left(pick) -> None:
    labels = np.vstack([ONE_EACH] * 3)
    conclusions = [f"c{i // 3}" for i in range(60)]  # 20 conclusions of 3 arguments each
    chosen = [example.argument for example in pick(labels, conclusions, 8, 5)]
    assert len({conclusions[i] for i in chosen}) == 8
    chosen = [example.argument for example in pick(labels, conclusions, 60, 5)]
    assert sorted(chosen) == list(range(60))  # all of them: unavoidable


@pytest.mark.parametrize("pick", [pick_arguments, pick_pairs])
def test_the_seed_alone_decides(pick) -> None:
    sample = load_set("sample_training")
    first = pick(sample.labels, sample.conclusions, 8, 1234)
    np.random.default_rng().random()  # no global state is read
    assert pick(sample.labels, sample.conclusions, 8, 1234) == first
    assert pick(sample.labels, sample.conclusions, 8, 1235) != first


def test_a_run_with_a_few_examples_covers_the_values_of_the_sample_set() -> None:
    sample = load_set("sample_training")
    chosen = [e.argument for e in pick_arguments(sample.labels, sample.conclusions, 20, 1234)]
    counts = sample.labels[chosen].sum(0)
    assert counts.min() >= 1
    assert counts.max() <= 4


@pytest.mark.parametrize("pick", [pick_arguments, pick_pairs])
def test_more_than_there_are(pick) -> None:
    with pytest.raises(ValueEvalError, match=r"21 few-shot examples .* only 20 .*--num_fewshot"):
        pick(ONE_EACH, CONCLUSIONS, 21, 0)


def test_more_than_have_such_an_answer() -> None:
    labels = np.zeros((5, 20), dtype=bool)
    labels[0, 0] = True
    with pytest.raises(ValueEvalError, match="allows only 1"):
        pick_pairs(labels, list("abcde"), 2, 0, answers=(True,))


@settings(max_examples=60, deadline=None)
@given(
    bits=st.lists(st.lists(st.booleans(), min_size=20, max_size=20), min_size=1, max_size=30),
    n=st.integers(0, 10),
    seed=st.integers(0, 5),
)
def test_any_pool_gives_different_arguments_or_a_clear_error(
    bits: list[list[bool]], n: int, seed: int
) -> None:
    labels = np.array(bits)
    conclusions = [f"c{i % 7}" for i in range(len(bits))]
    for pick in (pick_arguments, pick_pairs):
        try:
            chosen = [example.argument for example in pick(labels, conclusions, n, seed)]
        except ValueEvalError:
            continue
        assert len(set(chosen)) == len(chosen) == n
