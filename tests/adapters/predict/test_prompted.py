"""Labelling with a prompted model: the same decisions as a run of lm-eval, and what is kept."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pytest
from chat_server import ALL_NO, Server, said
from language_models import task_manager
from tiny_adapters import seen_by_cv, write_adapter
from training import write_cv_data

import valueeval
from valueeval.adapters.directory.manifest_file import read_manifest, write_manifest
from valueeval.adapters.harness.classifier_lm import ClassifierLM
from valueeval.adapters.predict import cli
from valueeval.adapters.predict.prompted import PromptedModel
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.calibration import Calibration, Origin, Prior, to_json
from valueeval.tasks.values import VALUE_SLUGS

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

HEADER = ["Premise", "Conclusion", "Stance"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arguments of the sample set, as people have them."""
    path = tmp_path_factory.mktemp("table") / "mine.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for one in load_set("sample").arguments[:2]:
            writer.writerow([one.premise, one.conclusion, one.stance])
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def predicted(table: Path, output: Path, *flags: str) -> list[dict[str, str]]:
    words = [str(table), "-o", str(output), *flags]
    assert cli.main(words) == 0
    return rows(output)


@pytest.mark.parametrize("model", ["hf", "valueeval"])
def test_decisions_are_those_of_an_evaluation(
    table: Path, lively: Path, tmp_path: Path, model: str
) -> None:
    given = f"pretrained={lively}"
    flags = ["--model", model, "--model_args", given, "--template", "bca"]
    found = predicted(table, tmp_path / "out.csv", *flags)
    task = "valueeval_bca_sample"
    results: Any = lm_eval.simple_evaluate(
        model="valueeval", model_args=given, tasks=[task], limit=2, device="cpu",
        task_manager=task_manager(), bootstrap_iters=0,
    )  # fmt: skip
    assert len(found) == 2
    for row, sample in zip(found, results["samples"][task], strict=True):
        entry = sample["macro_f1"]
        assert [row[slug] for slug in VALUE_SLUGS] == [str(int(p)) for p in entry["prediction"]]
        shown = [float(row[f"p_{slug}"]) for slug in VALUE_SLUGS]
        np.testing.assert_allclose(shown, 1 / (1 + np.exp(-np.array(entry["scores"]))), atol=1e-4)
        assert (row["problem"], row["labelled_from"]) == ("", "argument")


def calibration(path: Path, of_model: str, **origin: Any) -> str:
    prior = Prior("batch", (40.0,) * 10 + (-40.0,) * 10, 6)
    known: dict[str, Any] = {
        "model": of_model, "template": "bca", "paraphrase": 1, "wording": "plain", "shots": 0,
        "set": "sample", "data_sha256": load_set("sample").sha256,
    }  # fmt: skip
    fitted = Calibration(prior, (0.0,) * 20, "shrunk", 6, Origin(**{**known, **origin}))
    path.write_text(json.dumps(to_json(fitted)), encoding="utf-8")
    return str(path)


def test_with_a_calibration(table: Path, tiny_gpt2: Path, tmp_path: Path) -> None:
    given = f"pretrained={tiny_gpt2}"
    flags = ["--model", "valueeval", "--model_args", given, "--template", "bca"]
    path = calibration(tmp_path / "c.json", str(tiny_gpt2))
    found = predicted(table, tmp_path / "out.csv", *flags, "--calibration", path)
    expected = ["0"] * 10 + ["1"] * 10
    assert [[row[slug] for slug in VALUE_SLUGS] for row in found] == [expected] * 2
    for other in ({"wording": "chat"}, {"template": "cls"}, {"model": "another"}, {"shots": 4}):
        path = calibration(tmp_path / "other.json", str(tiny_gpt2), **other)
        with pytest.raises(ValueEvalError, match=f"calibration: fitted with {next(iter(other))}"):
            predicted(table, tmp_path / "refused.csv", *flags, "--calibration", path)
    assert not (tmp_path / "refused.csv").exists()


