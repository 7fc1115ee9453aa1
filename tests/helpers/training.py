"""Small data, small models, short runs and several processes for training in tests."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.harness.classifier_lm import ClassifierLM
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness import questions as harness_questions
from valueeval.tasks.harness.questions import load_task, questions
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.templates.decide import decide
from valueeval.train.config.config import TrainConfig
from valueeval.train.config.model import GENERATED
from valueeval.train.config.optimisation import Optimisation
from valueeval.train.loop.training import Training
from valueeval.train.options import configure
from valueeval.train.run import train
from valueeval.train.runtime.processes import FailedElsewhereError
from valueeval.train.storage.checkpoint import newest_step
from valueeval.train.storage.output import work_folder
from valueeval.train.templates import language_model as train_language_model


def write_small_data(folder: Path, training: int, validation: int) -> Path:
    """The beginning of the sample set, as a folder of one's own in the official format."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in (("training", training), ("validation", validation)):
        for kind in ("arguments", "labels"):
            source = load_set("sample").directory / f"{kind}-sample-{split}.tsv"
            lines = source.read_text("utf-8").splitlines(keepends=True)[: 1 + size]
            (folder / f"{kind}-{split}.tsv").write_text("".join(lines), "utf-8")
    return folder


def write_cv_data(folder: Path) -> Path:
    """Parts of the sample set as the four sets of the protocol cv: 40, 20, 10 and 20 arguments."""
    write_small_data(folder, 40, 20)
    for kind in ("arguments", "labels"):
        source = load_set("sample").directory / f"{kind}-sample-test.tsv"
        header, *lines = source.read_text("utf-8").splitlines(keepends=True)
        for name, rows in (("validation-zhihu", lines[:10]), ("test", lines[10:30])):
            (folder / f"{kind}-{name}.tsv").write_text("".join([header, *rows]), "utf-8")
    return folder


# A tiny one of every family: width 32, two layers.
ENCODERS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
    },
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "electra": {"embedding_size": 16},
    "mpnet": {},
    "modernbert": {"global_attn_every_n_layers": 2},
}


def write_encoder(folder: Path, family: str, tokenizer: Path) -> Path:
    """Writes a random encoder of one family, with the tokenizer of another model."""
    config = AutoConfig.for_model(
        family,
        vocab_size=512,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=520,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=1,
        cls_token_id=0,
        sep_token_id=1,
        **ENCODERS[family],
    )
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return folder


def small_config(output: Path, base: Path, data_dir: Path, **options: Any) -> TrainConfig:
    """A short run whose numbers are the same on every machine."""
    return configure(
        output=str(output),
        base=str(base),
        data_dir=str(data_dir),
        max_length=48,
        precision="float32",
        **options,
    )


def learning_rates(layer_decay: float, weight_decay: float) -> Optimisation:
    """Return options with learning rate 1 at the head."""
    return Optimisation(
        epochs=1,
        learning_rate=1.0,
        head_learning_rate=None,
        layer_decay=layer_decay,
        weight_decay=weight_decay,
    )


def train_for_losses(config: TrainConfig) -> list[float]:
    """Trains and returns the mean loss of each epoch."""
    train(config)
    lines = Path(config.output, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def stop_training(config: TrainConfig, step: int, stage: type[Training] = Training) -> None:
    """Trains up to a step of a stage, where it is stopped as by Ctrl-C."""
    take_step = Training._step

    def step_or_stop(training: Training) -> float:
        if type(training) is stage and training.state.step == step:
            raise KeyboardInterrupt
        return take_step(training)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_step", step_or_stop)
        with pytest.raises(KeyboardInterrupt):
            train(config)


DEADLINE = 120.0  # seconds; far more than any run needs


def start_training(config: TrainConfig) -> BaseProcess:
    """Trains in a process of its own."""
    # Started once with the libraries imported, so that a run begins in milliseconds.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["valueeval.train.run"])
    process = context.Process(target=train, args=(config,))
    process.start()
    return process


def kill_training(config: TrainConfig, step: int, stage: str = "") -> None:
    """Trains in a process of its own, which is killed (SIGKILL) once it has a checkpoint.

    Args:
        config: The run.
        step: The checkpoint is of this step or a later one.
        stage: In which folder of the run's it is.
    """
    folder = work_folder(Path(config.output)) / stage
    process = start_training(config)
    deadline = time.monotonic() + DEADLINE
    while newest_step(folder) < step and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert newest_step(folder) >= step


# Tiny ones of language models, whose body takes a head: the encoder alone of a T5.
LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 520},
    "llama": {"num_key_value_heads": 1},
    "qwen2": {"num_key_value_heads": 1},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
}


