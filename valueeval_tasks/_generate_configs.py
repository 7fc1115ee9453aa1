"""Write the YAML files of the sets other than the main one: ``python -m`` this module.

A template's wording stands in ``valueeval_<template>[_p2|_p3].yaml``; each of these 15 files gets
a small file for every further set.
"""

from __future__ import annotations

from pathlib import Path

from valueeval.tasks.decide import TEMPLATES

FOLDER = Path(__file__).resolve().parent
WORDINGS = ("", "_p2", "_p3")
SETS = ("validation", "zhihu", "nahjalbalagha", "nyt", "sample")


def set_configs() -> dict[str, str]:
    """File name → content, for each template, wording and set."""
    return {
        f"valueeval_{template}{wording}_{name}.yaml": _config(template, wording, name)
        for template in TEMPLATES
        for wording in WORDINGS
        for name in SETS
    }


def _config(template: str, wording: str, name: str) -> str:
    parent = f"valueeval_{template}{wording}"
    sample = name == "sample"
    lines = [
        "# Written by `python -m valueeval.tasks._generate_configs`; edit that instead.",
        f"include: [{parent}.yaml, _sample_yaml]" if sample else f"include: {parent}.yaml",
        f"task: {parent}_{name}",
        # Without an empty tag the parent's would be inherited.
        f"tag: {'[]' if wording else f'valueeval_{name}'}",
        *([] if sample else [f"test_split: {name}"]),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write all files into the package's folder."""
    for file_name, content in set_configs().items():
        (FOLDER / file_name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
