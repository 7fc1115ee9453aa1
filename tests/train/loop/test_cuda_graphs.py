"""Test CUDA graphs as far as a CPU can; tests/test_gpu.py tests them on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from training import train_for_losses, write_without_dropout

from valueeval.adapters.classifier.classifier import ValueClassifier
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.config.choice import ConfigError
from valueeval.train.config.config import TrainConfig
from valueeval.train.loop.cuda_graphs import Constants, GraphedPasses
from valueeval.train.loop.training import Training
from valueeval.train.options import changed, configure
from valueeval.train.run import train

ELSEWHERE = torch.device("meta")  # a device other than the CPU that every machine has


def positions(length: int) -> torch.Tensor:
    """Return relative positions as MPNet does: computed on the CPU, then moved."""
    return (torch.arange(length)[:, None] - torch.arange(length)).to(ELSEWHERE)


def test_what_is_moved_is_moved_once_for_each_length() -> None:
    constants = Constants()
    with constants:
        four, five = positions(4), positions(5)
    with constants:
        assert positions(4) is four
        assert positions(5) is five
    assert four is not five
    assert len(constants.moves) == 2


def test_moves_of_other_kinds_or_to_other_types_are_others() -> None:
    constants = Constants()
    ones = torch.ones(3)
    with constants:
        single = ones.to(ELSEWHERE)
        half = ones.to(device=ELSEWHERE, dtype=torch.bfloat16)
        made = torch.tensor(2.0, device=ELSEWHERE)
        assert ones.int().to(ELSEWHERE).dtype == torch.int32
    with constants:
        assert ones.to(device=ELSEWHERE, dtype=torch.bfloat16) is half
        assert ones.to(ELSEWHERE) is single
        assert torch.tensor(2.0, device=ELSEWHERE) is made
        assert torch.tensor(3.0, device=ELSEWHERE) is not made


def test_what_stays_on_the_cpu_is_computed_again() -> None:
    constants = Constants()
    source = torch.zeros(2)
    with constants:
        first = source.to(torch.float64)
        source += 1
        assert first.tolist() == [0, 0]
        assert source.to(torch.float64).tolist() == [1, 1]
    assert not constants.moves


def test_a_tensor_that_changed_is_moved_again() -> None:
    constants = Constants()
    source = torch.zeros(2)
    with constants:
        first = source.to(ELSEWHERE)
        source += 1
        assert source.to(ELSEWHERE) is not first


def test_without_the_block_nothing_is_kept() -> None:
    constants = Constants()
    with constants:
        kept = torch.ones(3).to(ELSEWHERE)
    assert torch.ones(3).to(ELSEWHERE) is not kept


class FakeGraph:
    """Repeats on the CPU what was computed while it was recorded."""

    recording: ClassVar[FakeGraph | None] = None

    def __init__(self) -> None:
        self.passes: list[tuple[GraphedPasses, dict[str, torch.Tensor], torch.Tensor]] = []
        self.losses: list[torch.Tensor] = []
        self.replays = 0

    def replay(self) -> None:
        """Compute the losses, and add the gradients, of what the inputs hold now."""
        self.replays += 1
        for (passes, inputs, share), loss in zip(self.passes, self.losses, strict=True):
            loss.copy_(RUN(passes, inputs, share))


RUN = GraphedPasses._run


def run_or_record(
    passes: GraphedPasses, inputs: dict[str, torch.Tensor], share: float | torch.Tensor
) -> torch.Tensor:
    """Note what to compute and compute nothing while a graph is recorded, as a GPU does."""
    graph = FakeGraph.recording
    if graph is None:
        return RUN(passes, inputs, share)
    assert isinstance(share, torch.Tensor)
    graph.passes.append((passes, inputs, share))
    graph.losses.append(torch.full((), float("nan")))
    return graph.losses[-1]


@contextmanager
def recording(graph: FakeGraph, pool: object) -> Iterator[None]:
    FakeGraph.recording = graph
    try:
        yield
    finally:
        FakeGraph.recording = None


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[FakeGraph]:
    """Let training on the CPU record graphs; return those that it has recorded."""
    made: list[FakeGraph] = []

    def graph() -> FakeGraph:
        made.append(FakeGraph())
        return made[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: None)
    monkeypatch.setattr(GraphedPasses, "_run", run_or_record)
    monkeypatch.setattr(
        Training,
        "_cuda_graphs",
        lambda training: (
            GraphedPasses(training._loss_of, torch.device("cpu"))
            if training.config.cuda_graphs
            else None
        ),
    )
    return made


@pytest.fixture
def still(config: TrainConfig, tmp_path: Path) -> TrainConfig:
    """A base without dropout, which draws on the CPU there; six epochs repeat its shapes."""
    base = write_without_dropout(tmp_path / "base", Path(config.base))
    return changed(config, base=str(base), dropout=0.0, epochs=6)


@pytest.mark.parametrize("tokens", [2048, 150], ids=["whole batches", "parts of three"])
def test_recorded_steps_learn_the_same(
    still: TrainConfig, graphs: list[FakeGraph], tokens: int
) -> None:
    still = changed(still, max_tokens_per_microbatch=tokens)
    plain = train_for_losses(still)
    assert not graphs
    found = train_for_losses(changed(still, cuda_graphs=True, output=f"{still.output}-graphs"))
    np.testing.assert_allclose(found, plain, rtol=1e-4)
    assert graphs
    assert sum(graph.replays for graph in graphs) > len(graphs)


def test_a_model_that_draws_on_the_cpu_is_not_recorded(
    config: TrainConfig, graphs: list[FakeGraph], capsys: pytest.CaptureFixture[str]
) -> None:
    train_for_losses(changed(config, cuda_graphs=True, epochs=4))
    assert not graphs
    assert "draws random numbers on the CPU: its steps are not recorded" in capsys.readouterr().err


def test_a_model_that_fails_while_it_is_tried_is_run_as_ever(
    still: TrainConfig,
    graphs: list[FakeGraph],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The path that the model takes while a graph is recorded raises an error."""
    hidden = ValueClassifier.hidden

    def failing(model: ValueClassifier, **inputs: torch.Tensor) -> torch.Tensor:
        if torch.cuda.is_current_stream_capturing():
            raise ValueError("no such path")
        return hidden(model, **inputs)

    monkeypatch.setattr(ValueClassifier, "hidden", failing)
    found = train_for_losses(changed(still, cuda_graphs=True))
    assert not graphs
    assert "(no such path): its steps are not recorded" in capsys.readouterr().err
    np.testing.assert_allclose(
        train_for_losses(changed(still, output=f"{still.output}-2")), found, rtol=1e-4
    )


def test_a_pass_that_cannot_be_recorded_says_what_to_do(
    still: TrainConfig, graphs: list[FakeGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def refusing(graph: FakeGraph, pool: object) -> Iterator[None]:
        raise RuntimeError("operation not permitted when stream is capturing")
        yield

    monkeypatch.setattr(torch.cuda, "graph", refusing)
    with pytest.raises(ValueEvalError, match=r"not permitted.*use --cuda_graphs false"):
        train(changed(still, cuda_graphs=True))


def test_without_a_gpu_nothing_changes(
    config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = train_for_losses(config)
    assert train_for_losses(changed(config, cuda_graphs=True, output=f"{config.output}-2")) == plain
    assert "--cuda_graphs is for one process on a GPU" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"method": "head"}, "--method head"),
        ({"contrastive": "joint"}, "--contrastive"),
        ({"heads": "cross-encoder"}, "--heads cross-encoder"),
        ({"compile": True}, "--compile"),
        ({"gradient_checkpointing": True}, "--gradient_checkpointing"),
        ({"template": "cls", "method": "lora"}, "a --template"),
    ],
)
def test_refuses_what_cannot_be_recorded(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=f"cuda_graphs: does not go with {named}"):
        configure(output="adapter", cuda_graphs=True, **options)
