"""The scores of Touché23-ValueEval as a metric of the ``evaluate`` library.

``evaluate.load`` copies this file into its cache and imports it there, so it stands alone and takes
everything from the installed package.
"""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from valueeval.tasks.scores.scoring import score

_DESCRIPTION = """\
Scores of Touché23-ValueEval (20 human values behind arguments, multi-label). `official_f1` is \
the harmonic mean of macro-precision and macro-recall, by which the shared task ranked; `macro_f1` \
is the mean of the per-value F1. The two are often mixed up. Values with no positive in the \
references are left out of the means, and their own F1 is None.
"""

_INPUTS = """\
Args:
    predictions: (arguments, 20), 0 or 1, columns in the order of the official label files.
    references: likewise.
Returns:
    official_f1, macro_f1, micro_f1, macro_precision, macro_recall, subset_accuracy, and
    f1_<value> for each of the 20 values; each in [0, 1], or None where undefined.
"""

_CITATION = """\
@inproceedings{kiesel-etal-2023-semeval,
  title     = {{SemEval}-2023 Task 4: {ValueEval}: Identification of Human Values
               Behind Arguments},
  author    = {Kiesel, Johannes and Alshomary, Milad and Mirzakhmedova, Nailia and
               Heinrich, Maximilian and Handke, Nicolas and Wachsmuth, Henning and Stein, Benno},
  booktitle = {Proceedings of the 17th International Workshop on Semantic Evaluation},
  year      = {2023},
}
"""


class ValueEvalF1(evaluate.Metric):
    """``compute(predictions=…, references=…)`` → scores."""

    def _info(self) -> evaluate.MetricInfo:
        # As float, so that probabilities given by mistake are refused, not cut down to 0.
        labels = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": labels, "references": labels}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float | None]:
        scores = score(references, predictions)
        del scores["unparsed"]  # a property of generated answers, unknown here
        return scores
