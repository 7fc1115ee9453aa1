"""--model valueeval with lm-eval's tasks: same predictions as hf, lengths, fallbacks, refusals."""

from __future__ import annotations

import json
import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from language_models import (
    VIRTUAL_TOKENS,
    assert_as_stock,
    generation_requests,
    load_base,
    reference_answer,
    reference_score,
    request,
    scoring_requests,
    task_manager,
    write_lively,
    write_model,
    write_peft,
)
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from peft import LoraConfig, MultitaskPromptTuningConfig, PeftModel, get_peft_model
from tiny_adapters import make_manifest, write_adapter
from transformers import (
    AutoConfig,
    AutoModel,
    BloomConfig,
    GPT2Config,
    MambaConfig,
    MistralConfig,
)

from valueeval.adapters.directory.base import fetch_base
from valueeval.adapters.directory.manifest import BaseModel, Manifest, Thresholds
from valueeval.adapters.directory.manifest_file import describe_files, write_manifest
from valueeval.adapters.harness.classifier_lm import ClassifierLM
from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.adapters.reading.causal import CausalReader
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.templates.cut_argument import cut_argument

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]


@pytest.fixture(scope="module")
def manager() -> TaskManager:
    return task_manager()


@pytest.fixture(scope="module")
def base(lively: Path) -> Path:
    return lively


def load(base: Path, batch_size: int | str = 4, **kwargs: Any) -> LanguageModelLM:
    return LanguageModelLM(str(base), batch_size=batch_size, device="cpu", **kwargs)


def responses(model: Any, manager: TaskManager, tasks: list[str]) -> dict[str, list[Any]]:
    results = lm_eval.simple_evaluate(
        model=model, tasks=tasks, limit=2, task_manager=manager, bootstrap_iters=0, num_fewshot=1
    )
    return {
        task: [response for sample in samples for (response,) in sample["resps"]]
        for task, samples in results["samples"].items()
    }


def test_scores_are_those_of_hf(base: Path, manager: TaskManager) -> None:
    tasks = ["valueeval_bca_sample", "valueeval_cls_sample"]
    stock = responses(HFLM(str(base), batch_size=4, device="cpu"), manager, tasks)
    ours = responses(load(base), manager, tasks)
    for task in tasks:
        expected = [score for score, _ in stock[task]]
        assert [score for score, _ in ours[task]] == pytest.approx(expected, abs=1e-4)


def test_texts_are_those_of_hf(tiny_gpt2: Path, tmp_path: Path, manager: TaskManager) -> None:
    """For a causal model; an encoder-decoder's are longer in stock hf (trap 2)."""
    base = write_lively(tmp_path, tiny_gpt2, "causal")
    stock = responses(HFLM(str(base), batch_size=4, device="cpu"), manager, ["valueeval_oa_sample"])
    assert responses(load(base), manager, ["valueeval_oa_sample"]) == stock


def test_an_argument_is_cut_and_never_its_question() -> None:
    prompts = ["Say. one two three four Why?", "Say. one two three four Who?", "Say. N/A Why?"]
    cut = cut_argument(prompts, "one two three four", lambda texts: max(map(len, texts)) <= 20)
    assert cut == ["Say. one two Why?", "Say. one two Who?", "Say. N/A Why?"]


def test_the_premises_words_in_the_question_stay() -> None:
    prompts = [f"Premise: value\nDoes this rest on the value of {v}?" for v in ("nature", "power")]
    cut = cut_argument(
        prompts, "value", lambda texts: max(map(len, texts)) <= 50, ("Premise: ", "")
    )
    assert cut == [prompt.replace("Premise: value", "Premise: ") for prompt in prompts]
    # A chat template trims the turn.
    cut = cut_argument(prompts, "value", lambda texts: True, ("\n Premise: ", "\n"))
    assert cut == prompts


def test_nothing_can_be_cut() -> None:
    assert cut_argument(["a long question"], "premise", lambda texts: False) is None


