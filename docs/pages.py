"""MkDocs hook: makes pages of the repository's own READMEs, and of every command's help.

So nothing is written twice. Links between the READMEs become links between pages; links to other
files of the repository become their names.
"""

from __future__ import annotations

import posixpath
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# File of the repository → page.
PAGES = {
    "README.md": "index.md",
    "valueeval_tasks/README.md": "tasks.md",
    "adapters/README.md": "evaluating.md",
    "train/README.md": "training.md",
    "leaderboard/README.md": "statistics.md",
    "leaderboard/leaderboard.md": "leaderboard.md",
    "studies/README.md": "studies.md",
    "studies/offline/report/report.md": "study.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_COMMANDS = """# Commands

Every command shows this with `--help`; `valueeval train` shows all of its options with
`--help_all`, and `valueeval data COMMAND` its own with `--help`. `valueeval completion SHELL`
prints a script for your shell that completes them. `valueeval run` takes the options of `lm_eval
run`.

"""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made of other files."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        content, pictures = with_links_between_pages(text, source)
        files.append(File.generated(config, page, content=content))
        for picture in pictures - {file.src_uri for file in files}:
            files.append(File.generated(config, picture, abs_src_path=str(ROOT / picture)))
    files.append(File.generated(config, "commands.md", content=commands()))
    return files


def with_links_between_pages(text: str, source: str) -> tuple[str, set[str]]:
    """Return a README as a page, and the pictures that it shows, by their paths."""
    folder = posixpath.dirname(source)
    pictures: set[str] = set()

    def replaced(link: re.Match[str]) -> str:
        picture, shown, target, part = link.groups()
        if not target or "://" in target:
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if picture:
            pictures.add(path)
            return f"![{shown}]({path})"
        if path in PAGES:
            return f"[{shown}]({PAGES[path]}{part or ''})"
        return shown

    return _LINK.sub(replaced, text), pictures


def commands() -> str:
    """Return a page with the help of every command."""
    from valueeval.cli import COMMANDS

    parts = [_COMMANDS]
    for name, (module, text) in COMMANDS.items():
        parts.append(f"## valueeval {name}\n\n{text[0].upper()}{text[1:]}.\n\n")
        if name != "run":
            shown = import_module(module).build_parser().format_help().replace(str(ROOT), ".")
            parts.append(f"```text\n{shown}```\n\n")
    return "".join(parts)
