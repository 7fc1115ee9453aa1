"""``valueeval prompt --estimate``: requests, tokens and cost of a run, without sending anything."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valueeval.prompt.cli import chat_words, task_of, turns
from valueeval.prompt.prices import read_price
from valueeval.tasks.errors import ValueEvalError

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.config.evaluate_config import EvaluatorConfig

    from valueeval.adapters.servers.chat_server_lm import ChatServerLM
    from valueeval.tasks.harness.task import ValueEvalTask

_CHARACTERS = 4  # of English a token, as a rule of thumb
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Part:
    """What one task asks.

    Attributes:
        task: Its name.
        arguments: Number of arguments.
        requests: Number of distinct requests; sampled ones count each time.
        prompt_tokens: Tokens of all prompts.
        output_tokens: The most tokens that all answers can have.
    """

    task: str
    arguments: int
    requests: int
    prompt_tokens: int
    output_tokens: int


def estimate(arguments: argparse.Namespace) -> str:
    """Return the table of a run's requests and tokens, and its cost if there are prices.

    Raises:
        ValueEvalError: The tokenizer cannot be loaded, the price is not known, or the model cannot
            be asked for the templates.
    """
    from lm_eval.config.evaluate_config import EvaluatorConfig

    given = arguments.lm_eval
    first, second = turns(arguments)
    given.tasks = [task_of(template, arguments) for template in (*first, *second)]
    if chat_words(arguments):
        given.apply_chat_template = True
    planner = _Planner(arguments, EvaluatorConfig.from_cli(given))
    model = planner.model_name
    price = read_price(arguments.prices, model) if arguments.prices else None
    votes = {"votes": arguments.votes} if arguments.votes > 1 else {}
    parts = []
    replies = arguments.replies
    with tempfile.TemporaryDirectory() as folder:
        longest = 0  # tokens of a reply that is not there yet
        for template in first:
            requests = planner.requests(task_of(template, arguments), votes)
            parts.append(planner.part(requests))
            if template == "cot":
                replies = _empty_replies(Path(folder), arguments, requests)
                longest = parts[-1].output_tokens // parts[-1].requests
        for template in second:
            requests = planner.requests(task_of(template, arguments), {"replies": str(replies)})
            parts.append(planner.part(requests, longest))
    lines = [f"{model}: nothing was sent.", "", *_table(parts), "", planner.how]
    if second and first:
        lines.append("Second turns are counted with replies as long as they may be.")
    if price is not None:
        cost = price.cost(
            sum(part.prompt_tokens for part in parts), sum(part.output_tokens for part in parts)
        )
        lines.append(f"Cost at most {cost:,.2f} {price.currency}".rstrip() + ".")
    return "\n".join(lines)


class _Planner:
    """Builds requests as lm-eval does, and counts their tokens.

    Args:
        arguments: The options of the command.
        config: The options of lm-eval.
    """

    def __init__(self, arguments: argparse.Namespace, config: EvaluatorConfig) -> None:
        self._config = config
        self._server: ChatServerLM | None = None
        name = arguments.tokenizer
        if arguments.model == "valueeval_chat":
            from valueeval.adapters.servers.chat_server_lm import ChatServerLM

            self._server = ChatServerLM.create_from_arg_obj(dict(config.model_args))
            self.model_name = self._server.model_name
        else:
            given = config.model_args
            self.model_name = str(given.get("pretrained") or given.get("model") or arguments.model)
            name = name or given.get("tokenizer") or given.get("pretrained")
        self._tokenizer = None if name is None else _load_tokenizer(str(name))
        self.how = (
            f"Tokens are characters / {_CHARACTERS}, a rough guess: name a --tokenizer."
            if name is None
            else f"Tokens are those of the tokenizer {name}."
        )

    def requests(self, task_name: str, metadata: dict[str, Any]) -> list[Instance]:
        """Return the requests of a task, each as often as it is sent."""
        from lm_eval.evaluator_utils import get_sample_size
        from lm_eval.tasks import TaskManager

        from valueeval.registration import task_folder

        config = self._config
        manager = TaskManager(
            include_path=str(task_folder()),
            include_defaults=False,
            metadata={**config.metadata, **metadata},
        )
        task: ValueEvalTask = manager.load([task_name])["tasks"][task_name]
        task.set_config(key="num_fewshot", value=config.num_fewshot or 0)
        task.set_fewshot_seed(config.seed[3] if config.seed else None)
        if config.gen_kwargs and task.OUTPUT_TYPE == "generate_until":
            task.set_config(key="generation_kwargs", value=config.gen_kwargs, update=True)
        with contextlib.redirect_stderr(io.StringIO()):  # lm-eval's bar
            task.build_all_requests(
                limit=get_sample_size(task, config.limit),
                samples=config.samples.get(task_name) if config.samples else None,
                rank=0,
                world_size=1,
                system_instruction=config.system_instruction,
                apply_chat_template=bool(config.apply_chat_template),
                fewshot_as_multiturn=bool(config.fewshot_as_multiturn),
                chat_template=self._chat_template() if config.apply_chat_template else None,
            )
        return [request for request in task.instances for _ in range(request.repeats)]

    def part(self, requests: Sequence[Instance], more: int = 0) -> Part:
        """Return the sums over a task's requests.

        Args:
            requests: As `requests` returns them.
            more: Tokens to add to each prompt.
        """
        if self._server is None:
            prompts, outputs = _local(requests)
            tokens = self._count(prompts)
        else:
            questions = self._server.questions(requests)
            tokens = self._count(_as_text(one.payload["messages"]) for one in questions)
            outputs = [int(one.payload[self._server.max_tokens_key]) for one in questions]
        return Part(
            task=str(requests[0].task_name),
            arguments=len({request.doc_id for request in requests}),
            requests=len(outputs),
            prompt_tokens=tokens + more * len(outputs),
            output_tokens=sum(outputs),
        )

    def _chat_template(self) -> Callable[[Messages], str]:
        if self._server is not None:
            return self._server.apply_chat_template
        tokenizer = self._tokenizer
        if tokenizer is None or not tokenizer.chat_template:
            raise ValueEvalError(
                "--apply_chat_template: to count, a tokenizer with a chat template is needed: name "
                "it with --tokenizer"
            )
        return lambda messages: str(
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        )

    def _count(self, prompts: Iterable[str]) -> int:
        if self._tokenizer is None:
            return sum(math.ceil(len(prompt) / _CHARACTERS) for prompt in prompts)
        return sum(len(self._tokenizer(prompt).input_ids) for prompt in prompts)


def _local(requests: Sequence[Instance]) -> tuple[list[str], list[int]]:
    """Return the prompts that a local model reads, and the most tokens that it writes to each."""
    from valueeval.adapters.harness.documents import distinct_requests

    if requests[0].request_type == "generate_until":
        asked = [one.request.args for one in distinct_requests(requests)]
        return [prompt for prompt, _ in asked], [int(how["max_gen_toks"]) for _, how in asked]
    prompts = list(dict.fromkeys(request.args[0] for request in requests))
    return prompts, [0] * len(prompts)


def _empty_replies(
    folder: Path, arguments: argparse.Namespace, requests: Sequence[Instance]
) -> Path:
    """Write samples of the first turn with replies of one word each; return their path."""
    path = folder / f"samples_{task_of('cot', arguments)}.jsonl"
    samples = {
        request.doc_id: {
            "doc": request.doc,
            "arguments": {"gen_args_0": {"arg_0": request.args[0]}},
            "filtered_resps": [[str(vote) for vote in range(request.repeats)]],
        }
        for request in requests
    }
    lines = [json.dumps(sample) for sample in samples.values()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _as_text(messages: Messages) -> str:
    return "\n".join(message["content"] for message in messages)


def _load_tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise ValueEvalError(
            f"the tokenizer {name} cannot be loaded ({first_line}). Name another with --tokenizer."
        ) from error


def _table(parts: Sequence[Part]) -> list[str]:
    total = Part("in all", 0, *(sum(column) for column in zip(*(
        (part.requests, part.prompt_tokens, part.output_tokens) for part in parts
    ), strict=True)))  # fmt: skip
    rows = [("task", "arguments", "requests", "prompt tokens", "output tokens, at most")]
    rows += [
        (p.task, f"{p.arguments:,}" if p.arguments else "", f"{p.requests:,}",
         f"{p.prompt_tokens:,}", f"{p.output_tokens:,}")
        for p in (*parts, *([total] if len(parts) > 1 else []))
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
