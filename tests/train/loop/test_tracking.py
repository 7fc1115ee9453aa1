"""`valueeval train --log_with`: what trackers are told, and what happens where there are none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import accelerate.tracking
import pytest
from training import (
    ELSEWHERE,
    join,
    small_config,
    start_processes,
    stop_training,
    write_small_data,
)

from valueeval.tasks.errors import ValueEvalError
from valueeval.train.config.config import TrackerName, TrainConfig
from valueeval.train.loop.pretraining import Pretraining
from valueeval.train.options import changed
from valueeval.train.run import train
from valueeval.train.storage.output import work_folder

STEPS, EPOCHS = 3, 2


@pytest.fixture
def config(tiny_bert: Path, tmp_path: Path) -> TrainConfig:
    return small_config(
        tmp_path / "adapter",
        tiny_bert,
        write_small_data(tmp_path / "data", 24, 12),
        epochs=EPOCHS,
        batch_size=8,
        learning_rate=0.01,
        segments=("{premise}", "{conclusion}"),
        log_with="tensorboard",
    )


def logs(config: TrainConfig) -> Path:
    return Path(config.output + ".logs")


class Recorder(accelerate.tracking.GeneralTracker):  # type: ignore[misc]
    """A tracker as accelerate wants them, in the place of a library's."""

    name = "tensorboard"
    requires_logging_directory = True
    runs: list[Recorder]
    breaks_at: int | None

    def __init__(self, run_name: str, logging_dir: str, /, **options: Any) -> None:
        super().__init__()
        self.place, self.options = (run_name, logging_dir), options
        self.config: dict[str, Any] = {}
        self.logged: list[tuple[int | None, Mapping[str, float]]] = []
        self.finished = False
        self.runs.append(self)

    @property
    def tracker(self) -> Recorder:
        """Return the tracker that accelerate takes for the library's own."""
        return self

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Remembers the options."""
        self.config = values

    def log(self, values: dict[str, float], step: int | None = None, **options: Any) -> None:
        """Remembers the values, or breaks."""
        if step == self.breaks_at:
            raise OSError(28, "No space left on device")
        self.logged.append((step, values))

    def finish(self) -> None:
        """Remembers that it was told to; breaks again, as TensorBoard's does, if it has broken."""
        self.finished = True
        if self.breaks_at is not None:
            raise OSError(28, "No space left on device")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    Recorder.runs, Recorder.breaks_at = [], None
    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "tensorboard", Recorder)
    known = accelerate.utils.LoggerType.TENSORBOARD
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", [known])
    monkeypatch.setattr(accelerate.tracking, "is_tensorboard_available", lambda: True)
    return Recorder


def test_steps_and_epochs_are_logged(config: TrainConfig, recorder: type[Recorder]) -> None:
    manifest = train(config)
    (run,) = recorder.runs
    assert run.place == ("valueeval", str(logs(config)))
    assert run.finished
    assert run.config["learning_rate"] == 0.01
    assert run.config["segments"] == "['{premise}', '{conclusion}']"
    assert run.config.keys() == manifest.config.keys()

    lines = [
        json.loads(line)
        for line in (Path(config.output) / "metrics.jsonl").read_text("utf-8").splitlines()
    ]
    steps = [(step, values) for step, values in run.logged if "loss" in values]
    assert [step for step, _ in steps] == list(range(1, STEPS * EPOCHS + 1))
    losses = [values["loss"] for _, values in steps]
    for epoch, line in enumerate(lines):
        mean = sum(losses[STEPS * epoch :][:STEPS]) / STEPS
        assert mean == pytest.approx(line["loss"])
    assert steps[-1][1]["learning_rate"] == lines[-1]["learning_rate"] == 0.0

    epochs = [(step, values) for step, values in run.logged if "loss" not in values]
    assert [step for step, _ in epochs] == [STEPS, 2 * STEPS]
    for (_, values), line in zip(epochs, lines, strict=True):
        expected = {f"validation/{k}": v for k, v in line["validation"].items() if v is not None}
        assert values == {"epoch": line["epoch"], **expected}


def test_a_resumed_run_logs_on_after_its_checkpoint(
    config: TrainConfig, recorder: type[Recorder]
) -> None:
    stop_training(config, STEPS + 2)
    train(changed(config, resume=True))
    first, second = recorder.runs
    assert first.finished
    assert first.options == {"purge_step": 1}
    assert second.options == {"purge_step": STEPS + 1}
    assert [step for step, _ in second.logged] == [4, 5, 6, 6]


def test_logging_may_be_switched_on_when_a_run_is_resumed(
    config: TrainConfig, recorder: type[Recorder]
) -> None:
    stop_training(changed(config, log_with=None), STEPS)
    assert not recorder.runs
    train(changed(config, resume=True))
    assert len(recorder.runs) == 1


def test_training_is_worth_more_than_its_log(
    config: TrainConfig, recorder: type[Recorder], capfd: pytest.CaptureFixture[str]
) -> None:
    recorder.breaks_at = 2
    train(config)
    assert [step for step, _ in recorder.runs[0].logged] == [1]
    assert recorder.runs[0].finished
    said = capfd.readouterr().err
    assert said.count("logging has failed ([Errno 28] No space left on device)") == 1


