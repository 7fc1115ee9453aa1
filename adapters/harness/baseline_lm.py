"""``--model valueeval_baseline``: baselines that a system must beat, as models of lm-eval."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from lm_eval.api.instance import Instance

from valueeval.adapters.harness.argument_lm import ArgumentLM, hint
from valueeval.tasks.data.dataset import Argument, load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.templates.decide import TEMPLATES, gold
from valueeval.tasks.values import VALUE_SLUGS

STRATEGIES = ("every_value", "training_frequency")


class BaselineLM(ArgumentLM):
    """Predicts without reading; for every ValueEval task.

    Where a template asks for text, it writes the answer in the format of that template.

    Args:
        strategy: ``every_value`` predicts all 20 values for every argument (the shared task's
            "1-baseline"); ``training_frequency`` draws each value for itself, as often as it
            occurs in the training set.
        seed: Seed of the draws. A draw depends on seed, argument id and value alone, not on order,
            batch or process.
        data_dir: Folder of the training set, as for the tasks; arguments of the sample set are
            drawn by the frequencies of the sample's training split.

    Raises:
        ValueEvalError: The strategy is unknown, or the seed is no number.
    """

    def __init__(
        self, strategy: str = "every_value", seed: int = 0, data_dir: str | None = None
    ) -> None:
        if strategy not in STRATEGIES:
            raise ValueEvalError(
                f"--model_args: no strategy {strategy!r}; {hint(strategy, STRATEGIES)}"
            )
        if not isinstance(seed, int):
            raise ValueEvalError(f"--model_args: seed: {seed!r} is no whole number")
        super().__init__()
        self.strategy = strategy
        self.seed = seed
        self._data_dir = data_dir
        drawn = strategy == "training_frequency"
        self.name = f"baseline-{strategy}" + (f"-seed{seed}" if drawn else "")

    def differences(self, arguments: Sequence[Argument]) -> npt.NDArray[np.float64]:
        """Return 1, or a value's frequency less a number drawn from [0, 1): (arguments, 20)."""
        if self.strategy == "every_value" or not arguments:
            return np.ones((len(arguments), len(VALUE_SLUGS)))
        draws = [[_draw(self.seed, a.id, slug) for slug in VALUE_SLUGS] for a in arguments]
        frequencies = [
            self._sample_frequencies if a in self._sample else self._training_frequencies
            for a in arguments
        ]
        differences: npt.NDArray[np.float64] = np.array(frequencies) - np.array(draws)
        return differences

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the answers to templates mbc, oa and cot, each in its own format."""
        answers = []
        for request, row in self._looked_up(requests, TEMPLATES):
            labels = [int(difference > 0) for difference in row]
            answers.append(gold(request.template, labels, request.value))
        return answers

    def get_model_info(self) -> dict[str, Any]:
        """Return what lm-eval writes under ``config`` of the results."""
        return {
            "model_num_parameters": 0,
            "model_dtype": "",
            "model_revision": "",
            "model_sha": "",
        }

    @cached_property
    def _training_frequencies(self) -> npt.NDArray[np.float64]:
        frequencies: npt.NDArray[np.float64] = load_set("training", self._data_dir).labels.mean(0)
        return frequencies

    @cached_property
    def _sample_frequencies(self) -> npt.NDArray[np.float64]:
        frequencies: npt.NDArray[np.float64] = load_set("sample_training").labels.mean(0)
        return frequencies

    @cached_property
    def _sample(self) -> frozenset[Argument]:
        return frozenset(load_set("sample").arguments)


def _draw(seed: int, id: str, slug: str) -> float:
    """Return a number from [0, 1) that depends on the three arguments alone."""
    digest = hashlib.sha256(f"{seed}\t{id}\t{slug}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits: below 1 as a float as well
