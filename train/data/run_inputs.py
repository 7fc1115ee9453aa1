"""Everything that a run starts from: options, base model, data, teacher, processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from valueeval.adapters.directory.base import Base
from valueeval.tasks.data.dataset import DataSet
from valueeval.train.config.config import TrainConfig
from valueeval.train.runtime.processes import Processes


@dataclass(frozen=True)
class RunInputs:
    """Options, base model and data that a run starts from.

    Attributes:
        config: The run's options.
        recipe: The options that the result depends on, and the hash of a teacher's weights.
        base: The base model.
        tokenizer: The base model's tokenizer.
        training: The arguments to learn from.
        validation: The arguments that epochs and thresholds are chosen on.
        teacher_logits: A teacher's logits for the training arguments, (arguments, 20), or None.
        processes: The processes of the run.
    """

    config: TrainConfig
    recipe: Mapping[str, Any]
    base: Base
    tokenizer: PreTrainedTokenizerBase
    training: DataSet
    validation: DataSet
    teacher_logits: npt.NDArray[np.float32] | None
    processes: Processes
