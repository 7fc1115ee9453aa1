"""The task class: what a task knows of itself, cached requests, wrong files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks._yaml_loader import load_yaml
from tasks import DOC, FOLDER, NAMES, VERSIONS, chat

from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.harness.task import ValueEvalTask
from valueeval.tasks.scores import scoring
from valueeval.tasks.templates.decide import SECOND_TURNS


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replies") / "samples_valueeval_cot.jsonl"
    arguments = {"gen_args_0": {"arg_0": "prompt"}}
    sample = {"doc": DOC, "arguments": arguments, "filtered_resps": ["reply"]}
    path.write_text(json.dumps(sample) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_task_knows_what_it_is(
    load: Callable[..., ValueEvalTask], name: str, replies: Path
) -> None:
    _, template, *rest = name.split("_")
    task = load(name, replies=str(replies)) if template in SECOND_TURNS else load(name)
    metadata = task.dump_config()["metadata"]
    assert metadata["template"] == task.template == template
    paraphrase = rest.pop(0) if rest and rest[0][1:].isdigit() else "p1"
    assert metadata["paraphrase"] == int(paraphrase[1:])
    last = rest[-1] if rest else ""
    assert metadata["set"] == (last or "main")
    assert metadata["sample"] is (last == "sample")
    assert metadata["data_official"] is False
    hashes = 4 if last == "cv" else 1
    assert [len(each) for each in metadata["data_sha256"].split("+")] == [64] * hashes
    assert metadata["version"] == task.VERSION == VERSIONS[template]
    assert metadata["main_metric"] == "macro_f1"
    assert metadata["licence"] == ("Apache-2.0" if last == "sample" else None)
    assert Path(metadata["config_source"]).name == f"{name}.yaml"
    pools = {"sample": "sample_training", "cv": "cv"}
    assert task.config.fewshot_split == pools.get(last, "training")
    json.dumps(task.dump_config(), allow_nan=False)


def test_model_args_cannot_alter_our_metadata(load: Callable[..., ValueEvalTask]) -> None:
    stray = {"template": "oa", "set": "nyt", "version": 7, "data_sha256": "0", "sample": False}
    task = load("valueeval_bca_sample", **stray, pretrained="somewhere")
    assert task.template == "bca"
    assert task.VERSION == 1.1
    metadata = task.config.metadata
    assert metadata["pretrained"] == "somewhere"
    assert {key: metadata[key] for key in stray} == {
        **{"template": "bca", "set": "sample", "version": 1.1, "sample": True},
        "data_sha256": load("valueeval_bca_sample").config.metadata["data_sha256"],
    }


def test_the_official_files_are_recognised(
    load: Callable[..., ValueEvalTask], real_data_dir: Path
) -> None:
    metadata = load("valueeval_bca", data_dir=str(real_data_dir)).config.metadata
    assert metadata["data_official"] is True
    assert metadata["licence"] == "CC-BY-4.0"
    assert metadata["citation"].startswith("https://")


def test_every_metric_has_an_aggregation_and_a_direction(
    load: Callable[..., ValueEvalTask],
) -> None:
    task = load("valueeval_bca_sample")
    assert tuple(task.aggregation()) == tuple(task.aggregation() | task.higher_is_better())
    assert set(task.aggregation()) == set(task.higher_is_better()) == set(scoring.METRICS)
    assert task.higher_is_better()["macro_f1"] is True
    assert task.higher_is_better()["f1_hedonism"] is True
    assert task.higher_is_better()["unparsed"] is False
    assert task.higher_is_better()["macro_f1_ci_low"] is None
    listed = [entry["metric"] for entry in task.config.metric_list]
    assert listed == list(scoring.METRICS)


def test_cached_requests_follow_wording_data_and_seed(
    load: Callable[..., ValueEvalTask], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lm_eval.caching.cache.PATH", str(tmp_path))

    def first_prompt(task: ValueEvalTask, **kwargs: Any) -> str:
        task.build_all_requests(cache_requests=True, **kwargs)
        return str(task.instances[0].arguments[0])

    prompt = first_prompt(load("valueeval_bca_sample"), limit=2)
    assert len(list(tmp_path.iterdir())) == 1
    cached = load("valueeval_bca_sample")
    assert first_prompt(cached, limit=3) == prompt
    assert len(list(tmp_path.iterdir())) == 1
    assert len(cached.instances) == 3 * 80
    assert isinstance(cached.instances[0], ValueRequest)

    reworded = load("valueeval_bca_sample")
    reworded.config.description = "Other words."
    reworded._wording.description = "Other words."
    assert first_prompt(reworded).startswith("Other words.")
    for seed in (99, 100):
        reseeded = load("valueeval_bca_sample")
        reseeded.config.num_fewshot = 1
        reseeded.set_fewshot_seed(seed)
        first_prompt(reseeded)
    assert len(list(tmp_path.iterdir())) == 4
    assert first_prompt(load("valueeval_bca_sample"), samples=[4]) != prompt


def test_cached_requests_follow_the_chat_template(
    load: Callable[..., ValueEvalTask], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """lm-eval's key has the tokenizer's name, which stays when its template is edited."""
    monkeypatch.setattr("lm_eval.caching.cache.PATH", str(tmp_path))
    options: dict[str, Any] = {
        "cache_requests": True, "limit": 1, "tokenizer_name": "org/model",
        "apply_chat_template": True,
    }  # fmt: skip
    for template in (chat, lambda messages: f"<s>{chat(messages)}", chat):
        task = load("valueeval_bca_sample")
        task.build_all_requests(chat_template=template, **options)
        prompt = str(task.instances[0].arguments[0])
        assert prompt.startswith("<user>" if template is chat else "<s><user>")
    assert len(list(tmp_path.iterdir())) == 2
    told = "Be brief."
    task = load("valueeval_bca_sample")
    task.build_all_requests(chat_template=chat, system_instruction=told, **options)
    assert told in str(task.instances[0].arguments[0])


def test_the_results_say_which_wording_was_used(load: Callable[..., ValueEvalTask]) -> None:
    task = load("valueeval_bca_sample")
    assert task.dump_config()["metadata"]["wording"] == "plain"
    task.build_all_requests(limit=1, apply_chat_template=True, chat_template=chat)
    assert task.dump_config()["metadata"]["wording"] == "chat"


def _config(**changes: Any) -> dict[str, Any]:
    config = load_yaml(FOLDER / "valueeval_bca_sample.yaml")
    config.pop("tag")
    config.update(changes)
    return {key: value for key, value in config.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"template": "bc"}, "bca_sample: no template 'bc'; there are cls, mbc, bca, oa, cot"),
        ({"question": None}, "valueeval_bca_sample: the YAML file lacks question"),
        ({"question": "{{ value"}, "`question` is no valid Jinja template"),
        ({"doc_to_text": "{% if %}"}, "`doc_to_text` is no valid Jinja template"),
        ({"question": "{{ valeu }}"}, "`question`: 'valeu' is undefined here; known are premise"),
        ({"chat": {"question": "{{ valeu }}"}}, "`question`: 'valeu' is undefined here"),
        ({"chat": {"system": "Be brief."}}, "`chat` has no key system; there are description, q"),
        ({"doc_to_text": "{{ value }}"}, "`doc_to_text`: 'value' is undefined"),
        ({"metric_list": [{"metric": "f2", "higher_is_better": True}]}, "no metric f2"),
    ],
)
def test_a_wrong_yaml_file(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        ValueEvalTask(config=_config(**changes))


def test_data_that_are_not_there(
    load: Callable[..., ValueEvalTask], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("VALUEEVAL_DATA", raising=False)
    monkeypatch.setenv("VALUEEVAL_CACHE", str(tmp_path))
    with pytest.raises(ValueEvalError, match="_sample"):
        load("valueeval_bca", data_dir=None)
    with pytest.raises(ValueEvalError, match="nowhere"):
        load("valueeval_bca", data_dir=str(tmp_path / "nowhere"))
    load("valueeval_bca_sample", data_dir=None)
