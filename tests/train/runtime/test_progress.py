"""The bar that is shown while training goes on."""

from __future__ import annotations

import pytest

from valueeval.train.runtime.progress import TrainingProgress


def test_the_bar_ends_with_the_best_score(capfd: pytest.CaptureFixture[str]) -> None:
    with TrainingProgress(total=2, done=0) as progress:
        progress.step(0.7)
        progress.best(0.25)
        progress.step(0.6)
        progress.best(0.5)
    last = capfd.readouterr().err.replace("\n", " ").rpartition("training")[2]
    assert "loss 0.6000, validation macro_f1 0.5000" in " ".join(last.split())
