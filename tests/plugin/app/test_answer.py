"""The circle of values and the lists of the page, without a browser."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np

from valueeval.adapters.predict.labelling import Labels, NamedValues
from valueeval.app.answer import answer, comparison
from valueeval.app.circle import GROUPS, draw_circle
from valueeval.tasks.values import VALUE_NAMES

SVG = "{http://www.w3.org/2000/svg}"


def labels(*decided: int) -> Labels:
    logits = np.full((1, 20), -2.0)
    logits[0, list(decided)] = 2.0
    return Labels(logits, np.zeros(20))


def test_each_value_has_its_bar_its_threshold_and_its_name_in_the_order_of_the_circle() -> None:
    probabilities = np.linspace(0, 1, 20)
    drawn = draw_circle(probabilities, np.full(20, 0.5), probabilities > 0.5)
    svg = ET.fromstring(drawn)  # noqa: S314 (ours)
    bars = [each for each in svg.iter("g") if each.get("class", "").startswith("ve-")]
    assert len(bars) == 20
    for place, (bar, name) in enumerate(zip(bars, VALUE_NAMES, strict=True)):
        state = "ve-in" if place >= 10 else "ve-out"
        assert bar.get("class") == f"ve-{GROUPS[place]} {state}"
        title = bar.find("title")
        assert title is not None
        assert title.text == f"{name}: {probabilities[place]:.2f} (threshold 0.50)"
        spans = [span.text or "" for span in bar.iter("tspan")]
        assert " ".join(spans) == name
        assert len(bar.findall("path")) == 2
    assert [GROUPS[VALUE_NAMES.index(name)] for name in ("Hedonism", "Face", "Humility")] == [
        "openness", "enhancement", "conservation",
    ]  # fmt: skip


def test_a_model_without_probabilities() -> None:
    decided = np.zeros((1, 20), dtype=bool)
    decided[0, 10] = True
    said = NamedValues(decided, ["a part of the <answer> was cut"], [False])
    shown = answer(said, text_alone=False)
    assert "gives no probabilities" in shown
    assert "ve-threshold" not in shown
    assert shown.split("<tbody>")[1].count("✓</span> yes") == 1
    assert "a part of the &lt;answer&gt; was cut" in shown
    assert "None of the 20 values." in answer(
        NamedValues(np.zeros((1, 20), dtype=bool)), text_alone=False
    )


def test_the_circle_is_described_in_words() -> None:
    drawn = draw_circle(np.zeros(20), np.full(20, 0.5), np.zeros(20, dtype=bool))
    assert 'aria-label="Circle of values: none of the 20 values"' in drawn


def test_an_answer_lists_what_is_decided_on_first() -> None:
    shown = answer(labels(8, 10), text_alone=False)
    body = shown.split("<tbody>")[1]
    assert body.index("Security: personal") < body.index("Tradition") < body.index("Hedonism")
    assert "read alone" not in shown
    assert "read alone" in answer(labels(8), text_alone=True)
    assert "None of the 20 values; the nearest is" in answer(labels(), text_alone=True)


def test_a_comparison_begins_with_the_largest_difference() -> None:
    first = labels(3)
    first.logits[0, 5] = 0.5
    shown = comparison(first, labels(7)).split("<tbody>")[1]
    names = sorted(VALUE_NAMES, key=shown.index)
    assert set(names[:2]) == {VALUE_NAMES[3], VALUE_NAMES[7]}
    assert names[2] == VALUE_NAMES[5]
    assert "\N{MINUS SIGN}0.76" in shown
    assert "+0.76" in shown
