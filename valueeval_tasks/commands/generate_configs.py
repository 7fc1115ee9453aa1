"""Write the YAML files of the sets other than the main one: ``python -m`` this module.

A template's wording stands in ``valueeval_<template>.yaml``, its paraphrases in
``valueeval_<template>_p2.yaml`` and so on; each of these files gets a small one for every further
set.
"""

from __future__ import annotations

import re
from pathlib import Path

from valueeval.tasks.data.content_free import CONTENT_FREE
from valueeval.tasks.data.dataset import CV
from valueeval.tasks.templates.decide import ALL_TEMPLATES, SECOND_TURNS

FOLDER = Path(__file__).resolve().parents[1]
SETS = ("validation", "zhihu", "nahjalbalagha", "nyt", CV, "sample")
CALIBRATED = ("cls", "bca")
"""Templates whose scores a prior over content-free arguments can be taken off."""


def wordings() -> list[str]:
    """Return the tasks on the main set, whose files hold a wording: ``valueeval_bca``, ….

    Those are the files that are there, so a new paraphrase needs to be named nowhere else.
    """
    pattern = re.compile(rf"valueeval_({'|'.join(ALL_TEMPLATES)})(_p[0-9]+)?")
    return sorted(p.stem for p in FOLDER.glob("valueeval_*.yaml") if pattern.fullmatch(p.stem))


def set_configs() -> dict[str, str]:
    """Return file name → content, for each wording and set."""
    return {
        f"{parent}_{name}.yaml": _config(parent, name)
        for parent in wordings()
        for name in sets_of(parent)
    }


def sets_of(parent: str) -> tuple[str, ...]:
    """Return the sets, beside the main one, that a wording is asked about."""
    template = parent.split("_")[1]
    return (*SETS, CONTENT_FREE) if template in CALIBRATED else SETS


def _config(parent: str, name: str) -> str:
    # Groups hold one wording of each template, without those that need replies.
    grouped = parent.count("_") == 1 and not parent.endswith(SECOND_TURNS)
    grouped = grouped and name != CONTENT_FREE
    sample = name == "sample"
    lines = [
        "# Written by `python -m valueeval.tasks.commands.generate_configs`; edit that instead.",
        f"include: [{parent}.yaml, _sample_yaml]" if sample else f"include: {parent}.yaml",
        f"task: {parent}_{name}",
        # Without an empty tag the parent's would be inherited.
        f"tag: {f'valueeval_{name}' if grouped else '[]'}",
        *([] if sample else [f"test_split: {name}"]),
        # Its examples depend on the fold (see the task class).
        *([f"fewshot_split: {CV}"] if name == CV else []),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the files that are new or have changed into the package's folder, and name them."""
    for file_name, content in set_configs().items():
        path = FOLDER / file_name
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
            print(f"written: {file_name}")


if __name__ == "__main__":
    main()
