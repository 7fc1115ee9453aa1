"""Strings and numbers as a person may read them, whatever a results file claims a name to be.

Every name that comes out of a results file passes through :func:`valueeval.tasks.display.clean`
once, on reading, and through the escape of its format on writing. So a model called ``<script>…``
or ``=cmd()`` is only ever text.
"""

from __future__ import annotations

import re

from valueeval.tasks.display import clean as clean
from valueeval.tasks.scores.differences import Difference
from valueeval.tasks.scores.influence import Influence

# First characters that make a spreadsheet read a cell as a formula (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_\[\]#|~$])")


def markdown(text: str) -> str:
    """Return `text` as literal text in a markdown table cell (GitHub's and CommonMark's)."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = _MARKDOWN_SPECIAL.sub(r"\\\1", escaped)
    # A bare address or @name becomes a link on GitHub; a zero-width joiner would change the text,
    # an entity in place of the sign does not.
    return escaped.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


def latex(text: str) -> str:
    """Return `text` as literal text in LaTeX; characters beyond Latin are left to the font."""
    return "".join(_LATEX.get(character, character) for character in text)


def csv(text: str) -> str:
    """Return `text` as a CSV field that no spreadsheet takes for a formula (quoted by ')."""
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def prompt(template: str | None, paraphrase: int | None) -> str:
    """Return template and wording, e.g. ``bca`` or ``bca p2``; empty without a template."""
    wording = f" p{paraphrase}" if paraphrase is not None and paraphrase > 1 else ""
    return (template or "") + wording


def score(value: float | None) -> str:
    """Return a score with three decimals; missing is empty, not 0."""
    return "" if value is None else f"{value:.3f}"


def published_score(value: float | None) -> str:
    """Return a score as the shared task published it, with two decimals; missing is empty."""
    return "" if value is None else f"{value:.2f}"


def share(value: float | None) -> str:
    """Return a share of arguments in percent: ``12.5 %``; missing is empty."""
    return "" if value is None else f"{100 * value:.1f} %"


def spread(sd: float | None) -> str:
    """Return the standard deviation over seeds as `` ± 0.006``; nothing for a single run."""
    return "" if sd is None else f" ± {sd:.3f}"


def ranks(ends: tuple[int, int]) -> str:
    """Return ``1 to 16``, or ``26`` where only one rank fits."""
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def difference(found: Difference | None) -> str:
    """Return ``-0.023 [-0.041, -0.005]``; without an interval the difference alone."""
    if found is None or found.value is None:
        return ""
    if found.low is None or found.high is None:
        return f"{found.value:+.3f}"
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def range_without_one(found: Influence | None) -> str:
    """Return ``0.454 to 0.479``: the score when any one conclusion is left out; or nothing."""
    return "" if found is None else f"{found.low:.3f} to {found.high:.3f}"


def p_value(value: float) -> str:
    """Return a p with three decimals, ``<0.001`` below."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def interval(ends: tuple[float, float] | None) -> str:
    """Return ``[0.404, 0.461]``, or nothing."""
    return "" if ends is None else f"[{ends[0]:.3f}, {ends[1]:.3f}]"


def count(value: int | None) -> str:
    """Return a number of parameters in three figures: ``22.7M``; missing is empty."""
    if value is None:
        return ""
    for size, suffix in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        # 999,600 is 1M, not 1000k.
        if value >= 0.9995 * size and value >= 1000:
            return f"{value / size:.3g}{suffix}" if value < 999.5 * size else f"{value // size}B"
    return str(value)