def test_a_tasks_premise_with_blanks_at_its_ends_is_cut(
    tiny_gpt2: Path, manager: TaskManager
) -> None:
    """One text in twenty of the official files has them."""
    task = manager.load(["valueeval_bca_sample"])["tasks"]["valueeval_bca_sample"]
    long = " ".join(["value of nature"] * 200)
    doc = {**task.eval_docs[0], "premise": f" {long} ", "conclusion": "value of nature"}
    model = load(tiny_gpt2, max_length=900)
    prompts = task.fewshot_context(doc, 1)
    requests = task.construct_requests(doc, prompts, ("task", 0, 1))
    fitted = model.fit(requests)
    assert [prompt.lost for prompt in fitted] == ["arguments_cut"] * 80
    shared = prompts[0].index(long)
    for prompt, cut in zip(prompts, fitted[::4], strict=True):
        context = cut.request.args[0]
        kept = len(context) + len(long) - len(prompt)
        assert 0 < kept < len(long)
        assert context[:shared] == prompt[:shared]
        assert context[shared + kept :] == prompt[shared + len(long) :]


def test_prompts_too_long_without_their_premise_are_counted_apart(
    tiny_gpt2: Path, manager: TaskManager, caplog: pytest.LogCaptureFixture
) -> None:
    model = load(tiny_gpt2, max_length=40)
    responses(model, manager, ["valueeval_cls_sample"])
    info = model.get_model_info()
    assert info["arguments_cut"] == {}
    assert info["prompts_cut"] == {"valueeval_cls_sample": 2}
    assert "the prompts about 2 arguments are longer than the 40 tokens" in caplog.text


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until"])
def test_long_arguments_are_cut_and_counted(
    tiny_gpt2: Path, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(tiny_gpt2, max_length=60)
    premise = "people who live there need it " * 20
    asked = " yes" if kind == "loglikelihood" else {"max_gen_toks": 8, "until": []}
    requests = [
        ValueRequest(
            request_type=kind, doc={"premise": text}, idx=i, metadata=("a task", document, 1),
            arguments=(f"Premise: {text}\nQuestion {i}: yes or no?\nAnswer:", asked),
        )
        for document, text in enumerate([premise, "it"])
        for i in range(2)
    ]  # fmt: skip
    read = []
    encode = model._encoder.encode_text
    monkeypatch.setattr(
        model._encoder, "encode_text", lambda t, *a, **k: read.append(t) or encode(t, *a, **k)
    )
    getattr(model, kind)(requests, disable_tqdm=True)
    shortened = [t for t in read if t.startswith("Premise: people") and len(encode(t)) <= 60]
    assert any(text.endswith("Question 1: yes or no?\nAnswer:") for text in shortened)
    assert model.get_model_info()["arguments_cut"] == {"a task": 1}
    assert "a task: 1 arguments are longer than the 60 tokens" in caplog.text


def test_a_prompt_without_room_for_its_answer(tiny_gpt2: Path) -> None:
    with pytest.raises(ValueEvalError, match="leave no room"):
        load(tiny_gpt2, max_length=16).generate_until(generation_requests(16), disable_tqdm=True)


def test_models_that_cannot_share_fall_back(
    tiny_gpt2: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_model(tmp_path, tiny_gpt2, MambaConfig, num_hidden_layers=2)
    model = load(tmp_path)
    assert model._readers.near is None
    assert "every prompt is read by itself" in caplog.text
    assert_as_stock(model, tmp_path)


def test_models_without_a_mask_of_ours_read_arguments_once(
    tiny_gpt2: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_model(tmp_path, tiny_gpt2, BloomConfig, n_layer=2, n_head=2)
    with caplog.at_level(logging.INFO):
        model = load(tmp_path)
    assert "copied for its questions" in caplog.text
    assert "read by itself" not in caplog.text
    assert_as_stock(model, tmp_path)
    read = []
    model.model.register_forward_pre_hook(
        lambda _, __, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    premise = "people who live there need it " * 5
    asked = [
        request("loglikelihood", (f"Premise: {premise} Question: {q}?", " yes")) for q in range(6)
    ]
    model.loglikelihood(asked, disable_tqdm=True)
    assert (
        sum(read)
        < sum(model._encoder.count(one) for one in model._encoder.encode_document(asked)) / 3
    )


def test_other_decoding_is_right_with_soft_prompts(
    tiny_gpt2: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Left to generate(), one by one: PEFT puts virtual tokens before padding."""
    base = write_lively(tmp_path / "base", tiny_gpt2, "causal")
    adapter = write_peft(tmp_path / "adapter", base, "causal", "prompt_tuning")
    requests = generation_requests(4)
    for one in requests:
        one.args[1]["num_beams"] = 1
    model = load(base, 8, peft=str(adapter))
    plain = PeftModel.from_pretrained(load_base(base, "causal"), adapter).eval()
    with caplog.at_level(logging.INFO):
        answers = model.generate_until(requests, disable_tqdm=True)
    assert "num_beams" in caplog.text
    for one, answer in zip(requests, answers, strict=True):
        before = model.tok_encode(one.args[0])
        tokens = reference_answer(plain, "causal", before, 4, (model.eot_token_id,))
        assert answer == model.tok_decode(tokens).split("\n\n")[0]


def test_samples_of_one_prompt_differ(tiny_gpt2: Path) -> None:
    settings = {"do_sample": True, "temperature": 5.0, "max_gen_toks": 8, "until": []}
    torch.manual_seed(0)
    requests = [request("generate_until", ("people", dict(settings))) for _ in range(3)]
    assert len(set(load(tiny_gpt2).generate_until(requests, disable_tqdm=True))) > 1


def test_the_same_prompt_is_read_once(tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like the empty argument of valueeval_cls, which every argument is compared with."""
    model = load(tiny_gpt2)
    reader = model._readers.near
    assert reader is not None
    asked = []
    score = reader.score
    monkeypatch.setattr(
        reader, "score", lambda f, d: asked.extend(e for r in d for e in r) or score(f, d)
    )
    requests = [request("loglikelihood", ("N/A", " nature"), document) for document in range(5)]
    assert len(set(model.loglikelihood(requests, disable_tqdm=True))) == 1
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["adapter", "pretrained", "peft"])
def test_model_args_choose_the_class(tiny_gpt2: Path, tmp_path: Path, name: str) -> None:
    adapter = str(write_peft(tmp_path / "adapter", tiny_gpt2, "causal", "lora"))
    arguments = {
        "adapter": {"adapter": adapter},
        "pretrained": {"pretrained": str(tiny_gpt2)},
        "peft": {"pretrained": str(tiny_gpt2), "peft": adapter},
    }[name]
    flags = {"batch_size": 2, "device": "cuda:0", "max_batch_size": None}
    model = ClassifierLM.create_from_arg_obj(arguments, flags)
    assert isinstance(model, LanguageModelLM)
    assert isinstance(model.model, PeftModel) == (name != "pretrained")
    assert arguments.get("peft") == (None if name == "pretrained" else adapter)
    text = ",".join(f"{key}={value}" for key, value in arguments.items())
    assert isinstance(ClassifierLM.create_from_arg_string(text, flags), LanguageModelLM)


def test_a_manifests_thresholds_shift_decisions(tiny_gpt2: Path, tmp_path: Path) -> None:
    """ll(yes) - ll(no) is less by each value's threshold as a logit; other templates are not."""
    adapter = write_peft(tmp_path / "adapter", tiny_gpt2, "causal", "lora")
    manifest = write_template_manifest(adapter, tiny_gpt2, "bca", [0.2, 0.8] * 10)
    requests = [
        ValueRequest(
            request_type="loglikelihood", doc={"premise": "p"}, idx=0, metadata=("task", 0, 1),
            arguments=("people", f" {role}"), template=template, value=value, role=role,
        )
        for template in ("bca", "cls")
        for value in (0, 1)
        for role in ("yes", "no")
    ]  # fmt: skip
    plain = load(tiny_gpt2, peft=str(adapter)).loglikelihood(requests, disable_tqdm=True)
    model = ClassifierLM.create_from_arg_obj({"adapter": str(adapter)}, {"device": "cpu"})
    answers = model.loglikelihood(requests, disable_tqdm=True)
    shifts = []
    for i in range(0, len(requests), 2):
        before = plain[i][0] - plain[i + 1][0]
        shifts.append(before - (answers[i][0] - answers[i + 1][0]))
    logit = math.log(0.2 / 0.8)
    assert shifts == pytest.approx([logit, -logit, 0, 0], abs=1e-4)
    assert all(score <= 0 for score, _ in answers)
    assert model.get_model_info()["valueeval"] == manifest.to_json()


def test_a_model_without_a_chat_template(tiny_gpt2: Path, manager: TaskManager) -> None:
    with pytest.raises(ValueEvalError, match="no chat template: leave --apply_chat_template out"):
        lm_eval.simple_evaluate(
            model=load(tiny_gpt2), tasks=["valueeval_mbc_sample"], limit=1, task_manager=manager,
            apply_chat_template=True,
        )  # fmt: skip


def test_another_base_is_refused(tiny_gpt2: Path, tmp_path: Path) -> None:
    adapter = write_peft(tmp_path / "adapter", tiny_gpt2, "causal", "lora")
    write_template_manifest(adapter, tiny_gpt2, "bca", [0.5] * 20)
    other = write_lively(tmp_path / "other", tiny_gpt2, "causal")
    arguments = {"adapter": str(adapter), "pretrained": str(other)}
    with pytest.raises(ValueEvalError, match=r"trained on base model .* would be meaningless"):
        ClassifierLM.create_from_arg_obj(arguments, {"device": "cpu"})


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("lora", "peft", "are two adapters; give one of them"),
        ("whole", "peft", "is a whole model, on which no peft= is put"),
        ("whole", "pretrained", "leave out pretrained="),
    ],
)
def test_other_weights_under_an_adapters_manifest_are_refused(
    tiny_gpt2: Path, tmp_path: Path, kind: str, more: str, said: str
) -> None:
    adapter = tmp_path / "adapter"
    if kind == "lora":
        write_peft(adapter, tiny_gpt2, "causal", "lora")
    else:
        shutil.copytree(tiny_gpt2, adapter)
    write_template_manifest(adapter, tiny_gpt2, "bca", [0.5] * 20)
    other = write_peft(tmp_path / "other", tiny_gpt2, "causal", "lora", seed=1)
    arguments = {"adapter": str(adapter), more: str(other if more == "peft" else tiny_gpt2)}
    with pytest.raises(ValueEvalError, match=said):
        ClassifierLM.create_from_arg_obj(arguments, {"device": "cpu"})


def test_peft_alone_finds_its_base(tiny_gpt2: Path, tmp_path: Path) -> None:
    adapter = write_peft(tmp_path / "adapter", tiny_gpt2, "causal", "lora")
    arguments = {"peft": str(adapter)}
    model = ClassifierLM.create_from_arg_obj(arguments, {"device": "cpu"})
    assert model.get_model_info()["valueeval"]["base_model"]["name"] == str(tiny_gpt2)
    assert arguments["pretrained"] == str(tiny_gpt2)
    config = adapter / "adapter_config.json"
    content = {**json.loads(config.read_text()), "base_model_name_or_path": None}
    config.write_text(json.dumps(content))
    with pytest.raises(ValueEvalError, match="add pretrained=MODEL"):
        ClassifierLM.create_from_arg_obj({"peft": str(adapter)}, {"device": "cpu"})


def test_an_adapter_with_a_head_as_peft_is_sent_on(tiny_bert: Path, tmp_path: Path) -> None:
    """With PEFT's files, and with a whole model."""
    whole = write_adapter(tmp_path / "whole", tiny_bert)
    encoder = AutoModel.from_pretrained(tiny_bert)
    config = LoraConfig(task_type="FEATURE_EXTRACTION", target_modules=["query"])
    get_peft_model(encoder, config).save_pretrained(tmp_path / "lora")
    for adapter in (whole, tmp_path / "lora"):
        for more in ({}, {"pretrained": str(tiny_bert)}):
            with pytest.raises(ValueEvalError, match=f"--model_args adapter={adapter}"):
                ClassifierLM.create_from_arg_obj({"peft": str(adapter), **more}, {"device": "cpu"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"pretrained": "no/such-folder/here"}, "pretrained=no/such-folder/here: no model that"),
        ({"dtype": "float17"}, "dtype: 'float17'; allowed: auto, float32"),
        (
            {"dtype": "float61"},
            "dtype: 'float61'; allowed: auto, float32, bfloat16, float16 (or another of "
            "PyTorch's); did you mean float16?",
        ),
        ({"dtype": "nn"}, "dtype: 'nn'; allowed"),
        ({"softmax_dtype": "fp32"}, "softmax_dtype: 'fp32'; allowed: float32, bfloat16"),
        ({"mixed_precision_dtype": "auto"}, "mixed_precision_dtype: 'auto'; allowed: float32"),
    ],
    ids=["no model", "no data type", "a slip", "no data type either", "softmax", "mixed"],
)
def test_errors_for_people(tiny_gpt2: Path, arguments: dict[str, str], said: str) -> None:
    given = {"pretrained": str(tiny_gpt2), **arguments}
    with pytest.raises(ValueEvalError) as caught:
        ClassifierLM.create_from_arg_obj(given, {"device": "cpu"})
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", ["another architecture", "another size"])
def test_an_adapter_that_does_not_fit_is_refused(
    tiny_gpt2: Path, tmp_path: Path, other: str
) -> None:
    adapter = write_peft(tmp_path / "adapter", tiny_gpt2, "causal", "lora")
    base = tmp_path / "base"
    if other == "another size":
        write_model(base, tiny_gpt2, GPT2Config, n_layer=2, n_head=2, hidden_size=64)
    else:
        sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
        write_model(base, tiny_gpt2, MistralConfig, intermediate_size=64, **sizes)
    with pytest.raises(ValueEvalError, match="it does not go with the base model"):
        load(base, peft=str(adapter))


