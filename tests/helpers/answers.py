"""Answers of language models with their readings: the YAML files beside the tests of readers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from valueeval.tasks.values import VALUE_SLUGS, VALUES

FOLDER = Path(__file__).parents[1] / "valueeval_tasks" / "templates"
OA_READINGS = {True: "positive", False: "negative", None: "unparsed"}


def load(template: str) -> list[Any]:
    """Return the contents of ``answers_<template>.yaml`` and of the files beside it."""
    return [
        yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted(FOLDER.glob(f"answers_{template}*.yaml"))
    ]


def oa_cases() -> list[tuple[str, str, str]]:
    """Return (slug of the value, answer, reading) of template oa."""
    return [
        (slug, answer, reads)
        for content in load("oa")
        for slug, answers in content.items()
        for answer, reads in answers.items()
    ]


def cases(template: str) -> list[dict[str, Any]]:
    """Return the cases of template mbc or cot, each with ``text`` and ``reads``."""
    found = [case for content in load(template) for case in content]
    return [
        {"case": case.get("case", case.get("text")), **case, "text": _text(case)} for case in found
    ]


def _text(case: dict[str, Any]) -> str:
    """Return the text of a case; mbc spares 20 lines by saying what each of them is."""
    if "text" in case:
        return str(case["text"])
    yes, no = case.get("words", ["yes", "no"])
    lines = [
        case["each"].format(
            n=number,
            name=value.name,
            slug=value.slug,
            short=value.short,
            verdict=yes if value.slug in case.get("held", ()) else no,
        )
        for number, value in enumerate(VALUES, 1)
    ]
    return str(case.get("before", "") + case.get("join", "\n").join(lines) + case.get("after", ""))


def reading(parsed: Sequence[bool] | None) -> list[str] | str:
    """Return what mbc or cot read, in the words of the files."""
    if parsed is None:
        return "unparsed"
    return [slug for slug, held in zip(VALUE_SLUGS, parsed, strict=True) if held] or "none"


def expected(case: dict[str, Any]) -> list[str] | str:
    """Return the reading that a case asks for, values in their order."""
    reads = case["reads"]
    return reads if isinstance(reads, str) else sorted(reads, key=VALUE_SLUGS.index)


def grows_linearly(read: Callable[[str], object], piece: str) -> bool:
    """Return whether 80 kB of a piece take about 8 times the processor time of 10 kB.

    Twice that is allowed; a search that goes back over what it has read takes 64 times as long. Of
    three tries the fastest counts, so that neither the processor nor its load does.
    """

    def fastest(size: int) -> float:
        text = piece * (size // len(piece))
        times = []
        for _ in range(3):
            begin = time.process_time()
            read(text)
            times.append(time.process_time() - begin)
        return min(times)

    return fastest(80_000) < 2 * 8 * max(fastest(10_000), 1e-3)
