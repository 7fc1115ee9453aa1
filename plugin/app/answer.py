"""What the page shows for one text, and for two: the circle of values, and a list."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from valueeval.adapters.predict.labelling import Labels, NamedValues
from valueeval.app.circle import GROUPS, HIGHER_ORDER, draw_circle
from valueeval.tasks.values import VALUES

_NOTE = (
    "The line across a bar is the value's threshold: each value has its own, so a «no» can be more "
    "probable than a «yes»."
)
_WITHOUT = "This model says which values it finds, and gives no probabilities."


@dataclass(frozen=True)
class _Answer:
    """What a model says of one text.

    Attributes:
        probabilities: (20,); of a model without any, 1 where a value is decided on, else 0.
        thresholds: (20,), as probabilities; None of a model without probabilities.
        decided: (20,) bool.
        problem: Why an answer, or a part of one, could not be read; else None.
    """

    probabilities: npt.NDArray[np.float64]
    thresholds: npt.NDArray[np.float64] | None
    decided: npt.NDArray[np.bool_]
    problem: str | None

    @classmethod
    def of(cls, labels: Labels | NamedValues) -> _Answer:
        """Return the answer in the labels of one argument."""
        (decided,), problem = labels.decided, labels.problems[0] if labels.problems else None
        if isinstance(labels, NamedValues):
            return cls(decided.astype(float), None, decided, problem)
        thresholds = 1 / (1 + np.exp(-labels.thresholds))
        return cls(labels.probabilities[0], thresholds, decided, problem)

    @property
    def order(self) -> npt.NDArray[np.intp]:
        """Return the places of the values, those decided on first, by probability."""
        return np.lexsort((-self.probabilities, ~self.decided))


def answer(labels: Labels | NamedValues, text_alone: bool) -> str:
    """Return the answer for one text as HTML.

    Args:
        labels: The labels of one argument.
        text_alone: True if it was read without conclusion and stance.
    """
    found = _Answer.of(labels)
    note = _note(found)
    if text_alone:
        note += " The text was read alone. Where it argues for or against something, say so above."
    return (
        f'<div class="ve-answer">{_headline(found)}'
        f'<div class="ve-columns">{_circle(found)}{_list(found)}</div>{_legend()}'
        f'<p class="ve-note">{note}</p></div>'
    )


def comparison(first: Labels | NamedValues, second: Labels | NamedValues) -> str:
    """Return the answers for two texts side by side, and their differences, as HTML."""
    a, b = _Answer.of(first), _Answer.of(second)
    sides = "".join(
        f"<section><h3>Text {name}</h3>{_headline(found)}{_circle(found)}</section>"
        for name, found in (("A", a), ("B", b))
    )
    order = np.argsort(-np.abs(a.probabilities - b.probabilities), kind="stable")
    rows = "".join(
        f'<tr class="ve-{GROUPS[i]}{"" if a.decided[i] or b.decided[i] else " ve-out"}">'
        f"<th scope='row'>{escape(VALUES[i].name)}</th>"
        f"<td>{_decided(a.decided[i])}{a.probabilities[i]:.2f}</td>"
        f"<td>{_decided(b.decided[i])}{b.probabilities[i]:.2f}</td>"
        f"<td>{_signed(a.probabilities[i] - b.probabilities[i])}</td></tr>"
        for i in order
    )
    return (
        f'<div class="ve-answer"><div class="ve-columns">{sides}</div>{_legend()}'
        "<table class='ve-table'><thead><tr><th>value</th><th>text A</th><th>text B</th>"
        f"<th>A \N{MINUS SIGN} B</th></tr></thead><tbody>{rows}</tbody></table>"
        f'<p class="ve-note">Values by how far the two texts are apart; ✓ marks what is decided '
        f"on. {_note(a)}</p></div>"
    )


def _headline(found: _Answer) -> str:
    problem = "" if found.problem is None else f"<p><em>{escape(found.problem)}</em></p>"
    if not found.decided.any():
        nearest = ""
        if found.thresholds is not None:
            place = int(np.argmax(logit(found.probabilities) - logit(found.thresholds)))
            nearest = f"; the nearest is {escape(VALUES[place].name)}"
        return f'<p class="ve-head">None of the 20 values{nearest}.</p>{problem}'
    names = "".join(
        f'<span class="ve-chip ve-{GROUPS[i]}">{escape(VALUES[i].name)}</span>'
        for i in found.order[: found.decided.sum()]
    )
    return f'<p class="ve-head">{names}</p>{problem}'


def _circle(found: _Answer) -> str:
    drawn = draw_circle(found.probabilities, found.thresholds, found.decided)
    return f"<div class='ve-figure'>{drawn}</div>"


def _list(found: _Answer) -> str:
    """Return the 20 values with their probabilities: those decided on first."""
    rows = "".join(
        f'<tr class="ve-{GROUPS[i]} {"ve-in" if found.decided[i] else "ve-out"}" '
        f'title="{escape(VALUES[i].short)}">'
        f"<th scope='row'>{escape(VALUES[i].name)}</th>"
        f"<td class='ve-bar'><i style='width:{100 * found.probabilities[i]:.0f}%'></i></td>"
        f"<td>{_decided(found.decided[i])}{_shown(found, i)}</td></tr>"
        for i in found.order
    )
    head = "" if found.thresholds is None else "probability"
    return (
        f"<table class='ve-table'><thead><tr><th>value</th><th></th><th>{head}</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>"
    )


def _shown(found: _Answer, place: int) -> str:
    if found.thresholds is None:
        return "yes" if found.decided[place] else "no"
    return f"{found.probabilities[place]:.2f}"


def _note(found: _Answer) -> str:
    return _WITHOUT if found.thresholds is None else _NOTE


def _legend() -> str:
    items = "".join(
        f'<span class="ve-{group}"><i></i>{escape(name)}</span>' for name, group, _ in HIGHER_ORDER
    )
    return f'<p class="ve-legend">{items}</p>'


def _decided(is_in: bool) -> str:
    return '<span class="ve-mark" aria-label="decided on">✓</span> ' if is_in else ""


def _signed(difference: float) -> str:
    return f"{difference:+.2f}".replace("-", "\N{MINUS SIGN}")
