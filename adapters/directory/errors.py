"""Errors about adapter directories."""

from __future__ import annotations

from valueeval.tasks.errors import ValueEvalError


class ManifestError(ValueEvalError):
    """An adapter directory that must not be used; the message says why."""


def check_one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value that a field cannot have.

    Raises:
        ManifestError: Names the field, the value and what is allowed.
    """
    if value not in allowed:
        raise ManifestError(f"{field}: {value!r}; allowed: {', '.join(allowed)}")
