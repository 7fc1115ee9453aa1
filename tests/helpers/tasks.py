"""Helpers for tests of the lm-eval tasks: their names, one document, a chat template."""

from __future__ import annotations

from pathlib import Path

import valueeval.tasks
from valueeval.tasks.commands.generate_configs import sets_of, wordings

FOLDER = Path(valueeval.tasks.__file__).parent
TEMPLATES = ("cls", "mbc", "bca", "oa", "cot")
WORDINGS = ("", "_p2", "_p3")
SUFFIXES = ("", "_validation", "_zhihu", "_nahjalbalagha", "_nyt", "_cv", "_sample")
NAMES = [
    f"{parent}{s}" for parent in wordings() for s in ("", *(f"_{name}" for name in sets_of(parent)))
]
VERSIONS = {"cls": 1.0, "bca": 1.1, "mbc": 1.3, "oa": 1.4, "cot": 1.3, "cot2": 1.0, "cot2list": 1.1}
SAMPLE_NAMES = [name for name in NAMES if name.endswith("_sample")]

DOC = {
    "id": "X1",
    "conclusion": "Bees should be protected",
    "stance": "in favor of",
    "premise": "without bees no fruit grows",
    "labels": [0] * 17 + [1] + [0] * 2,  # Universalism: nature
}


def chat(messages: list[dict[str, str]]) -> str:
    """A chat template whose output is easy to read."""
    turns = [f"<{message['role']}>{message['content']}</>\n" for message in messages]
    return "".join(turns) + "<assistant>\n"
