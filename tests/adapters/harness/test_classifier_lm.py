"""``--model valueeval``: an adapter's answers to the tasks, at every batch size, and refusals."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from language_models import task_manager
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.loggers import EvaluationTracker
from lm_eval.utils import sanitize_model_name
from safetensors.torch import load_file, save_file
from tiny_adapters import write_adapter

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.manifest_file import (
    MANIFEST_FILE,
    combined_hash,
    describe_files,
    read_manifest,
    write_manifest,
)
from valueeval.adapters.harness import argument_lm as harness
from valueeval.adapters.harness.classifier_lm import ClassifierLM
from valueeval.adapters.runtime.devices import choose_device
from valueeval.adapters.runtime.options import AUTO_BATCH_SIZE, parse_batch_size
from valueeval.registration import register
from valueeval.tasks.commands import score as cli_score
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.templates.decide import ASKS, decide

register()
SAMPLE = load_set("sample")
N = 9


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    return write_adapter(tmp_path_factory.mktemp("runs") / "tiny", tiny_bert)


def requests_of(template: str, task: str = "valueeval_task") -> list[ValueRequest]:
    """Return a task's requests about the first arguments; the prompts are nonsense."""
    requests = []
    for number, argument in enumerate(SAMPLE.arguments[:N]):
        doc = asdict(argument)  # no labels in it
        for idx, ask in enumerate(ASKS[template]):
            requests.append(
                ValueRequest(
                    request_type="loglikelihood",
                    doc=doc,
                    arguments=("not the argument", f" {ask.continuation}"),
                    idx=idx,
                    metadata=(task, number, 1),
                    template=template,
                    value=ask.value,
                    role=ask.role,
                )
            )
    return requests


def scores_of(model: ClassifierLM, template: str) -> np.ndarray:
    answers = model.loglikelihood(requests_of(template))
    n = len(ASKS[template])
    decisions = [decide(template, answers[i * n : i * n + n]) for i in range(N)]
    for decision in decisions:
        assert decision.scores is not None
        assert decision.prediction == tuple(score > 0 for score in decision.scores)
    return np.array([decision.scores for decision in decisions])


@pytest.fixture(autouse=True)
def no_environment_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval's report on the machine takes many seconds and is not what is tested here."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)


def evaluate(adapter: Path, tasks: list[str], **options: Any) -> dict[str, Any]:
    return simple_evaluate(
        model="valueeval",
        model_args={"adapter": str(adapter)},
        tasks=tasks,
        limit=N,
        device="cpu",
        task_manager=task_manager(),
        **{"batch_size": 4, **options},
    )


# ------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize("template", ["cls", "bca"])
def test_difference_is_logit_less_threshold(adapter: Path, template: str) -> None:
    classifier = load_classifier(adapter, "cpu")
    logits = classifier.logits(SAMPLE.arguments[:N]).astype(np.float64)
    thresholds = np.array(classifier.manifest.thresholds.values)
    expected = logits - np.log(thresholds / (1 - thresholds))
    scores = scores_of(ClassifierLM(str(adapter), batch_size=32), template)
    # Up to rounding of float32 (a relative 1.2e-7 each time): batches are put together otherwise.
    assert scores == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert ((scores > 0) == classifier.manifest.thresholds.decide(logits)).all()
    assert 0 < (scores > 0).mean() < 1  # the test would show nothing if all were alike
    assert scores.std(0).min() > 0


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_halves_give_the_difference_exactly(difference: float) -> None:
    yes, greedy_yes = harness._half(difference, "yes")
    no, greedy_no = harness._half(difference, "no")
    assert yes - no == difference
    assert max(yes, no) == 0
    assert greedy_yes is (difference > 0)
    assert greedy_no is not greedy_yes
    assert (
        harness._half(difference, "name")[0] - harness._half(difference, "empty")[0] == difference
    )


def test_batch_size_changes_nothing(adapter: Path) -> None:
    one, eight, auto = (
        scores_of(ClassifierLM(str(adapter), batch_size=size), "cls") for size in (1, 8, "auto")
    )
    assert eight == pytest.approx(one, abs=1e-5)
    assert auto == pytest.approx(one, abs=1e-5)
    assert ((eight > 0) == (one > 0)).all()


