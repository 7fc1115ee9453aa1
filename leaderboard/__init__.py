"""Collation of results into a leaderboard (imports no torch).

The package can be called: ``valueeval.leaderboard("results")`` is
`valueeval.leaderboard.commands.interface.leaderboard`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _CallableModule(ModuleType):
    """A package with the name of the function that people call."""

    def __call__(self, *places: Any, **options: Any) -> Any:
        return import_module(f"{__name__}.commands.interface").leaderboard(*places, **options)


sys.modules[__name__].__class__ = _CallableModule
