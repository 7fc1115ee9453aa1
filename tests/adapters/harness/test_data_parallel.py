"""Several processes with a language model: each answers a share, together as one does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from language_models import request, write_lively

from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.adapters.harness.prompts import ARGUMENT, PROMPT

TASKS = ("valueeval_bca_sample", "valueeval_oa_sample")
N = 9
MAX_LENGTH = 361  # some arguments are cut, in both processes


def evaluate(base: Path, out: Path, launcher: list[str], *options: str) -> tuple[Any, str]:
    """Return lm-eval's results, its samples by task and argument, and its log."""
    arguments = ["-m", "lm_eval", "run", "--model", "valueeval", "--batch_size", "2"]
    arguments += ["--model_args", f"pretrained={base},max_length={MAX_LENGTH}"]
    arguments += ["--tasks", ",".join(TASKS), "--limit", str(N), "--log_samples"]
    arguments += ["--output_path", str(out), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, *arguments], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (written,) = out.rglob("results_*.json")
    samples = {}
    for task in TASKS:
        (path,) = out.rglob(f"samples_{task}_*.jsonl")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        samples[task] = {row["doc"]["id"]: row for row in rows}
        assert len(samples[task]) == len(rows) == N
    return (json.loads(written.read_text()), samples), done.stderr


def assert_same(one: Any, two: Any) -> None:
    (results, samples), (others, other_samples) = one, two
    for task in TASKS:
        scores, other_scores = dict(results["results"][task]), dict(others["results"][task])
        # A mean of probabilities, whose rounding depends on how batches are put together.
        mass, other_mass = (each.pop("answer_mass,none") for each in (scores, other_scores))
        assert other_mass == (None if mass is None else pytest.approx(mass, rel=1e-5))
        assert other_scores == scores
        assert others["n-samples"][task] == results["n-samples"][task]
        assert samples[task].keys() == other_samples[task].keys()
        for id, row in samples[task].items():
            assert (
                other_samples[task][id]["macro_f1"]["prediction"] == row["macro_f1"]["prediction"]
            )
    bca, oa = TASKS
    for id, row in samples[bca].items():
        scores = [float(score) for score, _ in row["filtered_resps"]]
        other = [float(score) for score, _ in other_samples[bca][id]["filtered_resps"]]
        assert other == pytest.approx(scores, abs=1e-4)
    for id, row in samples[oa].items():
        assert other_samples[oa][id]["filtered_resps"] == row["filtered_resps"]


@pytest.mark.slow
def test_two_processes_answer_as_one(tiny_gpt2: Path, tmp_path: Path) -> None:
    """Nine arguments: five and four. Again from the cache of each."""
    base = write_lively(tmp_path / "base", tiny_gpt2, "causal")
    accelerate = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    cache = ["--use_cache", str(tmp_path / "answers")]
    one, log = evaluate(base, tmp_path / "one", [])
    cut = one[0]["config"]["arguments_cut"]
    assert all(0 < cut[task] < N for task in TASKS)
    assert "(process" not in log

    two, log = evaluate(base, tmp_path / "two", accelerate, *cache)
    assert_same(one, two)
    assert two[0]["config"]["arguments_cut"] == cut
    for rank in (0, 1):
        assert f"that fit and were cut (process {rank})" in log
        assert (tmp_path / f"answers_rank{rank}.db").is_file()

    again, log = evaluate(base, tmp_path / "again", torchrun, *cache)
    assert_same(two, again)
    assert again[0]["config"]["arguments_cut"] == cut
    shares = re.findall(r"(\d+) of (\d+) answers are from the cache", log)
    assert len(shares) == 2 * len(TASKS)
    assert all(known == asked for known, asked in shares)


def test_counts_of_all_processes_are_reported(
    tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that writes results adds up what each has cut; the others tell theirs."""
    model = LanguageModelLM(str(tiny_gpt2), device="cpu")
    for document in (0, 1):
        one = request("loglikelihood", ("", " yes"), document)
        model._cuts.note(ARGUMENT, str(one.task_name), one.doc_id)
    sent = []

    def gather(_: Any, obj: Any, dst: int = 0) -> Any:
        sent.append(obj)
        return [obj, ("other", {ARGUMENT: {"task": 1, "b": 3}, PROMPT: {"c": 1}})]

    monkeypatch.setattr("lm_eval.models.huggingface.HFLM.gather_object", gather)
    assert model.get_model_info()["arguments_cut"] == {"task": 2}
    assert model.gather_object("mine") == ["mine", "other"]
    assert sent == [("mine", {ARGUMENT: {"task": 2}, PROMPT: {}})]
    info = model.get_model_info()
    assert info["arguments_cut"] == {"task": 3, "b": 3}
    assert info["prompts_cut"] == {"c": 1}
    monkeypatch.setattr("lm_eval.models.huggingface.HFLM.gather_object", lambda *_: None)
    assert model.gather_object("mine", dst=1) is None
