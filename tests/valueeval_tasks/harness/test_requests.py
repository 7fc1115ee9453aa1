"""The requests of the tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tasks import DOC, TEMPLATES, chat

from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.harness.task import ValueEvalTask
from valueeval.tasks.values import VALUE_NAMES


def _requests(task: ValueEvalTask, **kwargs: Any) -> list[ValueRequest]:
    return task.construct_requests(
        DOC, task.fewshot_context(DOC, 0), metadata=("name", 5, 1), **kwargs
    )


def test_requests_of_cls(load: Callable[..., ValueEvalTask]) -> None:
    requests = _requests(load("valueeval_cls_sample"))
    assert [r.role for r in requests] == ["name"] * 20 + ["empty"] * 20
    assert [r.value for r in requests] == [*range(20), *range(20)]
    assert [r.arguments[1] for r in requests[:20]] == [f" {name}" for name in VALUE_NAMES]
    assert [r.arguments[1] for r in requests[20:]] == [f" {name}" for name in VALUE_NAMES]
    assert len({r.arguments[0] for r in requests}) == 2


def test_requests_of_bca(load: Callable[..., ValueEvalTask]) -> None:
    requests = _requests(load("valueeval_bca_sample"))
    assert [r.role for r in requests] == ["no", "no", "yes", "yes"] * 20
    assert [r.value for r in requests] == [v for v in range(20) for _ in range(4)]
    assert [r.arguments[1] for r in requests] == [" no", " No", " yes", " Yes"] * 20
    assert len({r.arguments[0] for r in requests}) == 20


@pytest.mark.parametrize(("template", "count", "toks"), [("oa", 20, 16), ("mbc", 1, 200)])
def test_requests_that_generate(
    load: Callable[..., ValueEvalTask], template: str, count: int, toks: int
) -> None:
    requests = _requests(load(f"valueeval_{template}_sample"))
    assert len(requests) == count
    assert {r.role for r in requests} == {"answer"}
    assert [r.value for r in requests] == (list(range(20)) if template == "oa" else [None])
    assert all(r.arguments[1]["max_gen_toks"] == toks for r in requests)
    assert requests[0].arguments[1] is not requests[-1].arguments[1] or count == 1


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_every_request_carries(load: Callable[..., ValueEvalTask], template: str) -> None:
    task = load(f"valueeval_{template}_sample")
    requests = _requests(task)
    assert [r.idx for r in requests] == list(range(len(requests)))
    for request in requests:
        assert (request.task_name, request.doc_id, request.repeats) == ("name", 5, 1)
        assert request.template == template
        assert request.doc == DOC
        assert request.request_type == task.OUTPUT_TYPE


def test_no_blank_before_an_answer_that_begins_a_turn(
    load: Callable[..., ValueEvalTask],
) -> None:
    requests = _requests(load("valueeval_bca_sample"), apply_chat_template=True, chat_template=chat)
    assert {r.arguments[1] for r in requests} == {"no", "No", "yes", "Yes"}


def test_gen_kwargs_reach_the_requests(load: Callable[..., ValueEvalTask]) -> None:
    task = load("valueeval_mbc_sample")
    task.set_config(key="generation_kwargs", value={"max_gen_toks": 7}, update=True)
    (request,) = _requests(task)
    assert request.arguments[1]["max_gen_toks"] == 7
    assert request.arguments[1]["until"]


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_together_build_what_one_builds(
    load: Callable[..., ValueEvalTask], world_size: int
) -> None:
    def built(rank: int, world_size: int) -> set[tuple[Any, ...]]:
        task = load("valueeval_bca_sample")
        task.build_all_requests(limit=7, rank=rank, world_size=world_size)
        return {(r.doc["id"], r.idx, *r.arguments) for r in task.instances}

    parts = [built(rank, world_size) for rank in range(world_size)]
    assert set().union(*parts) == built(0, 1)
    assert sum(map(len, parts)) == 7 * 80
