"""Last station before the task decides: the thresholds of an adapter's manifest."""

from __future__ import annotations

from lm_eval.api.instance import Instance

from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.reading.types import LogLikelihood
from valueeval.tasks.harness.requests import ValueRequest


def apply_threshold(
    manifest: Manifest | None, request: Instance, answer: LogLikelihood
) -> LogLikelihood:
    """Return an answer such that the task's difference is less by the value's threshold (a logit).

    Args:
        manifest: The adapter's manifest; None without one, and the answer stays as it is.
        request: What was asked; other templates than the adapter's stay as they are.
        answer: The answer to all requests that ask the same.
    """
    if manifest is None or not isinstance(request, ValueRequest):
        return answer
    if request.template != manifest.template or request.value is None:
        return answer
    threshold = float(manifest.thresholds.logits[request.value])
    # Log-likelihoods stay below 0: a threshold lowers one of the two, whichever it must.
    less = threshold if request.role in ("name", "yes") else -threshold
    return answer[0] - max(less, 0.0), answer[1]
