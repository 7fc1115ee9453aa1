"""The bar that is shown while training goes on."""

from __future__ import annotations

import pytest

from valueeval.train.runtime import progress as module
from valueeval.train.runtime.progress import Pulse, TrainingProgress, reading


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        """Return the seconds that it was set to."""
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_log_gets_a_line_every_half_minute(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    pulse = Pulse("validation", 1896)
    for _ in range(10):
        clock.seconds += 7.5
        pulse.advance(60)
    assert capfd.readouterr().err.splitlines() == [
        "validation: 240 of 1896 arguments, 8.0 arguments a second, 3 min left",
        "validation: 480 of 1896 arguments, 8.0 arguments a second, 3 min left",
    ]


def test_steps_of_a_resumed_training_in_a_log(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    with TrainingProgress(total=100, done=50) as progress:
        for _ in range(10):
            clock.seconds += 4
            progress.step(0.5, 16)
    line = capfd.readouterr().err.splitlines()[0]
    assert line == ("training: 58 of 100 steps, 4.0 arguments a second, 3 min left, loss 0.5000")


def test_reading_in_a_log(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    with reading(90) as advance:
        clock.seconds += 31
        advance(62)
    assert capfd.readouterr().err == (
        "reading: 62 of 90 arguments, 2.0 arguments a second, 14 s left\n"
    )


def test_the_bar_ends_with_the_best_score(capfd: pytest.CaptureFixture[str]) -> None:
    with TrainingProgress(total=2, done=0) as progress:
        progress.step(0.7, 8)
        progress.best(0.25)
        progress.step(0.6, 8)
        progress.best(0.5)
    last = capfd.readouterr().err.replace("\n", " ").rpartition("training")[2]
    assert "loss 0.6000, validation macro_f1 0.5000" in " ".join(last.split())