@pytest.mark.parametrize(("size", "expected"), [(1, 8), ("auto", 8), (64, 64)])
def test_a_batch_is_as_large_as_asked(tiny_gpt2: Path, size: int | str, expected: int) -> None:
    assert load(tiny_gpt2, size)._documents_at_once == expected


def write_template_manifest(
    folder: Path, base: Path, template: str, thresholds: list[float]
) -> Manifest:
    """A manifest for an adapter whose answers are words, as training writes it."""
    source = fetch_base(str(base))
    manifest = make_manifest(
        describe_files(folder),
        template=template,
        head=None,
        base_model=BaseModel(source.name, None, source.sha256),
        thresholds=Thresholds(tuple(thresholds), "validation", "macro_f1"),
        method="lora",
        objective="nll",
    )
    write_manifest(folder, manifest)
    return manifest


def test_multitask_prompt_tuning_is_refused(tiny_t5: Path, tmp_path: Path) -> None:
    config = MultitaskPromptTuningConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=4, num_tasks=2, prompt_tuning_init="RANDOM"
    )
    get_peft_model(load_base(tiny_t5, "seq2seq"), config).save_pretrained(tmp_path)
    with pytest.raises(ValueEvalError, match="needs a task number"):
        load(tiny_t5, peft=str(tmp_path))


