"""One measurement of benchmarks/evaluation.py, in a process of its own: time, memory, answers.

Reads its settings as JSON from the first argument; the last line that it prints is the result.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"

import torch
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

import valueeval.tasks
from valueeval.adapters.reading.cache_copy import CacheCopyScorer
from valueeval.adapters.reading.causal import CausalReader
from valueeval.adapters.reading.token_tree import TokenTree, common_prefix
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.templates.decide import ASKS, decide


def main() -> None:
    """Runs the measurement that the settings name."""
    settings = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    measure = _bare_passes if settings["model"] == "bare" else _harness_model
    print(json.dumps(measure(settings)))


def _harness_model(settings: dict[str, Any]) -> dict[str, Any]:
    fixed = {"imports": {"cpu_seconds": time.process_time()}}  # since the process began
    with _Clock() as clock:
        requests = build_requests(settings["task"], settings["arguments"])
    fixed["requests"] = clock.result
    with _Clock() as clock:
        model = _load(settings)
    fixed["model"] = clock.result
    kind = requests[0].request_type
    _warm_up(model, kind)
    _reset_peak()
    with _Clock() as clock:
        answers = getattr(model, kind)(requests, disable_tqdm=True)
    result: dict[str, Any] = {**clock.result, **_peak()}
    with _Clock() as clock:
        _score(settings["task"], requests, answers)
    result["fixed"] = {**fixed, "statistics": clock.result}
    if settings.get("count"):
        result["tokens"] = count_tokens(model, requests)
    if settings.get("keep"):
        result["answers"] = [a if isinstance(a, str) else a[0] for a in answers]
        result["predictions"] = predictions(requests, answers)
    return result


def _load(settings: dict[str, Any]) -> Any:
    if settings["model"] == "adapter":
        from valueeval.adapters.harness.classifier_lm import ClassifierLM

        return ClassifierLM(settings["folder"], settings["batch_size"], settings["device"])
    from lm_eval.models.huggingface import HFLM

    from valueeval.adapters.harness.language_model_lm import LanguageModelLM

    kind = HFLM if settings["model"] == "hf" else LanguageModelLM
    model = kind(
        settings["folder"],
        batch_size=settings["batch_size"],
        device=settings["device"],
        dtype=settings["dtype"],
    )
    if settings.get("way") == "copies":
        reader = CausalReader(CacheCopyScorer(model.loaded()), model.batch_limits())
        model._readers = replace(model._readers, near=reader)
    return model


def _bare_passes(settings: dict[str, Any]) -> dict[str, Any]:
    """The encoder alone, on batches sorted by length, tokens ready: what cannot be saved."""
    from valueeval.adapters.classifier.classifier import load_classifier

    classifier = load_classifier(Path(settings["folder"]), torch.device(settings["device"]))
    arguments = _arguments(settings["task"], settings["arguments"])
    size = settings["batch_size"]
    texts = [classifier.manifest.input.texts(argument) for argument in arguments]
    lengths = [len(ids) for ids in classifier.tokenizer(texts, truncation=True, max_length=128)[
        "input_ids"
    ]]  # fmt: skip
    order = sorted(range(len(texts)), key=lambda i: lengths[i])
    batches = [
        classifier.tokenizer(
            [texts[i] for i in order[start : start + size]],
            truncation=True, max_length=128, padding=True, return_tensors="pt",
        ).to(settings["device"])
        for start in range(0, len(order), size)
    ]  # fmt: skip
    _warm_up_classifier(classifier, size)
    with torch.inference_mode(), _Clock() as clock:
        for batch in batches:
            classifier.model(**batch)
    return {**clock.result, **_peak()}


def _warm_up(model: Any, kind: str) -> None:
    """Threads, kernels and allocators are ready; nothing of the task has been read."""
    if not hasattr(model, "backend"):
        _warm_up_classifier(model._classifier, 32)
        return
    asked = " people" if kind == "loglikelihood" else {"until": [], "max_gen_toks": 2}
    getattr(model, kind)(
        [
            Instance(request_type=kind, doc={}, arguments=("warm up " * n, asked), idx=0,
                     metadata=("warm-up", n, 1))
            for n in (20, 30)
        ],
        disable_tqdm=True,
    )  # fmt: skip


def _warm_up_classifier(classifier: Any, batch_size: int) -> None:
    """The same for an adapter and for its bare forward passes: a batch of the sample set."""
    classifier.logits(load_set("sample").arguments[:batch_size], batch_size)


def predictions(requests: list[Instance], answers: list[Any]) -> list[list[int]]:
    """Return the predictions, 0 or 1 for each argument and value."""
    template = requests[0].template
    size = len(ASKS[template])  # an argument's requests stand together
    return [
        [int(value) for value in decide(template, answers[start : start + size]).prediction]
        for start in range(0, len(answers), size)
    ]


def build_requests(task_name: str, arguments: int) -> list[Instance]:
    """The requests of a task about arguments spread evenly over its set."""
    task = _task(task_name)
    step = max(1, len(task.eval_docs) // arguments)
    chosen = list(range(0, len(task.eval_docs), step))[:arguments]
    task.build_all_requests(samples=chosen, rank=0, world_size=1)
    requests = list(task.instances)
    while len(requests) and len(chosen) < arguments:  # more than the set has: again from its start
        requests += task.instances
        chosen += chosen
    return requests


def _task(name: str) -> Any:
    folder = str(Path(valueeval.tasks.__file__).parent)
    task = TaskManager(include_path=folder, include_defaults=False).load([name])["tasks"][name]
    task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(1234)
    return task


def _score(task_name: str, requests: list[Instance], answers: list[Any]) -> None:
    """What lm-eval does with answers: decisions, all metrics and their intervals."""
    task = _task(task_name)
    size = len(ASKS[task.template])
    entries = [
        task.process_results(requests[start].doc, answers[start : start + size])
        for start in range(0, len(answers), size)
    ]
    for name, aggregate in task.aggregation().items():
        aggregate([entry[name] for entry in entries])


def _arguments(task_name: str, number: int) -> list[Any]:
    return list(_task(task_name)._data.arguments[:number])


def count_tokens(model: Any, requests: list[Instance]) -> dict[str, int]:
    """Tokens that stock hf reads, and those that must be read: what prompts share counts once."""
    if model.backend != "causal":
        return {}
    each: dict[tuple[int, ...], None] = {}
    by_argument: dict[int, list[list[int]]] = {}
    steps = 0
    for request in requests:
        context, asked = request.args
        if isinstance(asked, str):
            before, after = model._encode_pair(context, asked)
            tokens = (before + after)[:-1]
            key = tuple(tokens)  # hf, too, reads it once for all last tokens
        else:
            tokens, steps = model.tok_encode(context), steps + asked["max_gen_toks"]
            key = (*tokens, len(each))
        if key not in each:
            each[key] = None
            by_argument.setdefault(request.doc_id, []).append(tokens)
    sequences = [tokens for document in by_argument.values() for tokens in document]
    shared = len(common_prefix(sequences))
    must = shared
    for document in by_argument.values():
        tree = TokenTree()
        for tokens in document:
            tree.add(tokens[shared:])
        must += len(tree)
    return {"hf": sum(map(len, sequences)) + steps, "once": must + steps}


class _Clock:
    """Seconds by the clock, and of this process's processor time (which others do not disturb)."""

    def __enter__(self) -> _Clock:
        self._started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        clock, processor = self._started
        self.result = {
            "seconds": time.perf_counter() - clock,
            "cpu_seconds": time.process_time() - processor,
        }


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak() -> dict[str, int]:
    """Bytes: the process's largest resident set, and a GPU's largest allocation."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if torch.cuda.is_available():
        peak["gpu_peak_bytes"] = torch.cuda.max_memory_allocated()
    return peak


if __name__ == "__main__":
    main()
