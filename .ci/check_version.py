"""Check that a version is the same wherever it stands: python .ci/check_version.py [TAG].

In pyproject.toml, ``valueeval.__version__``, CITATION.cff, README's citation, and, for a release,
in the tag (``v1.2.3``) and as a heading of the CHANGELOG. Needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = {
    "pyproject.toml": r'^version = "(.+)"$',
    "plugin/__init__.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
    "README.md": r"^  version = \{(.+)\},$",
}


def versions() -> dict[str, str]:
    """Return the version that each file names."""
    found = {}
    for name, pattern in PLACES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        match = re.search(pattern, text, re.MULTILINE)
        found[name] = match[1] if match else "(none)"
    return found


def problems(tag: str | None) -> list[str]:
    """Return what does not agree; for a tag also with it."""
    found = versions()
    version = found["pyproject.toml"]
    wrong = [f"{name}: {each}, not {version}" for name, each in found.items() if each != version]
    if tag is not None:
        if tag != f"v{version}":
            wrong.append(f"tag {tag}, not v{version}")
        if f"## [{version}]" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
            wrong.append(f"CHANGELOG.md: no heading [{version}]")
    return wrong


if __name__ == "__main__":
    wrong = problems(sys.argv[1] if len(sys.argv) > 1 else None)
    print("\n".join(wrong) or f"version {versions()['pyproject.toml']} everywhere")
    sys.exit(1 if wrong else 0)
