"""`valueeval train` in several processes, each a real one: the same result as in one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training import (
    ELSEWHERE,
    join,
    small_config,
    start_processes,
    write_small_data,
    write_without_dropout,
)

from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.config.config import TrainConfig
from valueeval.train.loop.gradient_cache import backward_in_parts
from valueeval.train.objectives.contrastive import contrastive_loss
from valueeval.train.options import changed
from valueeval.train.run import train
from valueeval.train.runtime.processes import Processes, note_unused_settings
from valueeval.train.storage import output
from valueeval.train.storage.output import work_folder

# The last batch of an epoch has one argument: one process reads it, the others none.
TRAINING, VALIDATION, BATCH, EPOCHS = 33, 70, 16, 2
DEADLINE = 120.0  # seconds; far more than any run needs


@pytest.fixture(scope="module")
def without_dropout(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_without_dropout(tmp_path_factory.mktemp("base") / "base", tiny_bert)


@pytest.fixture
def config(without_dropout: Path, tmp_path: Path) -> TrainConfig:
    """Without dropout, which each process draws by itself."""
    config = small_config(
        tmp_path / "adapter",
        without_dropout,
        write_small_data(tmp_path / "data", TRAINING, VALIDATION),
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=0.01,
        dropout=0.0,
    )
    return changed(config, max_length=256)


@pytest.fixture
def errors(tmp_path: Path) -> Path:
    return tmp_path / "errors"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MIXED_PRECISION", "bf16", "mixed_precision bf16 is not used: --precision decides"),
        ("GRADIENT_ACCUMULATION_STEPS", "4", "gradient_accumulation_steps 4 is not used: --batch"),
        ("DYNAMO_BACKEND", "INDUCTOR", "dynamo_backend INDUCTOR is not used: --compile decides"),
        ("MIXED_PRECISION", "no", ""),
        ("GRADIENT_ACCUMULATION_STEPS", "1", ""),
    ],
)
def test_settings_of_the_launcher_without_effect_are_named(
    variable: str,
    value: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"ACCELERATE_{variable}", value)
    note_unused_settings()
    printed = capfd.readouterr().err
    assert said in printed if said else not printed


def with_dropout(config: TrainConfig, tiny_bert: Path) -> TrainConfig:
    return changed(config, base=str(tiny_bert), dropout=0.1)


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    tensors = {}
    for path in Path(config.output).glob("*.safetensors"):
        tensors |= {f"{path.name} {name}": t for name, t in load_file(path).items()}
    return tensors


def metrics(config: TrainConfig) -> list[dict[str, object]]:
    lines = (Path(config.output) / "metrics.jsonl").read_text("utf-8").splitlines()
    return [{**json.loads(line), "seconds": None} for line in lines]


def assert_close(one: TrainConfig, other: TrainConfig) -> None:
    torch.testing.assert_close(weights(one), weights(other), atol=1e-5, rtol=1e-4)
    assert_losses_close(one, other)


def assert_losses_close(one: TrainConfig, other: TrainConfig) -> None:
    for a, b in zip(metrics(one), metrics(other), strict=True):
        assert (a["step"], a["epoch"], a["learning_rate"]) == (
            b["step"],
            b["epoch"],
            b["learning_rate"],
        )
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)


def assert_same(one: TrainConfig, other: TrainConfig) -> None:
    assert read_manifest(one.output).weights_sha256 == read_manifest(other.output).weights_sha256
    assert metrics(one) == metrics(other)


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({}, 2),
        ({}, 3),
        ({"method": "head"}, 2),
        ({"method": "lora", "lora_dropout": 0.0}, 2),
        ({"heads": "cross-encoder", "train_size": 9, "epochs": 1}, 2),
        ({"contrastive": "joint"}, 2),
        # Two arguments are read at once: each process reads its share in parts, too.
        ({"contrastive": "joint", "max_tokens_per_microbatch": 96}, 3),
    ],
    ids=[
        "full",
        "full, three",
        "head",
        "lora",
        "cross-encoder",
        "joint",
        "joint, three, in parts",
    ],
)
def test_several_processes_learn_what_one_does(
    config: TrainConfig, options: dict[str, Any], number: int
) -> None:
    assert_several_learn_what_one_does(changed(config, **options), number)


@pytest.mark.parametrize(
    "options",
    [
        {"template": "bca", "method": "prompt+full"},
        {"template": "mbc", "method": "prompt-tuning", "learning_rate": 0.1},
    ],
    ids=["bca", "mbc"],
)
def test_several_processes_train_a_language_model_as_one_does(
    config: TrainConfig, options: dict[str, Any], tiny_gpt2: Path, tmp_path: Path
) -> None:
    """They share the questions about validation, too."""
    base = write_without_dropout(tmp_path / "base", tiny_gpt2)
    data_dir = write_small_data(tmp_path / "less", 17, 5)
    fresh = small_config(Path(config.output), base, data_dir, epochs=2, batch_size=8)
    assert_several_learn_what_one_does(changed(fresh, max_length=256, **options), 2)


def test_several_processes_pretrain_as_one_does(config: TrainConfig) -> None:
    """Seen in the losses after that stage.

    In the weights not: where a gradient is nothing but rounding, and of this loss many are, AdamW's
    first steps go anywhere. `test_each_process_has_its_part_of_the_gradient_of_all` compares those.
    """
    config = changed(config, learning_rate=0.001)
    alone = changed(config, contrastive="pretrain")
    together = changed(alone, output=alone.output + "-together")
    train(alone)
    assert join(start_processes(together, 2), DEADLINE) == [0, 0]
    assert_losses_close(alone, together)
    without = changed(config, output=config.output + "-without")
    train(without)
    assert metrics(without)[0]["loss"] != pytest.approx(metrics(alone)[0]["loss"], abs=1e-3)


def test_several_processes_learn_from_a_teacher_as_one_does(config: TrainConfig) -> None:
    teacher = changed(config, output=config.output + "-teacher", epochs=1)
    train(teacher)
    assert_several_learn_what_one_does(changed(config, teacher=teacher.output), 2)


def assert_several_learn_what_one_does(alone: TrainConfig, number: int) -> None:
    together = changed(alone, output=alone.output + "-together")
    manifest = train(alone)
    assert join(start_processes(together, number), DEADLINE) == [0] * number
    assert_close(alone, together)
    shared = read_manifest(together.output)
    assert shared.config == manifest.config
    assert shared.parameters == manifest.parameters
    assert not work_folder(Path(together.output)).exists()


def test_killed_at_random_moments_and_resumed_by_as_many_gives_the_same_adapter(
    config: TrainConfig, tiny_bert: Path
) -> None:
    """Checkpoints after each step, so that many a kill comes while one is written."""
    config = changed(with_dropout(config, tiny_bert), checkpoint_seconds=0.0, resume=True)
    whole = changed(config, output=config.output + "-whole")
    started = time.monotonic()
    assert join(start_processes(whole, 2), DEADLINE) == [0, 0]
    duration = time.monotonic() - started

    random = Random()  # noqa: S311 (other moments in every run of the test)
    moments = [random.uniform(0.3, 0.9) * duration for _ in range(3)]
    for moment in moments:
        # 2: the other one was killed a moment before.
        assert set(join(start_processes(config, 2), moment)) <= {0, 2, -signal.SIGKILL}
    assert join(start_processes(config, 2), DEADLINE) == [0, 0], moments
    assert_same(whole, config)


def test_resumed_by_another_number_of_processes(config: TrainConfig) -> None:
    """Stopped in the second epoch of two processes; one goes on, then again two."""
    whole = changed(config, output=config.output + "-whole")
    train(whole)
    config = changed(config, checkpoint_seconds=0.0, resume=True)
    for number in (2, 1, 2):
        processes = start_processes(config, number)
        wait_for_another_checkpoint(config)
        assert -signal.SIGKILL in join(processes, 0.0)
    train(config)
    assert_close(whole, config)


def wait_for_another_checkpoint(config: TrainConfig) -> None:
    def steps() -> int:
        names = [path.name for path in work_folder(Path(config.output)).glob("checkpoint-*")]
        return max((int(name.split("-")[1]) for name in names if name[-1] != "p"), default=0)

    before, deadline = steps(), time.monotonic() + DEADLINE
    while steps() == before:
        assert time.monotonic() < deadline
        time.sleep(0.001)


# --------------------------------------------------------------------------------- what can fail


def test_training_that_diverges_ends_all_and_one_says_why(
    config: TrainConfig, errors: Path
) -> None:
    started = start_processes(changed(config, learning_rate=1e30), 2, errors)
    assert join(started, DEADLINE) == [2, ELSEWHERE]
    assert errors.read_text("utf-8").count("training diverged") == 1


def test_an_output_that_cannot_be_written_ends_all_and_one_says_why(
    config: TrainConfig, tmp_path: Path, errors: Path
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    there = changed(config, output=str(tmp_path / "file" / "adapter"))
    assert join(start_processes(there, 2, errors), DEADLINE) == [2, ELSEWHERE]
    assert errors.read_text("utf-8").count("cannot write") == 1


def test_a_process_that_is_killed_ends_the_others(config: TrainConfig, errors: Path) -> None:
    config = changed(config, epochs=1000, checkpoint_seconds=0.0)
    main, other = processes = start_processes(config, 2, errors)
    wait_for_another_checkpoint(config)
    other.kill()
    killed = time.monotonic()
    main.join(DEADLINE)
    assert time.monotonic() - killed < DEADLINE / 2
    assert join(processes, 0.0) == [2, -signal.SIGKILL]
    assert "lost the other processes of this run" in errors.read_text("utf-8")
    assert list(work_folder(Path(config.output)).glob("checkpoint-*"))


# ------------------------------------------------------------------------------------------ parts


class Doubled(Processes):
    """The first of two processes; the other one has just what this one has."""

    def __init__(self) -> None:
        super().__init__()
        self.number, self.index = 2, 0

    def _sum(self, tensor: torch.Tensor) -> torch.Tensor:
        return 2 * tensor


def test_gradients_are_summed_and_what_has_none_keeps_none() -> None:
    layer, unread = nn.Linear(2, 1), nn.Linear(2, 1)
    frozen = nn.Linear(2, 1).requires_grad_(False)
    layer(torch.tensor([[1.0, 2.0]])).sum().backward()
    Doubled().sum_gradients([*layer.parameters(), *unread.parameters(), *frozen.parameters()])
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[2.0, 4.0]]
    assert layer.bias.grad is not None
    assert layer.bias.grad.tolist() == [2.0]
    assert unread.weight.grad is frozen.weight.grad is None


def test_shares_hold_everything_once() -> None:
    processes = Doubled()
    first = processes.share("abcde")
    processes.index = 1
    assert (first, processes.share("abcde"), processes.share("a")) == ("ace", "bd", "")


def test_too_little_memory_of_its_own_is_no_other_process_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processes = Processes()
    processes.number = 2
    errors: list[Exception] = [torch.cuda.OutOfMemoryError("CUDA"), RuntimeError("closed")]

    def failing(*inputs: object, **options: object) -> torch.Tensor:
        raise errors.pop(0)

    monkeypatch.setattr(processes._accelerator, "reduce", failing)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        processes.total(torch.ones(1))
    with pytest.raises(ValueEvalError, match=r"lost the other processes of this run \(closed\)"):
        processes.total(torch.ones(1))


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a-run")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ValueEvalError, match="2 processes were started on a machine with 1 GPUs"):
        Processes()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert Processes().number == 1


def test_a_folder_that_only_the_main_process_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like two machines with a disk each."""
    monkeypatch.setattr(output, "_PATIENCE", 0.0)
    elsewhere = Processes()
    elsewhere.index = 1
    with (
        pytest.raises(ValueEvalError, match="in a folder that all machines share"),
        output.run_folder(tmp_path / "adapter", {}, False, elsewhere),
    ):
        pass


