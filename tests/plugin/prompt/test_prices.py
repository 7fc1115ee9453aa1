"""Price files."""

from __future__ import annotations

from pathlib import Path

import pytest

from valueeval.prompt.prices import read_price
from valueeval.tasks.errors import ValueEvalError


def test_a_price(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("a: {input: 0.5, output: 2}\norg/b: {input: 0, output: 0}\n")
    price = read_price(path, "a")
    assert (price.input, price.output, price.currency) == (0.5, 2.0, "")
    assert price.cost(1_000_000, 500_000) == 0.5 + 1.0
    assert read_price(path, "org/b").cost(10, 10) == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a", "a price file has, for each model"),
        ("a: [", "not YAML; a price file has"),
        ("b: {input: 1, output: 2}", "no price of a; there are b"),
        ("currency: EUR", "no price of a; there are none"),
        ("a: 3", "a: a price file has"),
        ("a: {input: 1}", "a: a price file has"),
        ("a: {input: 1, output: -2}", "a: output must be a number from 0 on, not -2"),
        ("a: {input: yes, output: 2}", "a: input must be a number from 0 on, not True"),
        ("a: {input: .nan, output: 2}", "a: input must be a number from 0 on, not nan"),
    ],
)
def test_what_is_no_price_file(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(ValueEvalError) as error:
        read_price(path, "a")
    assert str(error.value).startswith(f"{path}: {told}")