def write_language_model(folder: Path, family: str, tokenizer: Path) -> Path:
    """Writes a random language model of one family with a tokenizer as that family has it.

    That of GPT-2 and Llama has no padding token, that of Llama puts a beginning before every text,
    that of T5 an end after it.
    """
    config = AutoConfig.for_model(
        family,
        vocab_size=512,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=520,
        pad_token_id=None if family in ("gpt2", "llama") else 0,
        bos_token_id=1,
        eos_token_id=1,
        decoder_start_token_id=0,
        initializer_range=0.2,  # what is read differs enough between arguments
        **LANGUAGE_MODELS[family],
    )
    torch.manual_seed(0)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    kind.from_config(config).save_pretrained(folder)
    words = AutoTokenizer.from_pretrained(tokenizer)
    end = words.eos_token
    templates = {
        "llama": (f"{end} $A", f"{end} $A {end} $B"),
        "t5": (f"$A {end}", f"$A {end} $B {end}"),
    }
    if family in templates:
        single, pair = templates[family]
        words._tokenizer.post_processor = TemplateProcessing(
            single=single, pair=pair, special_tokens=[(end, words.eos_token_id)]
        )
    if config.pad_token_id is None:
        words.pad_token = None
    words.save_pretrained(folder)
    return folder


def write_without_dropout(folder: Path, base: Path) -> Path:
    """Writes a copy of a BERT or GPT-2 that has no dropout."""
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    names = ["hidden_dropout_prob", "attention_probs_dropout_prob"]
    names += ["resid_pdrop", "embd_pdrop", "attn_pdrop"]
    config |= {name: 0.0 for name in names if name in config}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def shorten_answers(monkeypatch: pytest.MonkeyPatch, tokens: int = 12) -> None:
    """Lets answers in words end after a few tokens: random models hardly ever end what they say."""
    words_of = harness_questions.task_config

    def shorter(template: str, paraphrase: int) -> dict[str, Any]:
        config = words_of(template, paraphrase)
        if template in GENERATED:
            config["generation_kwargs"] = {**config["generation_kwargs"], "max_gen_toks": tokens}
        return config

    monkeypatch.setattr(harness_questions, "task_config", shorter)


def train_noting_answers(config: TrainConfig) -> tuple[Manifest, list[list[Any]]]:
    """Trains; what the model that is kept has answered about each argument of validation."""
    noted: list[list[Any]] = []

    def noting(template: str, answers: list[Any]) -> Any:
        noted.append(list(answers))
        return decide(template, answers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_language_model, "decide", noting)
        manifest = train(config)
    return manifest, noted[-len(load_set("validation", config.data_dir).arguments) :]


def harness_answers(lm: Any, template: str, data_dir: Path) -> list[list[Any]]:
    """Return a harness model's answers about each argument of validation."""
    task = load_task(template, 1, "validation", str(data_dir))
    documents = questions(task, load_set("validation", data_dir).arguments)
    flat = [request for document in documents for request in document]
    ask = lm.generate_until if template in GENERATED else lm.loglikelihood
    answers = iter(ask(flat, disable_tqdm=True))
    return [[next(answers) for _ in document] for document in documents]


def load_lm(folder: Path, batch_size: int, device: str = "cpu") -> Any:
    """An adapter by `--model valueeval --model_args adapter=…`."""
    options = {"device": device, "batch_size": batch_size}
    return ClassifierLM.create_from_arg_obj({"adapter": str(folder)}, options)


def scores_of(answers: list[list[Any]], template: str, data_dir: Path) -> Any:
    """Scores of the answers about validation."""
    decisions = [decide(template, document) for document in answers]
    unparsed = [d.unparsed for d in decisions] if template in GENERATED else None
    labels = load_set("validation", data_dir).labels
    return score(labels, np.array([d.prediction for d in decisions]), unparsed)


# ---------------------------------------------------------------- several processes, on the CPU

ELSEWHERE = 3  # exit status of a process that ends because another one has failed


def start_processes(
    config: TrainConfig, number: int, errors: Path | None = None
) -> list[BaseProcess]:
    """Trains in several processes that work together, as a launcher would start them.

    Args:
        config: What each of them is told.
        number: How many.
        errors: A file for the errors that they show.
    """
    # Started once with the libraries imported, so that a run begins in milliseconds.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["valueeval.train.run"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes: list[BaseProcess] = []
    for index in range(number):
        variables = {
            "RANK": index,
            "LOCAL_RANK": index,
            "WORLD_SIZE": number,
            "LOCAL_WORLD_SIZE": number,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "OMP_NUM_THREADS": 1,
        }
        environment = {name: str(value) for name, value in variables.items()}
        process = context.Process(target=_train_in, args=(environment, config, errors))
        process.start()
        processes.append(process)
    return processes


def join(processes: list[BaseProcess], seconds: float) -> list[int | None]:
    """Waits so long for all to end, then kills those that have not; their exit statuses."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _train_in(environment: dict[str, str], config: TrainConfig, errors: Path | None) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        train(config)
    except FailedElsewhereError:
        sys.exit(ELSEWHERE)
    except ValueEvalError as error:
        if errors is not None:
            with errors.open("a", encoding="utf-8") as stream:
                stream.write(f"{error}\n")
        sys.exit(2)
