"""Self-consistency: several sampled chains of thought vote on each value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from tasks import DOC, FOLDER

from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.samples import read_samples
from valueeval.tasks.harness.task import ValueEvalTask
from valueeval.tasks.templates.decide import decide
from valueeval.tasks.values import VALUE_NAMES

Load = Callable[..., ValueEvalTask]
FACE, TRADITION = VALUE_NAMES.index("Face"), VALUE_NAMES.index("Tradition")


def said(*names: str) -> str:
    return f"I think.\nFinal answer: {'; '.join(names) or 'none'}"


def test_a_value_needs_more_than_half_of_the_votes() -> None:
    texts = [said("Face"), said("Face", "Tradition"), said("Tradition"), "Hm."]
    decision = decide("cot", [texts])
    assert not any(decision.prediction)  # 2 of 4, twice
    assert decision.scores is not None
    assert (decision.scores[FACE], decision.scores[TRADITION]) == (0, 0)
    assert set(decision.scores) == {0, -0.5}
    assert decision.unparsed == 0.25
    decision = decide("cot", [[*texts, said("Face")]])
    assert [v for v, predicted in enumerate(decision.prediction) if predicted] == [FACE]
    assert decision.scores is not None
    assert decision.scores[FACE] == pytest.approx(3 / 5 - 0.5)


def test_one_vote_is_no_vote() -> None:
    assert decide("cot", [[said("Face")]]) == decide("cot", [said("Face")])


def test_replies_vote_through_their_second_turns() -> None:
    yes, no = [-2.0, -2.0, -1.0, -1.0], [-1.0, -1.0, -2.0, -2.0]  # no, No, yes, Yes

    def about(value: int) -> list[tuple[float, bool]]:
        return [(ll, False) for v in range(20) for ll in (yes if v == value else no)]

    decision = decide("cot2", [*about(FACE), *about(FACE), *about(TRADITION)])
    assert [v for v, predicted in enumerate(decision.prediction) if predicted] == [FACE]
    assert decision.scores is not None
    assert decision.scores[FACE] == pytest.approx(2 / 3 - 0.5)
    assert decision.scores[TRADITION] == pytest.approx(1 / 3 - 0.5)
    single = decide("cot2", about(FACE)).answer_mass
    assert decision.answer_mass == pytest.approx(single)
    lists = ["\n".join(f"{n + 1}. {'yes' if n in held else 'no'}" for n in range(20))
             for held in ({FACE}, {FACE, TRADITION}, {FACE})]  # fmt: skip
    assert decide("cot2list", lists).scores == pytest.approx(
        [(1.0 if v == FACE else 1 / 3 if v == TRADITION else 0.0) - 0.5 for v in range(20)]
    )


@pytest.mark.parametrize(
    ("template", "responses"), [("cot", [[]]), ("cot", []), ("cot2list", []), ("mbc", [["a", "b"]])]
)
def test_what_is_no_vote(template: str, responses: list[Any]) -> None:
    if template == "mbc":
        assert decide(template, responses).unparsed == 1
    else:
        with pytest.raises(ValueEvalError, match="expected, got"):
            decide(template, responses)


def test_requests_are_sampled(load: Load) -> None:
    task = load("valueeval_cot_sample", votes=3)
    (request,) = task.construct_requests(DOC, ["prompt"], ("task", 0, task.config.repeats))
    assert request.repeats == 3
    assert request.args[1]["do_sample"] is True
    assert request.args[1]["temperature"] == 0.7
    assert request.args[1]["max_gen_toks"] == 512
    assert task.dump_config()["metadata"]["votes"] == 3
    single = load("valueeval_cot_sample")
    assert "votes" not in single.dump_config()["metadata"]
    assert single.config.repeats == 1


@pytest.mark.parametrize("votes", [0, -1, 2.5, "5", True, None])
def test_numbers_that_are_none(load: Load, votes: Any) -> None:
    with pytest.raises(ValueEvalError, match="votes must be a whole number from 1 on, not"):
        load("valueeval_cot_sample", votes=votes)


def test_other_templates_take_no_votes(load: Load) -> None:
    with pytest.raises(ValueEvalError, match="valueeval_mbc_sample takes no votes"):
        load("valueeval_mbc_sample", votes=3)


class Speaker(LM):
    """A model that says, for each request, the next of its texts; it keeps the prompts."""

    def __init__(self, texts: Iterator[str]) -> None:
        super().__init__()
        self.texts, self.prompts = texts, []

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Say the next texts."""
        self.prompts += [request.args[0] for request in requests]
        return [next(self.texts) for _ in requests]

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """Say yes."""
        self.prompts += [request.args[0] for request in requests]
        return [(-1.0 if request.args[1].strip() == "Yes" else -2.0, False) for request in requests]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """Refuse."""
        raise NotImplementedError


