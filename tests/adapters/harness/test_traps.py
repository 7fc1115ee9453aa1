"""The traps of DESIGN.md: what stock ``hf`` gets wrong with adapters, and ``valueeval`` right.

Each test runs with both. Where stock lm-eval fails, that is expected, so that we learn when a new
version of it mends it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from datasets import Dataset
from language_models import (
    VIRTUAL_TOKENS,
    generation_requests,
    load_base,
    reference_answer,
    request,
    scoring_requests,
    task_manager,
    write_lively,
    write_peft,
)
from lm_eval.api.model import CachingLM
from lm_eval.api.task import ConfigurableTask
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from peft import PeftModel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
)

from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.task import ValueEvalTask

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]

VERSIONS = "lm-eval 0.4.13, transformers 5.23, peft 0.21"


def both(trap: str, raises: Any = AssertionError) -> pytest.MarkDecorator:
    """Runs a test with stock ``hf``, which is expected to fail, and with ours."""
    fails = pytest.mark.xfail(strict=True, raises=raises, reason=f"trap {trap}: {VERSIONS}")
    stock = pytest.param(HFLM, marks=fails, id="hf")
    return pytest.mark.parametrize("model_class", [stock, pytest.param(LanguageModelLM, id="ours")])


def load(model_class: type[HFLM], base: Path, batch_size: int | str = 8, **kwargs: Any) -> HFLM:
    return model_class(str(base), batch_size=batch_size, device="cpu", **kwargs)


def short_copy(base: Path, folder: Path, positions: int) -> Path:
    """The same architecture with fewer positions, random weights."""
    config = AutoConfig.from_pretrained(base)
    config.n_positions = positions
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


@both("1")
@pytest.mark.parametrize("method", ["prompt_tuning", "p_tuning"])
def test_trap_1_virtual_tokens_behind_padding(
    model_class: type[HFLM], method: str, tiny_gpt2: Path, tmp_path: Path
) -> None:
    adapter = write_peft(tmp_path / "adapter", tiny_gpt2, "causal", method)
    model = load(model_class, tiny_gpt2, peft=str(adapter))
    plain = PeftModel.from_pretrained(load_base(tiny_gpt2, "causal"), adapter).eval()
    texts = []
    for one in generation_requests(6):
        before = model.tok_encode(one.args[0])
        tokens = reference_answer(plain, "causal", before, 6, (model.eot_token_id,))
        texts.append(model.tok_decode(tokens).split("\n\n")[0])
    assert model.generate_until(generation_requests(6), disable_tqdm=True) == texts


@both("2")
@pytest.mark.parametrize("kwargs", [{}, {"repetition_penalty": 1.2}], ids=["own", "generate()"])
def test_trap_2_length_of_a_decoders_answer(
    model_class: type[HFLM], kwargs: dict[str, Any], tiny_t5: Path, tmp_path: Path
) -> None:
    base = write_lively(tmp_path / "base", tiny_t5, "seq2seq")
    requests = generation_requests(4)
    for one in requests:
        one.args[1].update(kwargs)
    model = load(model_class, base)
    for answer in model.generate_until(requests, disable_tqdm=True):
        # A token of these models is a few bytes at most.
        assert len(answer) <= 4 * max(map(len, model.tokenizer.get_vocab()))
        assert len(answer) < 28


@both("3", IndexError)
@pytest.mark.parametrize("batch_size", [1, "auto"])
@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning"])
def test_trap_3_virtual_tokens_take_room(
    model_class: type[HFLM],
    method: str,
    batch_size: int | str,
    tiny_gpt2: Path,
    tmp_path: Path,
) -> None:
    base = short_copy(tiny_gpt2, tmp_path / "short", 48)
    adapter = write_peft(tmp_path / "adapter", base, "causal", method)
    model = load(model_class, base, batch_size, peft=str(adapter))
    long = "the people who live there need it " * 20
    ((score, _),) = model.loglikelihood(
        [request("loglikelihood", (long, " yes"))], disable_tqdm=True
    )
    assert score < 0
    assert model.max_length == 48 - VIRTUAL_TOKENS


@both("4")
@pytest.mark.parametrize("backend", ["causal", "seq2seq"])
def test_trap_4_padded_embeddings_stay(
    model_class: type[HFLM], backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base = request.getfixturevalue({"causal": "tiny_gpt2", "seq2seq": "tiny_t5"}[backend])
    config = AutoConfig.from_pretrained(base)
    config.vocab_size += 28
    kind = AutoModelForSeq2SeqLM if backend == "seq2seq" else AutoModelForCausalLM
    kind.from_config(config).save_pretrained(tmp_path / "padded")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "padded")
    adapter = write_peft(tmp_path / "adapter", tmp_path / "padded", backend, "lora")
    model = load(model_class, tmp_path / "padded", peft=str(adapter))
    assert model.model.get_input_embeddings().num_embeddings == config.vocab_size


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    values = AutoConfig.from_pretrained(tiny_bert).to_dict()
    config = BertConfig(**{**values, "num_labels": 20})
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
    return folder


@both("5", pytest.fail.Exception)
@pytest.mark.parametrize("kind", ["classifier", "tiny_bert"])
def test_trap_5_encoders_are_refused(
    model_class: type[HFLM], kind: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    with pytest.raises(ValueEvalError, match="--model valueeval --model_args adapter="):
        load(model_class, folder)


@both("6")
def test_trap_6_cached_answers_are_the_adapters_own(
    model_class: type[HFLM], tiny_gpt2: Path, tmp_path: Path
) -> None:
    requests = scoring_requests()[:6]
    answers = []
    for seed in (0, 1):
        adapter = write_peft(tmp_path / f"adapter{seed}", tiny_gpt2, "causal", "lora", seed)
        model = load(model_class, tiny_gpt2, peft=str(adapter))
        expected = model.loglikelihood(requests, disable_tqdm=True)
        cached = CachingLM(load(model_class, tiny_gpt2, peft=str(adapter)), str(tmp_path / "db"))
        assert _scores(cached.loglikelihood(requests)) == pytest.approx(_scores(expected))
        cached.dbdict.close()
        answers.append(expected)
    assert answers[0] != answers[1]


@pytest.mark.parametrize(
    "task_class",
    [
        pytest.param(
            ConfigurableTask,
            marks=pytest.mark.xfail(
                strict=True, raises=AssertionError, reason=f"trap 6: {VERSIONS}"
            ),
            id="ConfigurableTask",
        ),
        pytest.param(ValueEvalTask, id="ours"),
    ],
)
def test_trap_6_cached_requests_are_those_of_the_prompt(
    task_class: type[ConfigurableTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lm_eval.caching.cache.PATH", str(tmp_path))
    prompts = []
    for words in ("One.", "Other."):
        if task_class is ConfigurableTask:
            task: Any = _stock_task({
                "task": "t", "output_type": "generate_until", "description": f"{words} ",
            })  # fmt: skip
        else:
            task = task_manager().load(["valueeval_cls_sample"])["tasks"]["valueeval_cls_sample"]
            task.config.description = task._wording.description = words
        task.build_all_requests(limit=1, cache_requests=True)
        prompts.append(task.instances[0].args[0])
    assert [prompt.split()[0] for prompt in prompts] == ["One.", "Other."]


def _scores(answers: list[tuple[float, bool]]) -> list[float]:
    return [score for score, _ in answers]


def test_a_cache_is_used_again(
    tiny_gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut requests are counted all the same."""
    asked = {
        "loglikelihood": scoring_requests()[:6],
        "generate_until": generation_requests(4)[:3],
        "loglikelihood_rolling": [request("loglikelihood_rolling", ("people live there",))],
    }
    runs = []
    for _ in range(2):
        model = load(LanguageModelLM, tiny_gpt2, max_length=30)
        cached = CachingLM(model, str(tmp_path / "db"))
        answers = [getattr(cached, kind)(requests) for kind, requests in asked.items()]
        runs.append((answers, model.get_model_info()["prompts_cut"]))
        cached.dbdict.close()
        for kind, name in (
            (LanguageModelLM, "_score"),
            (LanguageModelLM, "_generate"),
            (LanguageModelLM, "_loglikelihood_tokens"),
        ):
            monkeypatch.setattr(kind, name, None)
    assert runs[0] == runs[1]
    assert runs[0][1] == {"task": 1}