def test_each_argument_is_read_once(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ClassifierLM(str(adapter))
    read: list[str] = []
    original = model._classifier.logits
    monkeypatch.setattr(
        model._classifier,
        "logits",
        lambda arguments, size: read.extend(a.id for a in arguments) or original(arguments, size),
    )
    model.loglikelihood([*requests_of("cls"), *requests_of("bca")])
    assert sorted(read) == sorted(argument.id for argument in SAMPLE.arguments[:N])


def test_two_adapters_answer_differently(adapter: Path, tmp_path: Path, tiny_bert: Path) -> None:
    other = write_adapter(tmp_path / "other", tiny_bert, seed=1)
    first, second = (scores_of(ClassifierLM(str(folder)), "cls") for folder in (adapter, other))
    assert abs(first - second).max() > 0.1


def test_half_precision(adapter: Path) -> None:
    model = ClassifierLM(str(adapter), dtype="bfloat16")
    assert model.get_model_info()["model_dtype"] == "torch.bfloat16"
    exact = scores_of(ClassifierLM(str(adapter)), "cls")
    assert scores_of(model, "cls") == pytest.approx(exact, abs=0.5)


def test_broken_weights_are_noticed(adapter: Path) -> None:
    model = ClassifierLM(str(adapter))
    with torch.no_grad():
        model._classifier.model.head.bias[3] = float("nan")
    with pytest.raises(ValueEvalError, match="not finite"):
        scores_of(model, "cls")


def test_truncation_is_said_and_counted(adapter: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Three of nine arguments are long, two of them the same; another task has one of these."""
    requests = requests_of("cls") + requests_of("cls", "another_task")[:40]
    for request in requests:
        if request.doc_id > 2:
            request.doc = {**request.doc, "premise": "it", "conclusion": "good"}
        if request.doc_id == 2:
            request.doc = requests[0].doc
    model = ClassifierLM(str(adapter))
    with caplog.at_level(logging.WARNING):
        model.loglikelihood(requests)
    assert "valueeval_task: 3 arguments are longer than 96 tokens" in caplog.text
    assert model.get_model_info()["arguments_cut"] == {"valueeval_task": 3, "another_task": 1}


def test_counts_of_all_processes_are_reported(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ClassifierLM(str(adapter))
    other = {"arguments_cut": {"task": 2}, "prompts_cut": {}}
    monkeypatch.setattr(harness.ArgumentLM, "gather_object", lambda *_: [("other", other)] * 2)
    assert model.gather_object("mine") == ["other", "other"]
    assert model.get_model_info()["arguments_cut"] == {"task": 4}
    monkeypatch.setattr(harness.ArgumentLM, "gather_object", lambda *_: None)
    assert model.gather_object("mine", dst=1) is None


def test_scores_of_validation_are_said_to_be_too_good(
    adapter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = ClassifierLM(str(adapter))
    with caplog.at_level(logging.WARNING):
        model.loglikelihood(requests_of("cls", task="valueeval_cls"))
        assert "validation" not in caplog.text
        model.loglikelihood(requests_of("cls", task="valueeval_cls_validation"))
    assert "thresholds were chosen on validation" in caplog.text


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        ({}, "chosen on validation, so the scores of valueeval_cls_validation are too good"),
        (
            {"set": "training+validation", "folds": 5, "left_out": (1,)},
            "trained on validation, so the scores of valueeval_cls_validation are worth nothing",
        ),
    ],
)
def test_says_so_where_scores_are_those_of_data_used_in_training(
    adapter: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    data: dict[str, Any],
    warning: str,
) -> None:
    folder = shutil.copytree(adapter, tmp_path / "copy")
    manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, data=replace(manifest.data, **data)))
    model = ClassifierLM(str(folder))
    model.loglikelihood(requests_of("cls"))
    assert "validation" not in caplog.text
    model.loglikelihood(requests_of("cls", "valueeval_cls_validation"))
    assert warning in caplog.text


# ------------------------------------------------------------------------------ through lm-eval


def test_results_of_lm_eval(adapter: Path, tmp_path: Path) -> None:
    tracker = EvaluationTracker(output_path=str(tmp_path))
    results = evaluate(
        adapter, ["valueeval_cls_sample", "valueeval_bca_sample"], evaluation_tracker=tracker
    )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results, samples)
    for task, rows in samples.items():
        tracker.save_results_samples(task, rows)

    manifest = read_manifest(adapter)
    config = results["config"]
    assert config["valueeval"] == manifest.to_json()
    assert config["model_num_parameters"] == manifest.parameters.total
    assert config["model_sha"] == manifest.weights_sha256
    assert config["model_dtype"] == "torch.float32"
    scores = results["results"]
    cls, bca = scores["valueeval_cls_sample"], scores["valueeval_bca_sample"]
    assert cls["macro_f1,none"] == bca["macro_f1,none"] > 0
    assert cls["unparsed,none"] == 0

    folder = tmp_path / str(adapter).replace("/", "__")
    assert len(list(folder.glob("results_*.json"))) == 1
    assert len(list(folder.glob("samples_*.jsonl"))) == 2


def test_predict_only_can_be_scored_later(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = EvaluationTracker(output_path=str(tmp_path))
    options: dict[str, Any] = {"evaluation_tracker": tracker, "predict_only": True}
    results = evaluate(adapter, ["valueeval_cls_sample"], **options)
    samples = results.pop("samples")
    tracker.save_results_aggregated(results, samples)
    tracker.save_results_samples("valueeval_cls_sample", samples["valueeval_cls_sample"])
    (path,) = tmp_path.glob("*/samples_*.jsonl")
    capsys.readouterr()
    cli_score.main(["--samples", str(path), "--json"])
    rescored = json.loads(capsys.readouterr().out)
    scored = evaluate(adapter, ["valueeval_cls_sample"])["results"]["valueeval_cls_sample"]
    for name in ("macro_f1", "official_f1", "macro_f1_stderr", "official_f1_ci_low"):
        value = scored[f"{name},none"]
        # Nine arguments are too few conclusions for an interval: lm-eval writes None as N/A.
        assert rescored[name] == (None if value == "N/A" else pytest.approx(value, abs=1e-12))


def test_created_from_a_string(adapter: Path) -> None:
    model = ClassifierLM.create_from_arg_string(
        f"adapter={adapter},batch_size=2", {"batch_size": 8, "device": "cpu", "max_batch_size": 1}
    )
    assert model.batch_size == 2
    assert model.name == str(adapter)


def test_trailing_slash_is_no_part_of_the_name(adapter: Path) -> None:
    arguments = {"adapter": f"{adapter}/"}
    ClassifierLM.create_from_arg_obj(arguments)
    assert arguments["path"] == str(adapter)
    ClassifierLM.create_from_arg_obj(arguments)  # again, with the path in it


def test_a_name_that_is_too_long_for_a_folder_is_cut(adapter: Path, tmp_path: Path) -> None:
    """Of an average of five in deep folders, lm-eval could not write the results."""
    paths = [tmp_path / ("ä" * 20) / f"{number}{'a' * 40}" / "adapter" for number in range(5)]
    for path in paths:
        shutil.copytree(adapter, path)
    names = []
    for members in ("+".join(map(str, paths)), "+".join(map(str, paths[::-1]))):
        arguments = {"adapter": members}
        model = ClassifierLM.create_from_arg_obj(arguments)
        assert model.name == members
        names.append(sanitize_model_name(arguments["path"]))
        assert len(names[-1].encode()) <= 255
        (tmp_path / names[-1]).mkdir()
        assert names[-1].startswith("adapter+adapter+adapter+adapter+adapter-")
    assert names[0] != names[1]


# ------------------------------------------------------------------------------------ refusals


def test_refuses_what_it_cannot_answer(adapter: Path) -> None:
    model = ClassifierLM(str(adapter))
    foreign = Instance("loglikelihood", {}, ("a", "b"), 0, ("arc_easy", 0, 1))
    with pytest.raises(ValueEvalError, match="ValueEval tasks only, not arc_easy"):
        model.loglikelihood([foreign])
    generative = ValueRequest(
        "generate_until", {}, ("a", {}), 0, ("valueeval_cot", 0, 1), template="cot"
    )
    with pytest.raises(ValueEvalError, match="cannot answer valueeval_cot"):
        model.generate_until([generative])
    with pytest.raises(ValueEvalError, match="no perplexity"):
        model.loglikelihood_rolling([foreign])
    with pytest.raises(ValueEvalError, match="leave out --apply_chat_template"):
        model.chat_template(True)
    with pytest.raises(ValueEvalError, match="leave out --apply_chat_template"):
        _ = model.tokenizer_name


def test_cache_is_refused(adapter: Path, tmp_path: Path) -> None:
    """lm-eval's cache knows prompts only: a second adapter would be given the first one's."""
    with pytest.raises(ValueEvalError, match="--use_cache"):
        evaluate(adapter, ["valueeval_cls_sample"], use_cache=str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"needs --model_args adapter=DIR .* or pretrained=MODEL"),
        ({"adaptor": "x"}, "no argument 'adaptor'; did you mean adapter?"),
        ({"adapter": "x", "seed": 1}, "no argument 'seed'; there are adapter"),
        ({"adapter": "no/such"}, "no/such: no such adapter directory"),
        (
            {"adapter": "x", "batch_size": "many"},
            "batch_size: 'many'; allowed: 1 or more, auto, or auto:N",
        ),
        ({"adapter": "x", "batch_size": 0}, "batch_size: 0"),
        ({"adapter": "x", "device": "gpu!"}, "device: 'gpu!'"),
        ({"adapter": "x", "dtype": "int8"}, "dtype: 'int8'; allowed: auto, float32"),
        ({"adapter": "x", "dtype": "bfloat"}, "bfloat16, float16; did you mean bfloat16?"),
    ],
)
def test_refused_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueEvalError, match=message.replace("?", r"\?")):
        ClassifierLM.create_from_arg_obj(arguments)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"pretrained": "gpt2"}, "has a head and names its base model itself: leave out pretra"),
        ({"peft": "x"}, "leave out peft=x"),
        ({"trust_remote_code": True}, "no remote code is run: leave out trust_remote_code"),
    ],
    ids=str,
)
def test_arguments_of_language_models_are_refused(
    adapter: Path, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueEvalError, match=message):
        ClassifierLM.create_from_arg_obj({"adapter": str(adapter), **more})


def test_no_remote_code_is_no_argument(adapter: Path) -> None:
    arguments = {"adapter": str(adapter), "trust_remote_code": False}
    assert isinstance(ClassifierLM.create_from_arg_obj(arguments), ClassifierLM)


def test_a_model_as_adapter_is_sent_on(tiny_gpt2: Path) -> None:
    with pytest.raises(ValueEvalError, match=f"a model, no adapter.* pretrained={tiny_gpt2}"):
        ClassifierLM.create_from_arg_obj({"adapter": str(tiny_gpt2)})


def test_truncated_weights_are_refused(tmp_path: Path, tiny_bert: Path) -> None:
    folder = write_adapter(tmp_path / "broken", tiny_bert)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ManifestError, match=r"model\.safetensors"):
        ClassifierLM(str(folder))


def rewrite(folder: Path, file: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """Change the weights in a file of an adapter, and what its manifest says about that."""
    weights = load_file(folder / file)
    change(weights)
    save_file(weights, folder / file, metadata={"format": "pt"})
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    files = describe_files(folder)
    manifest["files"] = {name: asdict(info) for name, info in files.items()}
    manifest["weights_sha256"] = combined_hash(files)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    return folder


EMBEDDINGS = "embeddings.word_embeddings.weight"


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("head", lambda w: w.update(weight=w["weight"].long()), "weight holds int64 instead"),
        ("head", lambda w: w.update(weight=w["weight"].bool()), "weight holds bool instead"),
        ("head", lambda w: w.update(bias=w["bias"] + 0j), "bias holds complex64 instead"),
        ("head", lambda w: w["bias"].__setitem__(3, float("nan")), "bias holds NaN or infinity"),
        ("head", lambda w: w["weight"].fill_(float("inf")), "weight holds NaN or infinity"),
        ("head", lambda w: w.update(weight=w["weight"][:19].clone()), r"weight is \[19, 32\]"),
        ("model", lambda w: w[EMBEDDINGS].fill_(float("nan")), f"{EMBEDDINGS} holds NaN or inf"),
        ("model", lambda w: w[EMBEDDINGS][7].fill_(float("inf")), f"{EMBEDDINGS} holds NaN or"),
        ("model", lambda w: w.update({EMBEDDINGS: w[EMBEDDINGS].long()}), "holds int64 instead"),
    ],
)
def test_weights_that_are_no_finite_floats_are_refused(
    file: str, change: Callable[[Any], object], reason: str, tmp_path: Path, tiny_bert: Path
) -> None:
    folder = write_adapter(tmp_path / "broken", tiny_bert)
    rewrite(folder, f"{file}.safetensors", change)
    with pytest.raises(ManifestError, match=rf"{file}\.safetensors: .*{reason}"):
        ClassifierLM(str(folder))


def test_an_input_that_is_longer_than_the_model_is_refused(tmp_path: Path, tiny_bert: Path) -> None:
    folder = write_adapter(tmp_path / "long", tiny_bert)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["input"]["max_length"] = 10**15
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(ManifestError, match=r"input\.max_length: 10+; allowed .* at most 512"):
        ClassifierLM(str(folder))


@pytest.mark.slow
def test_lm_eval_refuses_a_broken_head_in_a_line(tmp_path: Path, tiny_bert: Path) -> None:
    folder = write_adapter(tmp_path / "broken", tiny_bert)
    rewrite(folder, "head.safetensors", lambda w: w.update(weight=w["weight"].long()))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lm_eval", "--model", "valueeval", "--device", "cpu"),
            *("--model_args", f"adapter={folder}", "--tasks", "valueeval_cls_sample"),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    told = done.stderr.splitlines()[-1]
    assert told.startswith(f"valueeval: {folder / 'head.safetensors'}: weight holds int64 instead")
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------- devices


def test_batch_sizes() -> None:
    assert [parse_batch_size(given) for given in (3, "8", "auto", "auto:4")] == [
        3,
        8,
        AUTO_BATCH_SIZE,
        AUTO_BATCH_SIZE,
    ]


def test_device_that_is_not_there_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert choose_device("cuda:0") == choose_device("mps") == choose_device(None)
    assert choose_device("cuda:0").type == "cpu"
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert choose_device("cuda:0") == torch.device("cuda:0")
    assert choose_device("cuda:1").type == "cpu"
    assert choose_device(None).type == "cuda"
    assert choose_device("cpu").type == "cpu"


# ------------------------------------------------------------------------------------- processes

_ONE_RUN = """
import json, sys
from valueeval.registration import register
register()
from lm_eval import simple_evaluate
results = simple_evaluate(
    model="valueeval", model_args={"adapter": sys.argv[1]}, batch_size=4, limit=9, device="cpu",
    tasks=["valueeval_cls_sample", "valueeval_bca_sample"],
)
if results is not None:
    entries = {
        task: sorted(((s["doc"]["id"], s["macro_f1"]["prediction"]) for s in rows))
        for task, rows in results["samples"].items()
    }
    scores = {task: r["macro_f1,none"] for task, r in results["results"].items()}
    json.dump([entries, scores, results["n-samples"]], open(sys.argv[2], "w"))
"""


@pytest.mark.slow
def test_two_processes_agree_with_one(adapter: Path, tmp_path: Path) -> None:
    """Nine arguments over two processes: five and four, so that one must pad."""
    script = tmp_path / "run.py"
    script.write_text(_ONE_RUN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    outputs = []
    for name, launcher in (
        ("one", [sys.executable]),
        (
            "two",
            [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"],
        ),
    ):
        out = tmp_path / f"{name}.json"
        command = [*launcher, str(script), str(adapter), str(out)]
        subprocess.run(command, check=True, env=environment, timeout=300, capture_output=True)
        outputs.append(json.loads(out.read_text()))
    assert outputs[0] == outputs[1]
