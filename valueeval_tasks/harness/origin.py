"""Which run samples are from: what the results file beside them, or their own name, tells."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from valueeval.tasks.harness.model_names import ADAPTER_ARGUMENTS
from valueeval.tasks.scores.calibration import Origin
from valueeval.tasks.templates.decide import ALL_TEMPLATES

_NAME = re.compile(
    rf"samples_valueeval_(?P<template>{'|'.join(ALL_TEMPLATES)})(?:_p(?P<paraphrase>\d))?"
    r"(?:_(?P<set>[a-z]+))?(?:_(?P<date>\d{4}-.*))?$"
)


def origin_of(samples: str | Path) -> Origin:
    """Return what is known of the run that wrote a samples file."""
    path = Path(samples)
    found = _NAME.match(path.stem)
    if found is None:
        return Origin()
    given = found.groupdict()
    named = Origin(
        template=given["template"],
        paraphrase=int(given["paraphrase"] or 1),
        set=given["set"] or "main",
    )
    if not given["date"]:
        return named
    task = path.stem.removeprefix("samples_").removesuffix(f"_{given['date']}")
    return _from_results(path.with_name(f"results_{given['date']}.json"), task) or named


def _from_results(path: Path, task: str) -> Origin | None:
    """Return what a results file says of a task; None if there is none, or it is not lm-eval's."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        metadata = content["configs"][task]["metadata"]
        return Origin(
            model=_model(content),
            template=metadata["template"],
            paraphrase=int(metadata["paraphrase"]),
            wording=metadata.get("wording"),
            shots=int(content["n-shot"][task]),
            set=metadata["set"],
            data_sha256=metadata["data_sha256"],
        )
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None


def _model(content: dict[str, Any]) -> str | None:
    config = content.get("config", {})
    name = model_name(content.get("model_name"), config.get("model_args"))
    return f"{name} (calibrated)" if name and config.get("calibration") else name


def model_of_arguments(arguments: Mapping[str, Any]) -> str | None:
    """Return the name that `origin_of` will give to a run with these ``--model_args``.

    Returns:
        None if they do not tell it, as those of ``adapter=``.
    """
    # lm-eval's own order (`GeneralConfigTracker`).
    keys = ("peft", "delta", "pretrained", "model")
    named = next((str(arguments[key]) for key in keys if arguments.get(key)), None)
    name = model_name(named, arguments)
    return f"{name} (calibrated)" if name and arguments.get("calibration") else name


def model_name(name: str | None, arguments: Any) -> str | None:
    """Return a name that tells a model from others, whose scores differ.

    Args:
        name: The model's name, as lm-eval writes it.
        arguments: Its ``--model_args``, if they are a mapping.
    """
    if not name or not isinstance(arguments, Mapping):
        return name
    adapter = next((arguments[key] for key in ADAPTER_ARGUMENTS if arguments.get(key)), None)
    return f"{name} + {adapter}" if adapter and str(adapter) != name else name
