"""Arguments in training: whole, or as premises alone for a share of an epoch."""

from __future__ import annotations

import numpy as np
import torch

from valueeval.adapters.classifier.classifier import Batch
from valueeval.adapters.classifier.encoding import TokenizedArguments
from valueeval.tasks.data.dataset import load_set
from valueeval.train.data.inputs import Split, Tokens, in_both_forms, premises_alone
from valueeval.train.objectives.cross_encoder import EachValue

ROWS = 200


def split(share: float | None, inputs_each: int = 1) -> Split:
    """Argument n is token n + 2 twice, its premise alone token n + 1002 once."""
    whole = [{"input_ids": [row + 2] * 2} for row in range(ROWS) for _ in range(inputs_each)]
    alone = [{"input_ids": [row + 1002]} for row in range(ROWS) for _ in range(inputs_each)]
    read = whole + ([] if share is None else alone)
    tokens = Tokens(TokenizedArguments(read, frozenset()), 0)
    inputs = tokens if inputs_each == 1 else EachValue(tokens)
    return Split(inputs, np.ones((ROWS, 20), dtype=bool), text_alone_share=share)


def shown_alone(of: Split, epoch: int, seed: int = 0) -> np.ndarray:
    """Return True for each argument that an epoch shows as its premise alone."""
    batch = of.inputs_in(epoch, seed).batch(range(ROWS), torch.device("cpu"))
    first = batch["input_ids"][:, 0].reshape(ROWS, -1)
    rows = torch.arange(ROWS).unsqueeze(1)
    assert (((first == rows + 2) | (first == rows + 1002)).all(dim=1)).all()
    return (first[:, 0] > 1000).numpy()


def test_a_share_is_shown_alone_drawn_anew_each_epoch() -> None:
    each = [shown_alone(split(0.3), epoch) for epoch in range(20)]
    assert abs(np.mean(each) - 0.3) < 0.02
    assert all(0.15 < epoch.mean() < 0.45 for epoch in each)
    assert (each[0] != each[1]).any()
    assert np.array(each).any(axis=0).all()
    assert (shown_alone(split(0.3), 1) == each[1]).all()
    assert (shown_alone(split(0.3), 1, seed=1) != each[1]).any()


def test_a_larger_share_shows_all_of_a_smaller_one_and_the_ends_are_exact() -> None:
    smaller, larger = shown_alone(split(0.2), 3), shown_alone(split(0.6), 3)
    assert (larger | ~smaller).all()
    assert larger.sum() > smaller.sum()
    assert not shown_alone(split(0.0), 3).any()
    assert shown_alone(split(1.0), 3).all()


def test_without_a_share_the_inputs_are_what_they_were() -> None:
    whole = split(None)
    assert whole.inputs_in(0, 0) is whole.inputs


def test_lengths_are_those_of_the_form_that_is_read() -> None:
    both = split(0.5)
    alone = shown_alone(both, 2)
    assert both.inputs_in(2, 0).lengths == np.where(alone, 1, 2).tolist()


def test_a_cross_encoder_reads_all_values_of_an_argument_in_one_form() -> None:
    alone = shown_alone(split(0.5, inputs_each=20), 0)
    assert (alone == shown_alone(split(0.5), 0)).all()


def test_premises_alone_have_no_conclusion_and_the_same_labels() -> None:
    data = load_set("sample")
    alone, both = premises_alone(data), in_both_forms(data)
    assert {(one.conclusion, one.stance) for one in alone.arguments} == {("", "")}
    assert [one.premise for one in alone.arguments] == [one.premise for one in data.arguments]
    assert both.arguments == data.arguments + alone.arguments
    assert (both.labels == np.concatenate([data.labels, data.labels])).all()


def test_a_batch_is_padded_to_its_longest_argument() -> None:
    both = split(0.5)
    alone = shown_alone(both, 0)
    rows = [int(np.flatnonzero(alone)[0]), int(np.flatnonzero(~alone)[0])]
    batch: Batch = both.inputs_in(0, 0).batch(rows, torch.device("cpu"))
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1]]