def test_a_cache_reads_an_argument_anew_if_an_answer_about_it_is_missing(
    tiny_gpt2: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nine are asked about each."""
    requests = scoring_requests()[:18]
    for some, told in ((requests[:10], "0 of 10"), (requests, "9 of 18")):
        cached = CachingLM(load(LanguageModelLM, tiny_gpt2), str(tmp_path / "db"))
        with caplog.at_level("INFO"):
            cached.loglikelihood(some)
        assert f"{told} answers are from the cache" in caplog.text
        cached.dbdict.close()


@pytest.mark.parametrize(
    "given",
    [
        {"subfolder": "part"},
        {"think_end_token": "yes"},
        {"dtype": "bfloat16"},
        {"softmax_dtype": "float64"},
        {"attn_implementation": "eager"},
        {"add_bos_token": True},
        {"max_length": 64},
    ],
    ids=str,
)
def test_what_changes_answers_has_a_cache_of_its_own(
    tiny_gpt2: Path, tmp_path: Path, given: dict[str, Any]
) -> None:
    base = tmp_path / "base"
    for folder in (base, base / "part"):
        write_lively(folder, tiny_gpt2, "causal")
    short_copy(tiny_gpt2, base / "part", 512)
    assert (
        load(LanguageModelLM, base, **given)._identity() != load(LanguageModelLM, base)._identity()
    )


def test_what_cannot_change_answers_has_the_same_cache(tiny_gpt2: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_gpt2, copy)
    one = load(LanguageModelLM, tiny_gpt2, 1)._identity()
    assert load(LanguageModelLM, copy, "auto", max_batch_size=4)._identity() == one


def test_other_files_in_the_same_place_have_a_cache_of_their_own(
    tiny_gpt2: Path, tmp_path: Path
) -> None:
    """Configuration, tokenizer, scale of an adapter; a model in memory."""
    base, found = tmp_path / "base", []

    def note(**kwargs: Any) -> None:
        found.append(load(LanguageModelLM, base, **kwargs)._identity())

    shutil.copytree(tiny_gpt2, base)
    note()
    for name, key, value in (
        ("config.json", "layer_norm_epsilon", 0.1),
        ("generation_config.json", "eos_token_id", 7),
        ("tokenizer_config.json", "eos_token", "yes"),
    ):
        change(base / name, key, value)
        note()
    adapter = write_peft(tmp_path / "adapter", base, "causal", "lora")
    note(peft=str(adapter))
    change(adapter / "adapter_config.json", "lora_alpha", 32)
    note(peft=str(adapter))
    tokenizer = AutoTokenizer.from_pretrained(base)
    for _ in range(2):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
        found.append(LanguageModelLM(model, tokenizer=tokenizer)._identity())
    assert len(set(found)) == len(found) == 8


def change(file: Path, key: str, value: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))


@both("7")
def test_trap_7_hash_and_size_of_an_adapter(
    model_class: type[HFLM], tiny_gpt2: Path, tmp_path: Path
) -> None:
    adapter = write_peft(tmp_path / "adapter", tiny_gpt2, "causal", "lora")
    info = load(model_class, tiny_gpt2, peft=str(adapter)).get_model_info()
    assert info["model_num_parameters"] == load_base(tiny_gpt2, "causal").num_parameters()
    assert len(info["peft_sha"]) == 64


# lm-eval's own name of the model, and ours.
@pytest.mark.parametrize(
    "model_name",
    [
        pytest.param(
            "hf",
            marks=pytest.mark.xfail(
                strict=True, raises=(TypeError, AssertionError), reason=f"trap 7: {VERSIONS}"
            ),
        ),
        "valueeval",
    ],
)
def test_trap_7_results_lie_in_the_adapters_folder(
    model_name: str, tiny_gpt2: Path, tmp_path: Path
) -> None:
    adapter = write_peft(tmp_path / "my-adapter", tiny_gpt2, "causal", "prompt_tuning")
    tracker = EvaluationTracker(output_path=str(tmp_path / "results"))
    results = lm_eval.simple_evaluate(
        model=model_name,
        model_args={"adapter": str(adapter)},
        tasks=["valueeval_cls_sample"],
        limit=2,
        device="cpu",
        batch_size=2,
        evaluation_tracker=tracker,
        task_manager=task_manager(),
    )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    (file,) = (tmp_path / "results").rglob("results_*.json")
    assert file.parent.name.endswith("my-adapter")
    described = json.loads(file.read_text())["config"]["valueeval"]
    assert described["method"] == "prompt-tuning"
    assert described["parameters"]["trainable"] == VIRTUAL_TOKENS * 32
    assert described["base_model"]["name"] == str(tiny_gpt2)


@pytest.mark.parametrize(
    "task_class",
    [
        pytest.param(
            ConfigurableTask,
            marks=pytest.mark.xfail(
                strict=True, raises=AssertionError, reason=f"trap 8: {VERSIONS}"
            ),
            id="ConfigurableTask",
        ),
        pytest.param(ValueEvalTask, id="ours"),
    ],
)
def test_trap_8_every_metric_has_its_own_aggregation(task_class: type[ConfigurableTask]) -> None:
    """Results of process_results beyond metric_list are averaged: nonsense for F1."""
    task = task_manager().load(["valueeval_cls_sample"])["tasks"]["valueeval_cls_sample"]
    if task_class is ConfigurableTask:
        config = {"metric_list": [{"metric": "acc"}], "task": "t", "output_type": "loglikelihood"}
        aggregations = set(_stock_task(config).aggregation())
    else:
        aggregations = set(task.aggregation())
    doc = task.eval_docs[0]
    assert set(task.process_results(doc, [(-1.0, False)] * 40)) <= aggregations


def _stock_task(config: dict[str, Any]) -> ConfigurableTask:
    class WithoutData(ConfigurableTask):
        def download(self, *args: Any, **kwargs: Any) -> None:
            self.dataset = {"test": Dataset.from_dict({"x": ["a"]})}

    own = {"test_split": "test", "doc_to_text": "x", "doc_to_target": "x"}
    return WithoutData(config={**config, **own})
