"""On a GPU (``make test-gpu``): every method and template trains there and reads back as on a CPU.

The other tests run on the CPU, also where there is a GPU: they compare numbers bit by bit.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import generation_requests, scoring_requests, write_peft
from lm_eval.models.huggingface import HFLM
from safetensors.torch import load_file
from training import (
    ENCODERS,
    LANGUAGE_MODELS,
    harness_answers,
    load_lm,
    scores_of,
    shorten_answers,
    small_config,
    stop_training,
    train_for_losses,
    train_noting_answers,
    write_encoder,
    write_language_model,
    write_small_data,
)

from valueeval.adapters.classifier.classifier import ValueClassifier
from valueeval.adapters.classifier.ensemble import load_adapter
from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.questions import load_task, questions
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.scores.scoring import score
from valueeval.train.config.config import TrainConfig
from valueeval.train.config.model import GENERATED
from valueeval.train.loop.cuda_graphs import GraphedPasses
from valueeval.train.methods import METHODS
from valueeval.train.options import changed, configure
from valueeval.train.run import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]
WITH_HEAD = [method for method in METHODS if method != "prompt+full"]
WITHOUT_PREFIXES = ("deberta-v2", "modernbert", "t5")
SOFT_PROMPTS = ("prompt-tuning", "p-tuning", "prefix-tuning")
FAMILIES = ("bert", "roberta", "deberta-v2", "modernbert", *LANGUAGE_MODELS)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), 16, 12)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    write = dict.fromkeys(ENCODERS, write_encoder)
    write |= dict.fromkeys(LANGUAGE_MODELS, write_language_model)
    families = (*FAMILIES, "mpnet")
    return {family: write[family](root / family, family, tiny_bert) for family in families}


@pytest.fixture
def config(bases: dict[str, Path], data_dir: Path, tmp_path: Path) -> TrainConfig:
    options = {"epochs": 2, "batch_size": 8, "learning_rate": 0.02}
    config = small_config(tmp_path / "adapter", bases["bert"], data_dir, **options)
    return changed(config, max_length=400)


def check_adapter(folder: str, data_dir: Path, tolerance: float = 1e-3) -> None:
    """On the GPU it answers as on the CPU, in batches of any size, and as training has seen."""
    manifest, validation = read_manifest(folder), load_set("validation", data_dir)
    there, here = load_adapter(folder), load_adapter(folder, "cpu")
    assert there.device.type == "cuda"
    one, eight = (there.logits(validation.arguments, size) for size in (1, 8))
    np.testing.assert_allclose(one, eight, atol=tolerance)
    np.testing.assert_allclose(one, here.logits(validation.arguments), atol=tolerance)
    assert one.std(axis=0).mean() > tolerance  # arguments differ
    assert score(validation.labels, manifest.thresholds.decide(eight)) == manifest.validation


# --------------------------------------------------------------------- steps as CUDA graphs


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the length of the inputs of each pass that is recorded."""
    lengths: list[int] = []
    record = GraphedPasses._record

    def noting(passes: GraphedPasses, inputs: dict[str, torch.Tensor]) -> Any:
        lengths.append(inputs["input_ids"].shape[1])
        return record(passes, inputs)

    monkeypatch.setattr(GraphedPasses, "_record", noting)
    return lengths


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("family", ["bert", "roberta", "mpnet", "modernbert", "gpt2", "llama"])
def test_steps_as_cuda_graphs_learn_the_same(
    family: str,
    method: str,
    config: TrainConfig,
    bases: dict[str, Path],
    recorded: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    options: dict[str, Any] = {"base": str(bases[family]), "method": method, "epochs": 6}
    config = changed(config, **options, learning_rate=0.002)
    plain = train_for_losses(changed(config, output=f"{config.output}-plain"))
    assert not recorded
    config = changed(config, cuda_graphs=True)
    np.testing.assert_allclose(train_for_losses(config), plain, rtol=2e-3)
    assert recorded or "not recorded as CUDA graphs" in capsys.readouterr().err
    assert all(length % 8 == 0 or length == max(recorded) for length in recorded)
    if family in ("bert", "mpnet"):
        assert recorded


def test_dropout_of_a_recorded_step_is_that_of_its_seed(
    config: TrainConfig, recorded: list[int]
) -> None:
    config = changed(config, epochs=6, cuda_graphs=True)
    first = train_for_losses(config)
    again = train_for_losses(changed(config, output=f"{config.output}-again"))
    other = train_for_losses(changed(config, output=f"{config.output}-other", seed=1))
    assert recorded
    np.testing.assert_allclose(first, again, rtol=1e-4)
    assert abs(first[-1] - other[-1]) > 1e-4


def test_a_model_that_waits_for_the_gpu_is_not_recorded(
    config: TrainConfig,
    recorded: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hidden = ValueClassifier.hidden

    def waiting(model: ValueClassifier, **inputs: torch.Tensor) -> torch.Tensor:
        assert int(inputs["attention_mask"].sum()) > 0
        return hidden(model, **inputs)

    monkeypatch.setattr(ValueClassifier, "hidden", waiting)
    train_for_losses(changed(config, epochs=4, cuda_graphs=True))
    assert not recorded
    assert "waits for the GPU within a step" in capsys.readouterr().err


def test_parts_of_a_step_are_recorded_as_well(config: TrainConfig, recorded: list[int]) -> None:
    config = changed(config, epochs=4, cuda_graphs=True)
    whole = train_for_losses(config)
    steps_recorded = len(recorded)
    assert steps_recorded
    options: dict[str, Any] = {"max_tokens_per_microbatch": 400}
    parts = train_for_losses(changed(config, output=f"{config.output}-parts", **options))
    assert len(recorded) > steps_recorded
    np.testing.assert_allclose(whole, parts, rtol=5e-2)  # other dropout


# ------------------------------------------------------------------------- adapters with a head


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", WITH_HEAD)
def test_every_method_with_a_head(
    method: str, family: str, config: TrainConfig, bases: dict[str, Path], data_dir: Path
) -> None:
    options = {"virtual_tokens": 5} if method in SOFT_PROMPTS else {}
    config = changed(config, base=str(bases[family]), method=method, **options)
    if method == "prefix-tuning" and family in WITHOUT_PREFIXES:
        with pytest.raises(ValueEvalError, match="prefix-tuning does not work"):
            train(config)
        return
    train(config)
    check_adapter(config.output, data_dir)


@pytest.mark.parametrize(
    "options",
    [
        {"heads": "multiple"},
        {"heads": "cross-encoder", "values_per_step": 4},
        {"contrastive": "joint"},
        {"contrastive": "pretrain"},
        {"contrastive": "joint", "max_tokens_per_microbatch": 600},
        {"loss": "focal"},
        {"loss": "distribution-balanced"},
        {"gradient_checkpointing": True},
    ],
    ids=str,
)
def test_options(options: dict[str, Any], config: TrainConfig, data_dir: Path) -> None:
    config = changed(config, **options)
    train(config)
    check_adapter(config.output, data_dir)


def test_bfloat16_is_the_default_and_is_close(config: TrainConfig, data_dir: Path) -> None:
    manifest = train(changed(config, precision="auto"))
    assert manifest.config["precision"] == "bfloat16"
    check_adapter(config.output, data_dir)  # which reads in float32


def test_compiled(config: TrainConfig, data_dir: Path) -> None:
    train(changed(config, compile=True))
    check_adapter(config.output, data_dir)


def test_averages_and_students(config: TrainConfig, data_dir: Path) -> None:
    members = [f"{config.output}-{seed}" for seed in range(2)]
    for seed, output in enumerate(members):
        train(changed(config, seed=seed, output=output))
    teacher = "+".join(members)
    average = load_adapter(teacher)
    arguments = load_set("validation", data_dir).arguments
    expected = load_adapter(teacher, "cpu").logits(arguments)
    np.testing.assert_allclose(average.logits(arguments), expected, atol=1e-3)
    train(changed(config, teacher=teacher))
    check_adapter(config.output, data_dir)


@pytest.mark.parametrize("method", ["full", "lora", "prompt-tuning", "head"])
def test_a_stopped_run_goes_on_to_the_same_weights(method: str, config: TrainConfig) -> None:
    config = changed(config, method=method, epochs=3)
    whole = changed(config, output=config.output + "-whole")
    train(whole)
    config = changed(config, checkpoint_seconds=0.0)
    stop_training(config, step=3)
    train(changed(config, resume=True))
    for file in Path(whole.output).glob("*.safetensors"):
        expected, weights = load_file(file), load_file(Path(config.output) / file.name)
        for name, tensor in expected.items():
            torch.testing.assert_close(weights[name], tensor, rtol=0.0, atol=0.0)


def test_memory_is_told(config: TrainConfig) -> None:
    manifest = train(config)
    lines = (Path(config.output) / "metrics.jsonl").read_text("utf-8").splitlines()
    assert all(json.loads(line)["peak_device_bytes"] > 2**16 for line in lines)
    assert manifest.peak_device_bytes is not None
    assert manifest.peak_device_bytes > 2**20


@pytest.fixture
def little_memory() -> Iterator[None]:
    """256 MiB of the GPU's for this process."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(2**28 / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("little_memory")
def test_out_of_memory_in_training(config: TrainConfig, tmp_path: Path) -> None:
    data_dir = write_small_data(tmp_path / "much", 160, 12)
    too_much = {
        "batch_size": 160,
        "max_length": 500,
        "max_tokens_per_microbatch": 10**6,
        "epochs": 1,
    }
    config = changed(config, data_dir=str(data_dir), heads="cross-encoder", **too_much)
    with pytest.raises(
        ValueEvalError, match=r"out of memory \(.*a lower --max_tokens_per_microbatch"
    ):
        train(config)
    torch.cuda.empty_cache()
    train(changed(config, max_tokens_per_microbatch=2000, resume=True))


@pytest.mark.usefixtures("little_memory")
def test_out_of_memory_in_evaluation(tiny_gpt2: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Half as many at a time, until they fit."""
    prompt = "Premise: " + "people who live there need it " * 100
    requests = [
        ValueRequest(
            request_type="loglikelihood", doc={}, idx=i, metadata=("task", document, 1),
            arguments=(f"{document} {prompt}{i}", " yes"),
        )
        for document in range(64)
        for i in range(2)
    ]  # fmt: skip
    model = LanguageModelLM(str(tiny_gpt2), batch_size=64, device="cuda")
    found = model.loglikelihood(requests, disable_tqdm=True)
    assert "out of memory with" in caplog.text
    plain = LanguageModelLM(str(tiny_gpt2), batch_size=1, device="cuda")
    expected = plain.loglikelihood(requests, disable_tqdm=True)
    assert [s for s, _ in found] == pytest.approx([s for s, _ in expected], abs=1e-3)


# ----------------------------------------------------------------------------- language models


@pytest.mark.parametrize("method", [None, "lora", "prompt_tuning", "p_tuning", "prefix_tuning"])
def test_language_models_answer_as_on_the_cpu(
    method: str | None, lively: Path, backend: str, tmp_path: Path
) -> None:
    adapter = (
        {"peft": str(write_peft(tmp_path / "peft", lively, backend, method))} if method else {}
    )
    here = LanguageModelLM(str(lively), batch_size=1, device="cpu", **adapter)
    scores = [score for score, _ in here.loglikelihood(scoring_requests(), disable_tqdm=True)]
    texts = here.generate_until(generation_requests(), disable_tqdm=True)
    for size in (1, 8, "auto"):
        there = LanguageModelLM(str(lively), batch_size=size, device="cuda", **adapter)
        found = there.loglikelihood(scoring_requests(), disable_tqdm=True)
        assert [score for score, _ in found] == pytest.approx(scores, abs=1e-3)
        assert there.generate_until(generation_requests(), disable_tqdm=True) == texts


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_scores_are_those_of_hf(lively: Path, attention: str, dtype: str, data_dir: Path) -> None:
    task = load_task("bca", 1, "validation", str(data_dir))
    arguments = load_set("validation", data_dir).arguments[:4]
    asked = [request for document in questions(task, arguments) for request in document]
    options = {"device": "cuda", "dtype": dtype, "attn_implementation": attention}
    stock = HFLM(str(lively), batch_size=1, **options)
    expected = [score for score, _ in stock.loglikelihood(asked, disable_tqdm=True)]
    ours = LanguageModelLM(str(lively), batch_size="auto", **options)
    found = [score for score, _ in ours.loglikelihood(asked, disable_tqdm=True)]
    tolerance = {"float32": 1e-3, "bfloat16": 0.05 * max(map(abs, expected))}[dtype]
    assert found == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("template", ["bca", "cls", "mbc", "oa", "cot"])
@pytest.mark.parametrize("method", ["lora", *SOFT_PROMPTS, "prompt+full"])
def test_templates(
    method: str, template: str, lively: Path, data_dir: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shorten_answers(monkeypatch)
    if template not in ("bca", "cls") and method not in ("lora", "prompt-tuning"):
        pytest.skip("answers in words take long; two methods will do")
    config = configure(
        output=str(tmp_path / "adapter"), base=str(lively), data_dir=str(data_dir), epochs=1,
        template=template, method=method, batch_size=4, train_size=4, precision="float32",
    )  # fmt: skip
    manifest, said = train_noting_answers(config)
    for size in (1, 8):
        answers = harness_answers(load_lm(tmp_path / "adapter", size, "cuda"), template, data_dir)
        assert scores_of(answers, template, data_dir) == manifest.validation
        if template in GENERATED:
            assert answers == said


# ---------------------------------------------------------------------------------- commands


def test_accelerate_launch_and_lm_eval(bases: dict[str, Path], tmp_path: Path) -> None:
    """The commands as a user types them, on the built-in sample."""
    python, adapter = sys.executable, tmp_path / "adapter"
    launch = [python, "-m", "accelerate.commands.launch", "--num_processes", "1", "-m"]
    options = f"--base {bases['bert']} --data sample --epochs 1 --output {adapter}"
    run([*launch, "valueeval", "train", *options.split()])
    evaluate = f"--tasks valueeval_cls_sample --model valueeval --model_args adapter={adapter}"
    more = f"--batch_size auto --log_samples --output_path {tmp_path / 'results'}"
    said = run([python, "-m", "lm_eval", *evaluate.split(), *more.split()])
    assert "macro_f1" in said
    (file,) = (tmp_path / "results").rglob("results_*.json")
    assert json.loads(file.read_text("utf-8"))["config"]["device"].startswith("cuda")


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