def evaluate(model: LM, task: str, metadata: dict[str, Any], **options: Any) -> dict[str, Any]:
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=metadata)
    return simple_evaluate(model=model, tasks=[task], limit=2, task_manager=manager, **options)


def written(results: dict[str, Any], task: str, folder: Path) -> Path:
    """The samples of a run, as lm-eval writes them."""
    path = folder / f"samples_{task}.jsonl"
    lines = [
        {**sample, "arguments": {"gen_args_0": {"arg_0": sample["arguments"][0][0]}}}
        for sample in results["samples"][task]
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n", encoding="utf-8")
    return path


def test_a_run_of_two_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    texts = [said("Face"), said("Face"), said("Tradition"), said(), said("Face"), "Hm."]
    speaker = Speaker(iter(texts))
    results = evaluate(speaker, "valueeval_cot_sample", {"votes": 3})
    samples = results["samples"]["valueeval_cot_sample"]
    assert [sample["filtered_resps"] for sample in samples] == [[texts[:3]], [texts[3:]]]
    scores = [sample["macro_f1"]["scores"] for sample in samples]
    assert [round(each[FACE], 6) for each in scores] == [round(2 / 3 - 0.5, 6), round(-1 / 6, 6)]
    scored = results["results"]["valueeval_cot_sample"]
    assert isinstance(scored["macro_ap,none"], float)
    assert scored["unparsed,none"] == pytest.approx(1 / 6)

    path = written(results, "valueeval_cot_sample", tmp_path)
    again = read_samples([path])  # as `valueeval score --samples` decides
    assert again.scores is not None
    assert again.scores.tolist() == scores

    speaker.prompts.clear()
    second = evaluate(speaker, "valueeval_cot2_sample", {"replies": str(path)})
    assert len(speaker.prompts) == 2 * 3 * 80
    assert ["Final answer: none" in prompt for prompt in speaker.prompts[240:]].count(True) == 80
    assert second["configs"]["valueeval_cot2_sample"]["metadata"]["votes"] == 3
    assert second["samples"]["valueeval_cot2_sample"][0]["macro_f1"]["scores"] == [0.5] * 20


def test_votes_that_would_be_the_same_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    for settings in ({"temperature": 0}, {"do_sample": False}):
        with pytest.raises(ValueEvalError, match="3 votes need answers that are sampled"):
            evaluate(Speaker(iter(())), "valueeval_cot_sample", {"votes": 3}, gen_kwargs=settings)


def test_replies_and_votes_must_agree(load: Load, tmp_path: Path) -> None:
    (prompt,) = load("valueeval_cot_sample").fewshot_context(DOC, 0)
    sample = {
        "doc": DOC,
        "arguments": {"gen_args_0": {"arg_0": prompt}},
        "filtered_resps": [[said("Face"), said()]],
    }
    path = tmp_path / "samples_valueeval_cot_sample.jsonl"
    path.write_text(json.dumps(sample) + "\n")
    assert load("valueeval_cot2list_sample", replies=str(path), votes=2)
    with pytest.raises(ValueEvalError, match="votes are 3, but there are 2 replies"):
        load("valueeval_cot2list_sample", replies=str(path), votes=3)
    other = {**sample, "doc": {**DOC, "id": "X2"}, "filtered_resps": [said()]}
    path.write_text(json.dumps(sample) + "\n" + json.dumps(other) + "\n")
    with pytest.raises(ValueEvalError, match="line 2: argument X2 has 1 replies, others have more"):
        load("valueeval_cot2list_sample", replies=str(path))
