"""A study whose results are made up: two bases by two methods by three seeds, and sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import leaderboard_results as made
import yaml

from valueeval.study.cells import Cell, resolve
from valueeval.study.design import Study, read_study
from valueeval.study.store import Store

BLOCKS: dict[str, Any] = {
    "size": {"factors": {"base": ["small", "large"], "method": ["full", "lora"],
                         "seed": [0, 1, 2]}},
    "few": {"factors": {"train_size": [8, 16], "base": ["small"], "seed": [0, 1]}},
}  # fmt: skip
HYPOTHESES = [
    {"name": "large is better", "family": "size",
     "better": {"block": "size", "base": "large"}, "than": {"block": "size", "base": "small"}},
    {"name": "lora is better", "family": "size",
     "better": {"block": "size", "method": "lora"}, "than": {"block": "size", "method": "full"}},
]  # fmt: skip
DOCS = made.documents(made.CLUSTER_SIZES * 4)


def read(folder: Path, **changes: Any) -> tuple[Study, list[Cell], Store]:
    """Write the study's file and return the study, its cells and its folder."""
    bases = {}
    for name in ("small", "large"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "model.safetensors").write_bytes(name.encode())
        bases[name] = str(folder / name)
    content = {"name": "made <up>", "options": {"data": "sample"}, "bases": bases,
               "blocks": BLOCKS, "hypotheses": HYPOTHESES, **changes}  # fmt: skip
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    study = read_study(file)
    return study, resolve(study, folder / "out"), Store(folder / "out")


def skill(factors: dict[str, Any]) -> float:
    """How often a made-up cell keeps a label: the larger base is better, methods are alike."""
    return 0.75 if factors["base"] == "large" else 0.3


def finish(
    cells: list[Cell],
    store: Store,
    skill: Callable[[dict[str, Any]], float] = skill,
    only: Callable[[dict[str, Any]], bool] = lambda factors: True,
    docs: Sequence[Mapping[str, Any]] = DOCS,
) -> None:
    """Write results on some documents for the cells that `only` takes."""
    for number, cell in enumerate(cells):
        factors = dict(cell.design.factors)
        if not only(factors) or store.results(cell).exists():
            continue
        store.path(cell).mkdir(parents=True, exist_ok=True)
        store.describe(cell)
        prediction = made.predictions(docs, skill(factors), seed=number)
        manifest = made.manifest(
            method=factors.get("method", "full"), seed=factors["seed"],
            parameters={"total": 10**8 if factors["base"] == "large" else 10**7,
                        "trainable": 10**5 if factors.get("method") == "lora" else 10**7},
        )  # fmt: skip
        made.write_results(
            store.results(cell), docs=docs, prediction=prediction, dataset="sample", sample=True,
            sha=made.SAMPLE_SHA, official=False, kind="valueeval", adapter=manifest,
        )  # fmt: skip