def test_the_stage_before_is_logged_under_its_own_names(
    config: TrainConfig, recorder: type[Recorder]
) -> None:
    config = changed(config, contrastive="pretrain", contrastive_epochs=1)
    stop_training(config, STEPS - 1, Pretraining)
    stop_training(changed(config, resume=True), 1)
    stop_training(changed(config, resume=True), STEPS + 1)
    train(changed(config, resume=True))
    assert [run.options["purge_step"] for run in recorder.runs] == [
        1,  # no checkpoint yet
        1,
        STEPS + 1,  # that of the stage's end
        2 * STEPS + 1,  # that of the first epoch after it
    ]
    logged = [(step, name) for step, values in recorder.runs[1].logged for name in values]
    stage = [step for step, name in logged if name == "contrastive/loss"]
    assert stage == list(range(1, STEPS + 1))
    assert [step for step, name in logged if name == "contrastive/epoch"] == [STEPS]
    assert [step for step, name in logged if name == "loss"] == [STEPS + 1]
    lines = (Path(config.output) / "metrics.jsonl").read_text("utf-8").splitlines()
    first, *others = [json.loads(line) for line in lines]
    assert (first["stage"], first["epoch"], first["step"]) == ("contrastive", 1, STEPS)
    losses = [values["contrastive/loss"] for _, values in recorder.runs[1].logged[:STEPS]]
    assert first["loss"] == pytest.approx(sum(losses) / STEPS)
    assert [(line["epoch"], line.get("stage")) for line in others] == [(1, None), (2, None)]


def test_every_tracker_of_accelerate_can_be_named() -> None:
    assert set(get_args(TrackerName)) == set(accelerate.tracking.LOGGER_TYPE_TO_CLASS)


@pytest.mark.parametrize(
    ("name", "options"),
    [("trackio", {"name": "adapter"}), ("mlflow", {"run_name": "adapter"}), ("aim", {})],
)
def test_other_trackers_are_told_the_same(
    config: TrainConfig,
    recorder: type[Recorder],
    name: str,
    options: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "name", name)
    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, name, recorder)
    known = accelerate.utils.LoggerType(name)
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", [known])
    monkeypatch.setattr(accelerate.tracking, f"is_{name}_available", lambda: True)
    train(changed(config, log_with=name))
    (run,) = recorder.runs
    assert run.options == options
    assert run.finished
    assert [step for step, values in run.logged if "loss" in values] == [*range(1, 7)]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_library_that_is_missing_is_named_before_training(
    config: TrainConfig, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerate.tracking, f"is_{name}_available", lambda: False)
    with pytest.raises(ValueEvalError, match=f"--log_with {name}: .* pip install {name}"):
        train(changed(config, log_with=name))
    assert not work_folder(Path(config.output)).exists()
    assert not logs(config).exists()


def test_an_accelerate_that_does_not_know_a_tracker_is_named(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "trackio")
    with pytest.raises(ValueEvalError, match=r"--log_with trackio: .* --upgrade accelerate"):
        train(changed(config, log_with="trackio"))


def test_a_log_that_cannot_start_leaves_nothing(
    config: TrainConfig, recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_key(self: Recorder) -> None:
        raise RuntimeError("No API key configured")

    monkeypatch.setattr(Recorder, "start", no_key)
    with pytest.raises(ValueEvalError, match=r"cannot start \(No API key configured\)"):
        train(config)
    assert not work_folder(Path(config.output)).exists()
    assert not logs(config).exists()


def test_tensorboard_has_every_step_once(config: TrainConfig) -> None:
    """For a run that was stopped two steps after its checkpoint."""
    stop_training(config, STEPS + 2)
    train(changed(config, resume=True))
    assert steps_in_tensorboard(config) == [1, 2, 3, 4, 5, 6]


def steps_in_tensorboard(config: TrainConfig) -> list[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(logs(config) / "valueeval")).Reload()
    assert [event.step for event in events.Scalars("validation/macro_f1")] == [3, 6]
    return [event.step for event in events.Scalars("loss")]


def test_wandb_knows_a_resumed_run_again(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = changed(config, log_with="wandb")
    stop_training(config, STEPS + 2)
    train(changed(config, resume=True))
    number = (logs(config) / "wandb-run").read_text("utf-8").strip()
    runs = list((logs(config) / "wandb").glob("offline-run-*"))
    assert {path.name.rpartition("-")[2] for path in runs} == {number}
    assert len(list((logs(config) / "wandb").glob("offline-run-*/*.wandb"))) == len(runs) > 0


def test_of_several_processes_one_logs(config: TrainConfig, tmp_path: Path) -> None:
    """And if it cannot, all of them end."""
    assert join(start_processes(config, 2), 120.0) == [0, 0]
    assert steps_in_tensorboard(config) == [1, 2, 3, 4, 5, 6]

    other, errors = changed(config, output=config.output + "-other"), tmp_path / "errors"
    logs(other).write_text("a file", "utf-8")
    assert join(start_processes(other, 2, errors), 120.0) == [2, ELSEWHERE]
    assert errors.read_text("utf-8").count("cannot write to") == 1