def test_an_adapter_for_classification_is_refused(tiny_gpt2: Path, tmp_path: Path) -> None:
    write_peft(tmp_path, tiny_gpt2, "causal", "lora")
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "task_type": "SEQ_CLS"}))
    with pytest.raises(ValueEvalError, match="--model valueeval --model_args adapter="):
        load(tiny_gpt2, peft=str(tmp_path))


@pytest.mark.parametrize(
    ("written", "loaded"), [("tiny_t5", "tiny_gpt2"), ("tiny_gpt2", "tiny_t5")]
)
def test_an_adapter_for_another_kind_of_model_is_refused(
    written: str, loaded: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    kind = "seq2seq" if written == "tiny_t5" else "causal"
    write_peft(tmp_path, request.getfixturevalue(written), kind, "prompt_tuning")
    with pytest.raises(ValueEvalError, match=r"an adapter for .*, but the base model is a"):
        load(request.getfixturevalue(loaded), peft=str(tmp_path))


@pytest.mark.parametrize("size", [0, -1, "0", "many", "auto:", "auto:x", "auto:0"])
def test_no_batch_size(tiny_gpt2: Path, size: int | str) -> None:
    said = r"batch_size: .*; allowed: 1 or more, auto, or auto:N"
    with pytest.raises(ValueEvalError, match=said):
        load(tiny_gpt2, size)


@pytest.mark.parametrize("kind", ["lora", "trainable tokens"])
def test_adapted_embeddings_share_what_prompts_begin_with(
    tiny_gpt2: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    base = write_lively(tmp_path / "base", tiny_gpt2, "causal")
    options: dict[str, Any] = {"task_type": "CAUSAL_LM", "target_modules": ["c_attn"]}
    if kind == "lora":
        options["target_modules"] = ["wte", "c_attn"]
    else:
        options["trainable_token_indices"] = {"wte": [5, 6, 7, 200]}
    torch.manual_seed(0)
    plain = get_peft_model(load_base(base, "causal"), LoraConfig(**options, fan_in_fan_out=True))
    for parameter in plain.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    plain.eval().save_pretrained(tmp_path / "adapter")
    model = load(base, 8, peft=str(tmp_path / "adapter"))
    assert isinstance(model._readers.near, CausalReader)
    assert "cannot share" not in caplog.text
    pairs = [model._encode_pair(*one.args) for one in scoring_requests()]
    expected = [reference_score(plain, "causal", *pair) for pair in pairs]
    answers = model.loglikelihood(scoring_requests(), disable_tqdm=True)
    assert [score for score, _ in answers] == pytest.approx(expected, abs=1e-4)


def test_no_adapter_there(tiny_gpt2: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueEvalError, match="no PEFT adapter there"):
        load(tiny_gpt2, peft=str(tmp_path))


def test_virtual_tokens_of_an_encoder_decoder(tiny_t5: Path, tmp_path: Path) -> None:
    """A soft prompt stands before the encoder's text, a prefix before the decoder's."""
    lengths = {}
    for method in ("prompt_tuning", "prefix_tuning"):
        adapter = write_peft(tmp_path / method, tiny_t5, "seq2seq", method)
        lengths[method] = load(tiny_t5, peft=str(adapter)).max_length
    assert lengths["prefix_tuning"] - lengths["prompt_tuning"] == VIRTUAL_TOKENS


@pytest.mark.parametrize("shared", [True, False], ids=["copies", "one by one"])
def test_prompts_beyond_a_window(
    tiny_gpt2: Path, tmp_path: Path, shared: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    write_model(
        tmp_path, tiny_gpt2, MistralConfig, intermediate_size=64, sliding_window=24, **sizes
    )
    assert AutoConfig.from_pretrained(tmp_path).sliding_window == 24
    model = load(tmp_path)
    assert model._readers.near is not None
    assert model._readers.far is not None
    if not shared:
        model._readers = replace(model._readers, far=None)
    with caplog.at_level(logging.INFO):
        assert_as_stock(model, tmp_path)
    assert ("longer than the window of 24: each by itself" in caplog.text) is not shared
