"""One training run for training.py: settings are its argument, a JSON line is its result."""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import numpy as np
import torch

from valueeval.tasks.data.dataset import DataSet, load_set
from valueeval.tasks.scores.scoring import score
from valueeval.train.data.subsets import first_arguments
from valueeval.train.loop.thresholds import choose_thresholds
from valueeval.train.options import configure


def main() -> None:
    """Trains as the settings say and prints seconds, score and memory."""
    settings = json.loads(sys.argv[1])
    result = {"trainer": _trainer, "valueeval": _valueeval}[settings["side"]](settings)
    result["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))


def _valueeval(settings: dict[str, Any]) -> dict[str, Any]:
    from valueeval.train.run import train

    config = configure(
        output=settings["output"],
        base=settings["base"],
        method=settings["method"],
        train_size=settings["train_size"],
        epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"],
        precision=settings["precision"],
        seed=settings["seed"],
        cuda_graphs=settings.get("cuda_graphs", False),
    )
    started = time.perf_counter()
    manifest = train(config)
    return {
        "seconds": time.perf_counter() - started,
        "examples": manifest.data.size * settings["epochs"],
        "macro_f1": manifest.validation["macro_f1"],
    }


def _trainer(settings: dict[str, Any]) -> dict[str, Any]:
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        Trainer,
        TrainingArguments,
    )

    from valueeval.adapters.directory.base import resolve_base

    folder = resolve_base(settings["base"])
    started = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=20, problem_type="multi_label_classification"
    )
    if settings["method"] == "head":
        model.base_model.requires_grad_(False)
    whole, validation = load_set("training"), load_set("validation")
    # The same arguments as ours.
    rows = sorted(first_arguments(len(whole.labels), settings["train_size"], settings["seed"]))
    chosen = {whole.arguments[row].id for row in rows}
    options = TrainingArguments(
        output_dir=settings["output"],
        per_device_train_batch_size=settings["batch_size"],
        per_device_eval_batch_size=settings["batch_size"],
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        eval_strategy="epoch",
        save_strategy="no",
        report_to=[],
        seed=settings["seed"],
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=options,
        train_dataset=_Padded(whole, tokenizer, settings["max_length"], chosen),
        eval_dataset=_Padded(validation, tokenizer, settings["max_length"]),
    )
    trainer.train()
    seconds = time.perf_counter() - started
    logits = np.asarray(trainer.predict(trainer.eval_dataset).predictions)
    thresholds = choose_thresholds("shrunk", validation.labels, logits)
    scores = score(validation.labels, thresholds.decide(logits))
    return {
        "seconds": seconds,
        "examples": len(rows) * settings["epochs"],
        "macro_f1": scores["macro_f1"],
    }


class _Padded(torch.utils.data.Dataset[dict[str, Any]]):
    """Arguments padded to the maximum length before training begins."""

    def __init__(
        self, data: DataSet, tokenizer: Any, max_length: int, ids: set[str] | None = None
    ) -> None:
        from valueeval.tasks.data.dataset import STANCE_WORDS

        rows = [row for row, one in enumerate(data.arguments) if ids is None or one.id in ids]
        arguments = [data.arguments[row] for row in rows]
        self._inputs = tokenizer(
            [one.premise for one in arguments],
            [f"{STANCE_WORDS[one.stance]}: {one.conclusion}" for one in arguments],
            padding="max_length",
            max_length=max_length,
            truncation=True,
        )
        self._labels = data.labels[rows].astype(np.float32)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        item = {key: torch.tensor(values[row]) for key, values in self._inputs.items()}
        return {**item, "labels": torch.from_numpy(self._labels[row])}


if __name__ == "__main__":
    main()
