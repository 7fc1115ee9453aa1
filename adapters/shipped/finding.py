"""Find the adapter that ships with the package, for `predict` and `load` without an adapter.

It is a folder beside this file, written by ``make ship ADAPTER=…`` (see
`valueeval.train.publish.release`): an adapter directory like any other, with its model card and its
scores on test sets (``test_scores.json``). Its base model is `minilm`.
"""

from __future__ import annotations

from pathlib import Path

from valueeval.tasks.errors import ValueEvalError

NAME = "minilm-lora"
FOLDER = Path(__file__).with_name(NAME)


def shipped_adapter() -> Path:
    """Return the folder of the adapter that ships with the package.

    Raises:
        ValueEvalError: This build of the package has none.
    """
    if not (FOLDER / "valueeval.json").is_file():
        raise ValueEvalError(
            "this build of the package ships no adapter: name one, a folder that `valueeval train` "
            "has written or org/name on the hub (--adapter DIR)"
        )
    return FOLDER
