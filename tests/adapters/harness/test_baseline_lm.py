"""``--model valueeval_baseline``: every value, or values drawn at training frequency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from language_models import task_manager
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance

from valueeval.adapters.harness.baseline_lm import BaselineLM
from valueeval.registration import register
from valueeval.tasks.data.dataset import Argument, load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.templates.decide import TEMPLATES

register()
SAMPLE = load_set("sample")


@pytest.fixture(autouse=True)
def no_environment_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval's report on the machine takes many seconds and is not what is tested here."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)


def evaluate(model_args: dict[str, Any], limit: int) -> dict[str, Any]:
    """All five templates on the sample set."""
    return simple_evaluate(
        model="valueeval_baseline",
        model_args=model_args,
        tasks=[f"valueeval_{template}_sample" for template in TEMPLATES],
        limit=limit,
        device="cuda:0",  # what lm-eval says by default; a baseline runs anywhere
        task_manager=task_manager(),
    )


@pytest.mark.parametrize("strategy", ["every_value", "training_frequency"])
def test_every_template_reads_the_same_prediction(strategy: str) -> None:
    results = evaluate({"strategy": strategy, "seed": 4}, limit=25)
    expected = BaselineLM(strategy, 4).differences(SAMPLE.arguments[:25]) > 0
    scores = score(SAMPLE.labels[:25], expected)
    for template in TEMPLATES:
        samples = results["samples"][f"valueeval_{template}_sample"]
        entries = {sample["doc"]["id"]: sample["macro_f1"] for sample in samples}
        assert len(entries) == 25
        for argument, row in zip(SAMPLE.arguments, expected, strict=False):
            assert entries[argument.id]["prediction"] == row.astype(int).tolist()
        reported = results["results"][f"valueeval_{template}_sample"]
        assert reported["macro_f1,none"] == pytest.approx(scores["macro_f1"])
        assert reported["official_f1,none"] == pytest.approx(scores["official_f1"])
        assert reported["unparsed,none"] == 0
    assert results["config"]["model_num_parameters"] == 0


def test_every_value() -> None:
    assert (BaselineLM().differences(SAMPLE.arguments[:3]) == np.ones((3, 20))).all()


def test_draws_follow_the_training_frequencies() -> None:
    """The share of predicted arguments is the frequency in training, whatever their ids."""
    frequencies = load_set("sample_training").labels.mean(0)
    drawn = []
    for seed in range(30):
        model = BaselineLM("training_frequency", seed=seed)
        drawn.append(model.differences(SAMPLE.arguments) > 0)
    shares = np.concatenate(drawn).mean(0)
    n = 30 * len(SAMPLE.arguments)
    assert (abs(shares - frequencies) < 4 * np.sqrt(0.25 / n)).all()


def test_draws_depend_on_seed_id_and_value_alone() -> None:
    model = BaselineLM("training_frequency", seed=1)
    together = model.differences(SAMPLE.arguments[:10])
    alone = np.concatenate([model.differences([a]) for a in SAMPLE.arguments[9::-1]])[::-1]
    assert (together == alone).all()
    assert (
        BaselineLM("training_frequency", 1).differences(SAMPLE.arguments[:10]) == together
    ).all()
    other = BaselineLM("training_frequency", 2).differences(SAMPLE.arguments[:10])
    assert (other != together).all()
    assert len(np.unique(together)) == 200


def test_no_argument() -> None:
    assert BaselineLM("training_frequency").loglikelihood([]) == []
    assert BaselineLM("training_frequency").generate_until([]) == []


def test_frequencies_of_the_data_that_is_evaluated(tmp_path: Path) -> None:
    """A folder of one's own: its training set counts; the sample set keeps its own."""
    header = "Argument ID\tConclusion\tStance\tPremise\n"
    (tmp_path / "arguments-training.tsv").write_text(header + "X\tc\tagainst\tp\n")
    names = Path(SAMPLE.directory, "labels-sample-test.tsv").read_text().split("\n")[0]
    (tmp_path / "labels-training.tsv").write_text(f"{names}\nX\t1" + "\t0" * 19 + "\n")
    model = BaselineLM("training_frequency", data_dir=str(tmp_path))
    own = [Argument(str(i), "c", "against", "p") for i in range(50)]
    predicted = model.differences(own) > 0
    assert predicted[:, 0].all()
    assert not predicted[:, 1:].any()
    assert (model.differences(SAMPLE.arguments) > 0)[:, 1:].any()


def test_real_training_frequencies(real_data_dir: Path) -> None:
    model = BaselineLM("training_frequency", data_dir=str(real_data_dir))
    main = load_set("main", real_data_dir)
    shares = (model.differences(main.arguments) > 0).mean(0)
    expected = load_set("training", real_data_dir).labels.mean(0)
    assert shares == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "every_valu"}, "no strategy 'every_valu'; did you mean every_value?"),
        ({"strategy": "best"}, "no strategy 'best'; there are every_value, training_frequency"),
        ({"strategy": "every_value", "seed": "x"}, "seed: 'x' is no whole number"),
        ({"stratgy": "every_value"}, "no argument 'stratgy'; did you mean strategy?"),
    ],
)
def test_refused_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueEvalError, match=message.replace("?", r"\?")):
        BaselineLM.create_from_arg_obj(arguments)


def test_names_of_result_folders() -> None:
    names = []
    for arguments in ({}, {"strategy": "training_frequency", "seed": 7}):
        BaselineLM.create_from_arg_obj(arguments, {"batch_size": 8, "device": "cuda:0"})
        names.append(arguments["path"])
    assert names == ["baseline-every_value", "baseline-training_frequency-seed7"]


def test_refuses_other_tasks() -> None:
    with pytest.raises(ValueEvalError, match="ValueEval tasks only, not gsm8k"):
        BaselineLM().generate_until([Instance("generate_until", {}, ("a", {}), 0, ("gsm8k", 0, 1))])
