"""Declarations of pyproject.toml: entry points, pinned and lowest versions."""

from __future__ import annotations

import ast
import re
from importlib.metadata import entry_points, requires
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from valueeval import registration

ROOT = Path(__file__).resolve().parents[2]


def test_entry_points_say_what_the_hook_does() -> None:
    models = {entry.name: entry.value for entry in entry_points(group="lm_eval.models")}
    assert registration.MODELS.items() <= models.items()
    tasks = {entry.name: entry.value for entry in entry_points(group="lm_eval.tasks")}
    assert tasks["valueeval"] == "valueeval.tasks"


@pytest.mark.parametrize("target", registration.MODELS.values())
def test_models_exist_where_they_are_said_to_be(target: str) -> None:
    module, _, name = target.partition(":")
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    body = ast.parse(Path(spec.origin).read_text()).body
    assert name in {node.name for node in body if isinstance(node, ast.ClassDef)}


def constraints(name: str) -> dict[str, Requirement]:
    """Return the requirements of a constraints file by the name of what they are about."""
    lines = (ROOT / name).read_text().splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(one.name): one for one in found}


def test_everything_that_is_declared_is_pinned() -> None:
    declared = {canonicalize_name(Requirement(r).name) for r in requires("lm-eval-valueeval") or ()}
    assert declared <= constraints("constraints.txt").keys()


def test_the_lowest_versions_that_are_tested_are_those_declared() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    (listed,) = re.findall(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    declared = [Requirement(line.strip(' ",')) for line in listed.splitlines()]
    lowest = constraints("constraints-lowest.txt")
    assert {canonicalize_name(one.name) for one in declared} - {"torch"} == lowest.keys()
    for one in declared:
        (bound,) = one.specifier
        assert bound.operator == ">="
        if one.name != "torch":
            (pinned,) = lowest[canonicalize_name(one.name)].specifier
            assert pinned.operator == "=="
            assert Version(pinned.version) == Version(bound.version), one.name
