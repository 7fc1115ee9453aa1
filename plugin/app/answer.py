"""What the page shows for one text, and for two: the circle of values, and a list."""

from __future__ import annotations

from html import escape

import numpy as np

from valueeval.adapters.predict.labelling import Labels
from valueeval.app.circle import GROUPS, HIGHER_ORDER, draw_circle
from valueeval.tasks.values import VALUES

_NOTE = (
    "The line across a bar is the value's threshold: each value has its own, so a «no» can be more "
    "probable than a «yes»."
)


def answer(labels: Labels, text_alone: bool) -> str:
    """Return the answer for one text as HTML.

    Args:
        labels: The labels of one argument.
        text_alone: True if it was read without conclusion and stance.
    """
    note = (
        " The text was read alone. Where it argues for or against something, say so above."
        if text_alone
        else ""
    )
    return (
        f'<div class="ve-answer">{_headline(labels)}'
        f'<div class="ve-columns">{_circle(labels)}{_list(labels)}</div>{_legend()}'
        f'<p class="ve-note">{_NOTE}{note}</p></div>'
    )


def comparison(first: Labels, second: Labels) -> str:
    """Return the answers for two texts side by side, and their differences, as HTML."""
    sides = "".join(
        f"<section><h3>Text {name}</h3>{_headline(labels)}{_circle(labels)}</section>"
        for name, labels in (("A", first), ("B", second))
    )
    (p_a,), (p_b,) = first.probabilities, second.probabilities
    (in_a,), (in_b,) = first.decided, second.decided
    order = np.argsort(-np.abs(p_a - p_b), kind="stable")
    rows = "".join(
        f'<tr class="ve-{GROUPS[i]}{"" if in_a[i] or in_b[i] else " ve-out"}">'
        f"<th scope='row'>{escape(VALUES[i].name)}</th>"
        f"<td>{_decided(in_a[i])}{p_a[i]:.2f}</td><td>{_decided(in_b[i])}{p_b[i]:.2f}</td>"
        f"<td>{_signed(p_a[i] - p_b[i])}</td></tr>"
        for i in order
    )
    return (
        f'<div class="ve-answer"><div class="ve-columns">{sides}</div>{_legend()}'
        "<table class='ve-table'><thead><tr><th>value</th><th>text A</th><th>text B</th>"
        f"<th>A \N{MINUS SIGN} B</th></tr></thead><tbody>{rows}</tbody></table>"
        f'<p class="ve-note">Values by how far the two texts are apart; ✓ marks what is decided '
        f"on. {_NOTE}</p></div>"
    )


def _headline(labels: Labels) -> str:
    (decided,), (margins,) = labels.decided, labels.margins
    order = [i for i in np.argsort(-margins, kind="stable") if decided[i]]
    if not order:
        nearest = VALUES[int(np.argmax(margins))].name
        return f'<p class="ve-head">None of the 20 values; the nearest is {escape(nearest)}.</p>'
    names = "".join(
        f'<span class="ve-chip ve-{GROUPS[i]}">{escape(VALUES[i].name)}</span>' for i in order
    )
    return f'<p class="ve-head">{names}</p>'


def _circle(labels: Labels) -> str:
    (probabilities,), (decided,) = labels.probabilities, labels.decided
    thresholds = Labels(labels.thresholds[None], labels.thresholds).probabilities[0]
    return f"<div class='ve-figure'>{draw_circle(probabilities, thresholds, decided)}</div>"


def _list(labels: Labels) -> str:
    """Return the 20 values with their probabilities: those decided on first."""
    (probabilities,), (decided,) = labels.probabilities, labels.decided
    order = np.lexsort((-probabilities, ~decided))
    rows = "".join(
        f'<tr class="ve-{GROUPS[i]} {"ve-in" if decided[i] else "ve-out"}" '
        f'title="{escape(VALUES[i].short)}">'
        f"<th scope='row'>{escape(VALUES[i].name)}</th>"
        f"<td class='ve-bar'><i style='width:{100 * probabilities[i]:.0f}%'></i></td>"
        f"<td>{_decided(decided[i])}{probabilities[i]:.2f}</td></tr>"
        for i in order
    )
    return (
        "<table class='ve-table'><thead><tr><th>value</th><th></th><th>probability</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>"
    )


def _legend() -> str:
    items = "".join(
        f'<span class="ve-{group}"><i></i>{escape(name)}</span>' for name, group, _ in HIGHER_ORDER
    )
    return f'<p class="ve-legend">{items}</p>'


def _decided(is_in: bool) -> str:
    return '<span class="ve-mark" aria-label="decided on">✓</span> ' if is_in else ""


def _signed(difference: float) -> str:
    return f"{difference:+.2f}".replace("-", "\N{MINUS SIGN}")
