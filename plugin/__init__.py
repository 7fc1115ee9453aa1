"""ValueEval: human values behind arguments, as a plugin of lm-evaluation-harness.

What people use in Python, imported when it is asked for::

    model = valueeval.load("runs/minilm")
    model.predict(["Nobody should have to fear the police"])  # a DataFrame
    model.evaluate("main")
    valueeval.score(labels, predictions, conclusions=conclusions)
    valueeval.compare("results/a", "results/b")
    valueeval.leaderboard("results").to_pandas()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valueeval.adapters.predict.model import Model as Model
    from valueeval.adapters.predict.model import load as load
    from valueeval.leaderboard.commands.interface import compare as compare
    from valueeval.leaderboard.commands.interface import leaderboard as leaderboard
    from valueeval.tasks.commands.scored import Scores as Scores
    from valueeval.tasks.commands.scored import score as score
    from valueeval.tasks.errors import ValueEvalError as ValueEvalError

__version__ = "0.1.0"

# Name → module that has it. The package `leaderboard` can be called (see there).
_LAZY = {
    "Model": "valueeval.adapters.predict.model",
    "Scores": "valueeval.tasks.commands.scored",
    "ValueEvalError": "valueeval.tasks.errors",
    "compare": "valueeval.leaderboard.commands.interface",
    "load": "valueeval.adapters.predict.model",
    "score": "valueeval.tasks.commands.scored",
}
__all__ = ["Model", "Scores", "ValueEvalError", "compare", "leaderboard", "load", "score"]


def __getattr__(name: str) -> Any:
    """Import what people use from where it is (PEP 562)."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name == "leaderboard":
        return import_module("valueeval.leaderboard")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