class InTurn(Processes):
    """Two processes, of which each has its turn; what the other has computed is known."""

    def __init__(self, index: int, computed: list[torch.Tensor | None]) -> None:
        super().__init__()
        self.number, self.index, self._computed = 2, index, computed

    def exchange(self, own: torch.Tensor | None) -> list[torch.Tensor]:  # noqa: D102
        self._computed[self.index] = own
        return [tensor for tensor in self._computed if tensor is not None]


@pytest.mark.parametrize("arguments", [1, 5])
def test_each_process_has_its_part_of_the_gradient_of_all(arguments: int) -> None:
    """In float64, of a loss that compares all with all; of one argument one process has nothing."""
    torch.manual_seed(0)
    layer, inputs = nn.Linear(4, 3).double(), torch.randn(arguments, 4).double()
    labels = torch.eye(2).double()[[number % 2 for number in range(arguments)]]

    def outputs(rows: Sequence[int]) -> torch.Tensor:
        return nn.functional.normalize(layer(inputs[list(rows)]), dim=1)

    def loss(features: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        nothing = features[:0].detach(), labels[:0]
        return contrastive_loss(features, labels[list(rows)], *nothing, 0.1)

    every = range(arguments)
    whole = loss(outputs(every), every)
    whole.backward()
    expected = layer.weight.grad
    layer.zero_grad()

    shares = Processes.shares(InTurn(0, []), every)
    order = [row for share in shares for row in share]
    for index, own in enumerate(shares):
        computed = [outputs(share).detach() if share else None for share in shares]
        processes = InTurn(index, computed)
        value = backward_in_parts(
            lambda part, own=own: outputs([own[part]]),
            len(own),
            lambda parts, here=processes: loss(
                torch.cat(here.exchange(torch.cat(list(parts)) if parts else None)), order
            ),
        )
        torch.testing.assert_close(value, whole.detach())
    torch.testing.assert_close(layer.weight.grad, expected)


# ---------------------------------------------------------------------------------- the launcher


@pytest.mark.slow
def test_accelerate_launch(config: TrainConfig, tmp_path: Path) -> None:
    train(config)
    together = changed(config, output=str(tmp_path / "together"))
    launch = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --main_process_port 0"
    options = [f"--{name}={value}" for name, value in options_of(together).items()]
    command = [sys.executable, *launch.split(), "-m", "valueeval", "train", *options]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("lm_eval --tasks valueeval_cls") == 1
    assert run.stderr.count("epoch 1: loss") == 1
    assert_close(config, together)

    again = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert again.returncode != 0
    assert again.stderr.count("already holds a finished adapter") == 1


def options_of(config: TrainConfig) -> dict[str, object]:
    names = ("output", "base", "data_dir", "epochs", "batch_size", "learning_rate", "max_length")
    options = config.options()
    return {name: options[name] for name in (*names, "dropout", "precision")}
