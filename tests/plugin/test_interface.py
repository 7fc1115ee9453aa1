"""``import valueeval``: what people use in Python is there, and costs nothing until it is used."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_adapters import write_adapter

import valueeval


def test_names_are_those_of_the_modules() -> None:
    from valueeval.adapters.predict.model import Model, load
    from valueeval.leaderboard.commands.interface import compare
    from valueeval.tasks.commands.scored import Scores, score
    from valueeval.tasks.errors import ValueEvalError

    found = {name: getattr(valueeval, name) for name in valueeval.__all__}
    assert callable(found.pop("leaderboard"))
    assert found == {
        "Model": Model, "Scores": Scores, "ValueEvalError": ValueEvalError, "compare": compare,
        "load": load, "score": score,
    }  # fmt: skip
    assert set(valueeval.__all__) <= set(dir(valueeval))
    with pytest.raises(AttributeError, match="module 'valueeval' has no attribute 'laod'"):
        valueeval.laod  # noqa: B018


@pytest.mark.parametrize("name", ["load", "score", "compare"])
def test_everything_is_documented_and_typed(name: str) -> None:
    function = getattr(valueeval, name)
    assert inspect.getdoc(function)
    signature = inspect.signature(function)
    assert signature.return_annotation is not signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not parameter.empty
        assert f"{parameter.name}:" in (inspect.getdoc(function) or "")


def test_the_import_is_light() -> None:
    code = (
        "import sys, valueeval; print(*(set(sys.modules) & {'numpy', 'pandas', 'torch', 'rich'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_what_the_readme_shows(tmp_path: Path, tiny_bert: Path) -> None:
    adapter = write_adapter(tmp_path / "tiny", tiny_bert)
    model = valueeval.load(str(adapter), device="cpu")
    found = model.predict(["Nobody should have to fear the police"])
    assert found.loc[0, "labelled_from"] == "text alone"
    assert model.evaluate("sample").macro_f1 is not None
