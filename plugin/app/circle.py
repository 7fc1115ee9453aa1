"""The circle of values: the 20 values as a ring of bars, in the order of Schwartz's circle."""

from __future__ import annotations

from html import escape
from math import cos, pi, sin
from typing import Any

import numpy.typing as npt

from valueeval.tasks.values import VALUE_NAMES

# Higher-order value → how many of the values belong to it, in the order of the official files,
# which is that of the circle (Schwartz et al., 2012). Three values lie between two of them:
# hedonism, face and humility stand with the first.
HIGHER_ORDER = (
    ("Openness to change", "openness", 4),
    ("Self-enhancement", "enhancement", 4),
    ("Conservation", "conservation", 6),
    ("Self-transcendence", "transcendence", 6),
)
GROUPS = tuple(group for _, group, number in HIGHER_ORDER for _ in range(number))
"""The style class of each value."""

_SIZE = 720  # of the drawing, in its own units
_INNER, _OUTER = 56.0, 214.0  # radii at probabilities 0 and 1
_STEP = 2 * pi / len(VALUE_NAMES)
_GAP = 0.012  # between two bars, radians


def draw_circle(
    probabilities: npt.NDArray[Any],
    thresholds: npt.NDArray[Any] | None,
    decided: npt.NDArray[Any],
) -> str:
    """Return the circle as SVG: a bar for each value, a line at its threshold.

    Args:
        probabilities: (20,), from 0 to 1.
        thresholds: (20,), as probabilities; None draws none.
        decided: (20,) bool; the bars of these values are drawn in full colour.
    """
    named = [name for name, is_in in zip(VALUE_NAMES, decided, strict=True) if is_in]
    told = "Circle of values: " + (", ".join(named) or "none of the 20 values")
    parts = [
        f'<svg class="ve-circle" viewBox="0 0 {_SIZE} {_SIZE}" role="img" '
        f'aria-label="{escape(told)}">',
        *(
            f'<circle class="ve-scale" cx="0" cy="0" r="{_radius(share):.1f}" '
            f'transform="translate({_SIZE / 2} {_SIZE / 2})"/>'
            for share in (0.0, 0.5, 1.0)
        ),
        f'<g transform="translate({_SIZE / 2} {_SIZE / 2})">',
    ]
    for place, name in enumerate(VALUE_NAMES):
        start = place * _STEP - pi / 2
        end, p = start + _STEP, float(probabilities[place])
        state = "ve-in" if decided[place] else "ve-out"
        told, line = ("yes" if decided[place] else "no"), ""
        if thresholds is not None:
            threshold = float(thresholds[place])
            told = f"{p:.2f} (threshold {threshold:.2f})"
            arc = _arc(start + _GAP, end - _GAP, threshold)
            line = f'<path class="ve-threshold" d="{arc}"/>'
        parts.append(
            f'<g class="ve-{GROUPS[place]} {state}"><title>{escape(name)}: {told}</title>'
            f'<path d="{_sector(start + _GAP, end - _GAP, _radius(p))}"/>{line}'
            f"{_label(name, start + _STEP / 2)}</g>"
        )
    return "".join([*parts, "</g></svg>"])


def _radius(share: float) -> float:
    return _INNER + share * (_OUTER - _INNER)


def _at(angle: float, radius: float) -> str:
    return f"{radius * cos(angle):.1f} {radius * sin(angle):.1f}"


def _sector(start: float, end: float, radius: float) -> str:
    """Return the path of a bar from the inner circle to a radius."""
    return (
        f"M{_at(start, _INNER)}L{_at(start, radius)}A{radius:.1f} {radius:.1f} 0 0 1 "
        f"{_at(end, radius)}L{_at(end, _INNER)}A{_INNER} {_INNER} 0 0 0 {_at(start, _INNER)}Z"
    )


def _arc(start: float, end: float, share: float) -> str:
    radius = _radius(share)
    return f"M{_at(start, radius)}A{radius:.1f} {radius:.1f} 0 0 1 {_at(end, radius)}"


def _label(name: str, angle: float) -> str:
    """Return a value's name along its radius, in two lines where it has two parts."""
    left = cos(angle) < 0
    turned = angle * 180 / pi + (180 if left else 0)
    x = -(_OUTER + 10) if left else _OUTER + 10
    parts = name.replace(": ", ":\n").split("\n")
    lines = "".join(
        f'<tspan x="{x}" y="{(line - (len(parts) - 1) / 2) * 19:.1f}" dy="0.33em">'
        f"{escape(part)}</tspan>"
        for line, part in enumerate(parts)
    )
    anchor = "end" if left else "start"
    return f'<text transform="rotate({turned:.1f})" text-anchor="{anchor}">{lines}</text>'
