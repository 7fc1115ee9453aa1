"""Data, tasks, templates and scores of ValueEval (imports no torch and nothing else of ours)."""


def metric_path() -> str:
    """Path of the scorer as a metric of the ``evaluate`` library: ``evaluate.load(metric_path())``.

    It loads without a network and computes ``official_f1``, ``macro_f1`` and the others of
    :func:`valueeval.tasks.scores.scoring.score` from ``predictions`` and ``references`` of shape
    (arguments, 20).
    """
    from pathlib import Path

    return str(Path(__file__).with_name("scores") / "valueeval_f1.py")
