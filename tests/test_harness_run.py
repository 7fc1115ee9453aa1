"""The whole path through lm-eval: tiny random models, an oracle, every option of the command."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
from lm_eval.utils import make_table

import valueeval.tasks
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.scores import scoring
from valueeval.tasks.templates import decide

FOLDER = Path(valueeval.tasks.__file__).parent
TEMPLATES = ("cls", "mbc", "bca", "oa", "cot")
TASKS = [f"valueeval_{template}_sample" for template in TEMPLATES]


class Oracle(LM):
    """Answers from the labels, through what a ValueRequest says of itself; counts its calls."""

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        super().__init__()
        self._rank, self._world_size = rank, world_size
        self.seen: list[ValueRequest] = []

    def loglikelihood(self, requests: list[ValueRequest]) -> list[tuple[float, bool]]:  # noqa: D102
        self.seen += requests
        return [(self._loglikelihood(request), False) for request in requests]

    def _loglikelihood(self, request: ValueRequest) -> float:
        assert request.value is not None
        if request.role in ("empty", "no"):
            return -2.0
        return -1.0 if request.doc["labels"][request.value] else -3.0

    def generate_until(self, requests: list[ValueRequest]) -> list[str]:  # noqa: D102
        self.seen += requests
        return [decide.gold(r.template, r.doc["labels"], r.value) for r in requests]

    def loglikelihood_rolling(self, requests: Any) -> Any:  # noqa: D102
        raise NotImplementedError

    tokenizer_name = "oracle"

    def apply_chat_template(  # noqa: D102
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        return "".join(f"<{turn['role']}>{turn['content']}\n" for turn in chat_history)


def evaluate(model: Any, tasks: list[str], metadata: Any = None, **kwargs: Any) -> dict[str, Any]:
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=metadata or {})
    results = lm_eval.simple_evaluate(model, tasks=tasks, task_manager=manager, **kwargs)
    assert results is not None
    return results


def hf(folder: Path) -> dict[str, Any]:
    return {
        "model": "hf",
        "model_args": {"pretrained": str(folder)},
        "device": "cpu",
    }


def predictions(results: dict[str, Any], task: str) -> dict[str, list[int]]:
    return {s["doc"]["id"]: s["macro_f1"]["prediction"] for s in results["samples"][task]}


# ----------------------------------------------------------------------------------- oracle


@pytest.fixture(scope="module")
def oracle_results() -> dict[str, Any]:
    return evaluate(Oracle(), [*TASKS, "valueeval_bca_p2_sample", "valueeval_cls_p3_sample"])


def test_a_perfect_model_has_perfect_scores(oracle_results: dict[str, Any]) -> None:
    for task, scores in oracle_results["results"].items():
        assert scores["macro_f1,none"] == scores["official_f1,none"] == 1.0, task
        assert scores["macro_f1_ci_low,none"] == 1.0
        assert scores["macro_f1_stderr,none"] == 0.0
        assert scores["unparsed,none"] == 0.0
        assert scores["f1_hedonism,none"] == 1.0
        assert scores["sample_len"] == oracle_results["n-samples"][task]["original"]


def test_every_metric_is_in_the_results_and_the_table(oracle_results: dict[str, Any]) -> None:
    table = make_table(oracle_results)
    for metric in scoring.METRICS:
        for scores in oracle_results["results"].values():
            assert f"{metric},none" in scores
        if metric.endswith("_stderr"):
            continue  # a column, not a row
        rows = [line for line in table.splitlines() if f"|{metric}|" in line.replace(" ", "")]
        assert len(rows) == len(oracle_results["results"])
    rows = [line.replace(" ", "") for line in table.splitlines()]
    perfect = re.compile(r"\|macro_f1\|↑\|1(\.0+)?\|±\|0\.0000\|$")
    assert sum(bool(perfect.search(row)) for row in rows) == 7


def test_results_are_strict_json(oracle_results: dict[str, Any]) -> None:
    json.dumps(oracle_results, allow_nan=False, default=str)


def test_requests_say_what_they_ask() -> None:
    oracle = Oracle()
    evaluate(oracle, TASKS, limit=2)
    assert {(r.template, r.role) for r in oracle.seen} == {
        *(("cls", role) for role in ("name", "empty")),
        *(("bca", role) for role in ("no", "yes")),
        *((template, "answer") for template in ("mbc", "oa", "cot")),
    }
    per_template = {t: sum(r.template == t for r in oracle.seen) for t in TEMPLATES}
    assert per_template == {"cls": 80, "mbc": 2, "bca": 160, "oa": 40, "cot": 2}


def test_nothing_of_ours_makes_lm_eval_warn(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate(Oracle(), TASKS, limit=3)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_one_argument_alone() -> None:
    """No interval can be computed; the table shows that, and nothing breaks."""
    results = evaluate(Oracle(), ["valueeval_bca_sample"], limit=1)
    scores = results["results"]["valueeval_bca_sample"]
    assert scores["macro_f1,none"] == 1.0
    assert scores["macro_f1_stderr,none"] == "N/A"
    assert scores["macro_f1_ci_low,none"] is None
    assert "N/A" in make_table(results)
    json.dumps(results, allow_nan=False, default=str)


def test_two_ranks_give_the_entries_of_one() -> None:
    """lm-eval strides documents over ranks and chains what they return; simulated here."""
    task = "valueeval_oa_sample"

    def entries(rank: int, world_size: int) -> list[dict[str, Any]]:
        manager = TaskManager(include_path=str(FOLDER), include_defaults=False)
        built = manager.load([task])["tasks"][task]
        built.set_config(key="num_fewshot", value=2)
        built.set_fewshot_seed(1234)
        built.build_all_requests(limit=9, rank=rank, world_size=world_size)
        by_doc: dict[Any, list[Any]] = {}
        prompts = []
        for request in built.instances:
            by_doc.setdefault(request.doc_id, []).extend(Oracle().generate_until([request]))
            prompts.append(request.arguments[0])
        docs = built.doc_iterator(rank=rank, limit=9, world_size=world_size)
        return [
            {**built.process_results(doc, by_doc[doc_id]), "prompt": prompts[i * 20]}
            for i, (doc_id, doc) in enumerate(docs)
        ]

    def key(entry: dict[str, Any]) -> str:
        return str(entry["macro_f1"]["id"])

    alone = entries(0, 1)
    together = entries(0, 2) + entries(1, 2)
    assert together != alone  # another order
    assert sorted(together, key=key) == sorted(alone, key=key)
    for metric in scoring.METRICS:
        aggregate = scoring.AGGREGATIONS[metric]
        assert aggregate([e[metric] for e in together]) == aggregate([e[metric] for e in alone])


def test_samples_are_found_by_their_ids() -> None:
    ids = load_set("sample").ids
    task = "valueeval_bca_sample"
    results = evaluate(Oracle(), [task], samples={task: [1, 4, 7]})
    logged = results["samples"][task]
    assert [s["doc"]["id"] for s in logged] == [s["macro_f1"]["id"] for s in logged]
    assert [s["doc"]["id"] for s in logged] == [ids[i] for i in (1, 4, 7)]
    assert results["results"][task]["macro_f1,none"] == 1.0


def test_samples_out_of_order_are_scored_right() -> None:
    task = "valueeval_bca_sample"
    results = evaluate(Oracle(), [task], samples={task: [7, 1, 4]})
    assert results["results"][task]["macro_f1,none"] == 1.0
    ids = load_set("sample").ids
    assert set(predictions(results, task)) == {ids[i] for i in (1, 4, 7)}


def test_another_data_folder_through_metadata(tmp_path: Path) -> None:
    for kind in ("arguments", "labels"):
        shutil.copy(FOLDER / f"{kind}-sample-validation.tsv", tmp_path / f"{kind}-test.tsv")
        shutil.copy(FOLDER / f"{kind}-sample-training.tsv", tmp_path / f"{kind}-training.tsv")
    task = "valueeval_mbc"
    results = evaluate(
        Oracle(), [task], metadata={"data_dir": str(tmp_path)}, num_fewshot=2, limit=5
    )
    metadata = results["configs"][task]["metadata"]
    assert metadata["set"] == "main"
    assert metadata["sample"] is False
    assert metadata["data_official"] is False
    own = load_set("main", tmp_path)
    assert metadata["data_sha256"] == own.sha256
    assert [s["doc"]["id"] for s in results["samples"][task]] == list(own.ids[:5])
    assert results["n-shot"][task] == 2


def test_every_value_for_every_argument_has_the_known_scores(real_data_dir: Path) -> None:
    """Known answers of the released test labels, through lm-eval."""

    class EveryValue(Oracle):
        def generate_until(self, requests: list[ValueRequest]) -> list[str]:
            return [decide.gold(request.template, [1] * 20, None) for request in requests]

    results = evaluate(EveryValue(), ["valueeval_mbc"], metadata={"data_dir": str(real_data_dir)})
    scores = results["results"]["valueeval_mbc"]
    assert scores["official_f1,none"] == pytest.approx(0.26293020308, abs=1e-10)
    assert scores["macro_f1,none"] == pytest.approx(0.24842634517, abs=1e-10)
    assert results["configs"]["valueeval_mbc"]["metadata"]["data_official"] is True


def test_few_shot_and_chat_with_a_system_instruction() -> None:
    oracle = Oracle()
    results = evaluate(
        oracle,
        TASKS,
        limit=2,
        num_fewshot=3,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        system_instruction="Answer briefly.",
    )
    for task in TASKS:
        assert results["results"][task]["macro_f1,none"] == 1.0
        assert results["n-shot"][task] == 3
    for request in oracle.seen:
        assert request.arguments[0].startswith("<system>Answer briefly.\n<user>")
        assert request.arguments[0].count("<assistant>") == 3


def test_predict_only_keeps_what_scoring_later_needs() -> None:
    full = evaluate(Oracle(), TASKS, limit=4)
    bare = evaluate(Oracle(), TASKS, limit=4, predict_only=True)
    for task, template in zip(TASKS, TEMPLATES, strict=True):
        assert set(bare["results"][task]) >= {"bypass,none"}
        assert "macro_f1,none" not in bare["results"][task]
        assert bare["configs"][task]["metadata"] == full["configs"][task]["metadata"]
        for sample, scored in zip(bare["samples"][task], full["samples"][task], strict=True):
            assert sample["bypass"] == {"template": template, **scored["macro_f1"]}
            written = json.loads(json.dumps({**sample, "filtered_resps": _as_written(sample)}))
            assert decide.entries_from_sample(written, template)["macro_f1"] == scored["macro_f1"]


def _as_written(sample: dict[str, Any]) -> Any:
    """lm-eval writes every response as strings."""
    from lm_eval.utils import sanitize_list

    return sanitize_list(sample["filtered_resps"])


# --------------------------------------------------------------------------- tiny HF models


@pytest.mark.parametrize("model", ["tiny_gpt2", "tiny_t5"])
def test_every_template_runs_on(model: str, request: pytest.FixtureRequest) -> None:
    options = hf(request.getfixturevalue(model))
    if model == "tiny_t5":  # lm-eval lets it generate as many tokens as the prompt has
        options["model_args"]["max_length"] = 128
    gen_kwargs = {"max_gen_toks": 4}
    results = evaluate(tasks=TASKS, limit=1, batch_size=8, gen_kwargs=gen_kwargs, **options)
    for task in TASKS:
        scores = results["results"][task]
        assert scores["sample_len"] == 1
        assert 0 <= scores["macro_f1,none"] <= 1
        assert set(scoring.METRICS) <= {key.partition(",")[0] for key in scores}
    json.dumps(results, allow_nan=False, default=str)


def test_batch_size_does_not_matter(tiny_gpt2: Path) -> None:
    tasks = ["valueeval_cls_sample", "valueeval_bca_sample"]
    one, eight = (
        evaluate(tasks=tasks, limit=3, batch_size=size, **hf(tiny_gpt2)) for size in (1, 8)
    )
    for task in tasks:
        assert predictions(one, task) == predictions(eight, task)
        for first, second in zip(one["samples"][task], eight["samples"][task], strict=True):
            assert first["macro_f1"]["scores"] == pytest.approx(
                second["macro_f1"]["scores"], abs=1e-3
            )


def test_chat_template_of_a_model(tiny_gpt2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "chat-model"
    shutil.copytree(tiny_gpt2, folder)
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}",
        encoding="utf-8",
    )
    results = evaluate(
        tasks=["valueeval_cls_sample"],
        limit=2,
        num_fewshot=1,
        batch_size=8,
        apply_chat_template=True,
        fewshot_as_multiturn=False,
        system_instruction="Think.",
        **hf(folder),
    )
    context, continuation = results["samples"]["valueeval_cls_sample"][0]["arguments"][0]
    assert context.startswith("[system] Think.\n[user] Arguments appeal to human values")
    assert context.count("[user]") == 1
    assert context.endswith("For example: Achievement\n[assistant] ")
    assert continuation == "Self-direction: thought"


def test_the_command(tiny_gpt2: Path, tmp_path: Path) -> None:
    """From an unrelated folder: results, one sample line an argument, predictions to score."""
    command = [
        *(sys.executable, "-m", "lm_eval", "--model", "hf", "--device", "cpu"),
        *("--model_args", f"pretrained={tiny_gpt2}", "--include_path", str(FOLDER)),
        *("--tasks", "valueeval_cls_sample,valueeval_bca_sample", "--limit", "3"),
        *("--num_fewshot", "1", "--batch_size", "8", "--output_path", "out", "--log_samples"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "|valueeval_bca_sample|" in done.stdout
    (results_file,) = tmp_path.glob("out/*/results_*.json")
    results = json.loads(
        results_file.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name)
    )
    for task in ("valueeval_cls_sample", "valueeval_bca_sample"):
        metadata = results["configs"][task]["metadata"]
        assert metadata["sample"] is True
        assert metadata["pretrained"] == str(tiny_gpt2)
        assert results["versions"][task] == metadata["version"]
        (samples_file,) = tmp_path.glob(f"out/*/samples_{task}_*.jsonl")
        lines = samples_file.read_text(encoding="utf-8").splitlines()
        assert len(lines) == 3
        for line in lines:
            sample = json.loads(line)
            entries = decide.entries_from_sample(sample, metadata["template"])
            assert entries["macro_f1"] == sample["macro_f1"]
            assert entries == {metric: sample[metric] for metric in scoring.METRICS}