def test_a_stopped_run_pays_for_nothing_twice(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account runs dry after the first answer."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server = Server()
    server.answer = lambda number, _: said(ALL_NO) if number == 0 else (402, {"error": "no credit"})
    given = f"model=m,base_url={server.url},num_concurrent=1"
    flags = ["--model", "valueeval_chat", "--model_args", given, "--template", "mbc"]
    flags += ["--use_cache", str(tmp_path / "cache")]
    with pytest.raises(ValueEvalError, match=r"no credit\n.*--use_cache PATH, answers until"):
        predicted(table, tmp_path / "out.csv", *flags)
    asked = len(server.seen)
    server.answer = lambda *_: said(ALL_NO)
    found = predicted(table, tmp_path / "out.csv", *flags)
    server.close()
    assert len(server.seen) == asked + 1
    assert [row["problem"] for row in found] == ["", ""]
    with pytest.raises(ValueEvalError, match="of --model valueeval and valueeval_chat, not of hf"):
        predicted(table, tmp_path / "more.csv", "--model", "hf", *flags[2:])


class Talker:
    """Says what it is told to."""

    def __init__(self, answers: Sequence[str]) -> None:
        self._answers = answers

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Return the answers in turn."""
        return [self._answers[number % len(self._answers)] for number in range(len(requests))]


def test_what_cannot_be_read_is_kept_with_the_reason() -> None:
    readable = "\n".join(f"{number}. {'yes' if number == 8 else 'no'}" for number in range(1, 21))
    model = PromptedModel("talker", Talker([readable, "I would rather not say", ""]), "mbc")
    asked = [dict(zip(HEADER, each, strict=True)) for each in [("p", "c", "for")] * 3]
    found = model.predict(asked)
    assert found["values"].tolist() == ["Face", "", ""]
    assert found["problem"].tolist() == [
        "", "the answer cannot be read: I would rather not say", "the model gave no answer",
    ]  # fmt: skip
    assert found["face"].tolist()[0] == 1
    assert found["face"].isna().tolist() == [False, True, True]
    assert found["p_face"].isna().all()  # no scores in text
    assert found["labelled_from"].tolist() == ["argument", "", ""]


def test_some_answers_of_oa_may_be_unreadable() -> None:
    model = PromptedModel("talker", Talker(["creative and free", *["xyzzy"] * 9]), "oa")
    (row,) = model.predict([dict(zip(HEADER, ("p", "c", "for"), strict=True))]).to_dict("records")
    assert row["problem"] == "" or row["problem"].endswith("of 20 answers cannot be read")
    assert row["face"] in (0, 1)


def test_in_python(tiny_gpt2: Path, tmp_path: Path) -> None:
    arguments = {"pretrained": str(tiny_gpt2)}
    model = valueeval.load("valueeval", "cpu", model_args=arguments, template="bca")
    found = model.predict([dict(zip(HEADER, ("p", "c", "for"), strict=True))])
    assert 0 < found.loc[0, "p_face"] < 1
    assert "template bca, plain wording" in repr(model)
    with pytest.raises(ValueEvalError, match="about a conclusion and a stance"):
        model.predict(["a text alone"])
    path = calibration(tmp_path / "c.json", str(tiny_gpt2))
    tuned = valueeval.load(
        "valueeval", "cpu", model_args=arguments, template="bca", calibration=path
    )
    with pytest.raises(ValueEvalError, match="tuned on the labels of sample"):
        tuned.evaluate("sample")
    with pytest.raises(ValueEvalError, match="needs a model of lm-eval, its arguments and a temp"):
        valueeval.load("hf", model_args="pretrained=x", template="abc")
    with pytest.raises(ValueEvalError, match="are for prompted models"):
        valueeval.load("runs/x", model_args="pretrained=x", template=None)  # type: ignore[call-overload]


@pytest.mark.parametrize("template", ["bca", "cls"])
def test_labels_that_an_adapter_has_seen_are_no_test(
    tiny_bert: Path, tmp_path: Path, template: str
) -> None:
    """As lm-eval, it refuses to score them; it still labels the user's own texts."""
    data_dir = write_cv_data(tmp_path)
    folder = write_adapter(tmp_path / "cv0", tiny_bert)
    write_manifest(folder, replace(read_manifest(folder), data=seen_by_cv(data_dir)))
    given = {"adapter": str(folder)}
    model = valueeval.load("valueeval", "cpu", model_args=given, template=template)
    with pytest.raises(ValueEvalError, match=r"cv0 .* has seen labels of this set \(main\)"):
        model.evaluate("main", str(data_dir))
    with pytest.raises(ValueEvalError, match="set cv is evaluated fold by fold"):
        model.evaluate("cv", str(data_dir))
    assert len(model.predict([dict(zip(HEADER, ("p", "c", "for"), strict=True))])) == 1


def test_labels_that_a_calibration_in_model_args_has_seen_are_no_test(
    tiny_bert: Path, tmp_path: Path
) -> None:
    data_dir = write_cv_data(tmp_path)
    folder = write_adapter(tmp_path / "adapter", tiny_bert)
    sha256 = load_set("main", data_dir).sha256
    path = calibration(
        tmp_path / "c.json", ClassifierLM(str(folder)).name, set="main", data_sha256=sha256
    )
    given = {"adapter": str(folder), "calibration": path}
    model = valueeval.load("valueeval", "cpu", model_args=given, template="bca")
    with pytest.raises(ValueEvalError, match="tuned on the labels of main"):
        model.evaluate("main", str(data_dir))
    assert model.evaluate("sample")["n"] == len(load_set("sample").ids)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--template", "bca"], "--template is for prompted models"),
        (["--use_cache", "c"], "--use_cache is for prompted models"),
        (["--model", "hf", "--template", "bca"], "needs --model_args"),
        (["--model", "hf", "--model_args", "pretrained=x"], "and --template: cls, mbc"),
        (["--model", "hf", "--adapter", "x"], "two models"),
        (["--model", "nomodel", "--model_args", "a=b", "--template", "bca"], "model nomodel: "),
    ],
)
def test_options_that_do_not_go_together(
    table: Path, tmp_path: Path, flags: list[str], message: str
) -> None:
    with pytest.raises(ValueEvalError, match=message):
        cli.main([str(table), "-o", str(tmp_path / "out.csv"), *flags])
    assert not (tmp_path / "out.csv").exists()


def test_texts_alone_are_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("text\nNobody should have to fear the police\n", encoding="utf-8")
    words = [str(path), "--model", "hf", "--model_args", "pretrained=nowhere", "--template", "bca"]
    with pytest.raises(ValueEvalError, match="--conclusion =TEXT --stance =for"):
        cli.main(words)
