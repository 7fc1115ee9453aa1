"""``--model valueeval_chat``: a chat model behind a server that speaks OpenAI's protocol.

It takes the place of lm-eval's ``local-chat-completions``, which loses a run to one answer without
choices or to requests that are refused for long, writes the key into its log with each error, and
keys its cache by prompt alone. Here a failed request costs one answer, which counts as unparsed and
is listed; waiting follows ``Retry-After``; and a run that was stopped goes on with ``--use_cache``.
"""

from __future__ import annotations

import inspect
import json
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from tqdm import tqdm

from valueeval.adapters.harness.answer_cache import AnswerCache
from valueeval.adapters.harness.argument_lm import refuse_unknown_arguments
from valueeval.adapters.harness.documents import distinct_requests
from valueeval.adapters.harness.fingerprints import digest
from valueeval.adapters.harness.prompts import DistinctRequest
from valueeval.adapters.servers.connection import Answer, Connection, Question
from valueeval.adapters.servers.forms import FIELDS, form_of
from valueeval.adapters.servers.top_logprobs import TEMPLATES, FirstToken, read_first_token
from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.requests import ValueRequest

logger = logging.getLogger("lm_eval.valueeval")  # lm-eval shows the messages of its loggers

_MAX_STOPS = 4  # more are refused
_FIRST = 20  # if the requests about so many arguments all fail, the others will fail, too


class ChatServerLM(LM):
    """A chat model behind a server. It generates, and gives no log-likelihoods of given texts.

    Args:
        model: Name of the model, as the server knows it.
        base_url: Address of the server's chat completions.
        num_concurrent: Number of requests that are open at a time.
        max_retries: How often a request is repeated that was refused for now, or failed.
        timeout: Seconds to wait for an answer.
        max_gen_toks: Largest number of tokens of an answer, unless the task sets one.
        max_tokens_key: Name of that limit in requests; some servers want ``max_completion_tokens``.
        temperature: Sampling temperature, unless the task or ``--gen_kwargs`` set one.
        guided: Field of requests by which the server is to hold answers to the form of their
            template, one of ``valueeval.adapters.servers.forms.FIELDS``; None to let it answer
            freely.
        top_logprobs: Number of likeliest first tokens to ask for, by which yes is scored against no
            (bca and cot2); None to ask for none.
        api_key_variable: Environment variable that holds the key; it is read when a request is sent
            and kept nowhere.
        batch_size, max_batch_size, device: Flags of lm-eval, ignored.

    Raises:
        ValueEvalError: An argument is missing or out of range.
    """

    def __init__(
        self,
        model: str | None = None,
        base_url: str = "https://api.openai.com/v1/chat/completions",
        num_concurrent: int = 8,
        max_retries: int = 8,
        timeout: float = 300,
        max_gen_toks: int = 256,
        max_tokens_key: str = "max_tokens",
        temperature: float = 0.0,
        guided: str | None = None,
        top_logprobs: int | None = None,
        api_key_variable: str = "OPENAI_API_KEY",
        batch_size: object = None,
        max_batch_size: object = None,
        device: object = None,
    ) -> None:
        super().__init__()
        if not model:
            raise ValueEvalError("--model_args: name the model: model=NAME,base_url=ADDRESS")
        if not str(base_url).startswith(("http://", "https://")):
            raise ValueEvalError(f"--model_args: base_url={base_url}: an http address is wanted")
        if urlsplit(str(base_url)).username is not None:
            raise ValueEvalError(
                "--model_args: base_url names a user or a key, which the results would show. Put "
                "the key into an environment variable, and name that: api_key_variable=NAME"
            )
        if int(num_concurrent) < 1 or int(max_retries) < 0 or float(timeout) <= 0:
            raise ValueEvalError(
                "--model_args: num_concurrent and timeout must be positive, max_retries at least 0"
            )
        if guided is not None and guided not in FIELDS:
            raise ValueEvalError(
                f"--model_args: guided={clean(guided)}: name the field of requests that the server "
                f"takes: {', '.join(FIELDS)}"
            )
        if top_logprobs is not None and int(top_logprobs) < 2:
            raise ValueEvalError(
                f"--model_args: top_logprobs={clean(top_logprobs)}: at least 2 tokens are wanted, "
                "one for yes and one for no; most servers give up to 20"
            )
        self.model_name = str(model)
        self._server = Connection(
            str(base_url), api_key_variable, int(num_concurrent), int(max_retries), float(timeout)
        )
        self._max_gen_toks, self.max_tokens_key = int(max_gen_toks), max_tokens_key
        self._temperature = float(temperature)
        self._guided = guided
        self._top_logprobs = None if top_logprobs is None else int(top_logprobs)
        self._cache: AnswerCache | None = None
        self._failed: list[dict[str, str]] = []
        self._works: set[str] = set()  # kinds of requests of which one has succeeded
        self._off_form = 0
        self._first_tokens: Counter[str] = Counter()

    # ------------------------------------------------------------------------------- answers

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the answer to each request; the empty text where there is none.

        Raises:
            ValueEvalError: The server refuses every request, or fails for the first 20 arguments;
                it takes no forms; or it is not there.
        """
        distinct = distinct_requests(requests)
        keys = _cache_keys(distinct)
        answers = self._known("generate_until", keys)
        left = [place for place in range(len(distinct)) if place not in answers]
        questions = [self._free_text(distinct[place].request) for place in left]
        earlier = len(self._failed)
        cut = fitting = 0
        for index, answer in self._ask(questions, disable_tqdm):
            place = left[index]
            answers[place] = answer.text
            cut += answer.cut
            request = distinct[place].request
            if answer.problem is not None:
                self._failed.append(_failure(request, answer.problem))
                self._stop_if_nothing_works("generate_until", self._failed[earlier:], cut)
                continue
            self._works.add("generate_until")
            if self._fits(request, answer):
                fitting += 1
            elif not fitting:
                raise ValueEvalError(
                    f"{self._server.base_url} takes guided={self._guided} and ignores it: the "
                    f"answer is {clean(answer.text[:80])!r}. Leave guided out, or name another "
                    f"field: {', '.join(FIELDS)}."
                )
            else:
                self._off_form += 1
            if self._cache:
                self._cache.keep("generate_until", keys[place], answer.text, None)
        self._report(self._failed[earlier:], cut, len(distinct))
        texts = [""] * len(requests)
        for place, one in enumerate(distinct):
            for twin in one.twins:
                texts[twin] = answers[place]
        return texts

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation, and whether it is the likeliest.

        By ``top_logprobs`` alone, from the first token of the answer; NaN where it is not known.

        Raises:
            ValueEvalError: ``top_logprobs`` is not set, a request is not one of bca or cot2, the
                server tells no log-probabilities, or it fails for the first 20 arguments.
        """
        self._refuse_other_loglikelihoods(requests)
        by_prompt: dict[str, Instance] = {}
        for request in requests:
            by_prompt.setdefault(request.args[0], request)
        prompts = list(by_prompt)
        keys = [[prompt, self._top_logprobs] for prompt in prompts]
        known = self._known("first_token", keys)
        listed = {prompts[place]: json.loads(text) for place, text in known.items()}
        left = [prompt for prompt in prompts if prompt not in listed]
        questions = [self._first_word(prompt) for prompt in left]
        earlier = len(self._failed)
        for index, answer in self._ask(questions, disable_tqdm):
            prompt = left[index]
            listed[prompt] = answer.first_token
            if answer.first_token:
                self._works.add("first_token")
                if self._cache:
                    text = json.dumps(answer.first_token)
                    self._cache.keep("first_token", [prompt, self._top_logprobs], text, None)
            elif len(listed) == len(known) + 1 and (answer.problem is None or answer.cut):
                raise ValueEvalError(
                    f"{self._server.base_url} takes top_logprobs={self._top_logprobs} and tells no "
                    "log-probabilities. Ask valueeval_mbc, valueeval_oa or valueeval_cot, or "
                    "another server."
                )
            else:
                problem = answer.problem or "no log-probabilities"
                self._failed.append(_failure(by_prompt[prompt], problem))
                self._stop_if_nothing_works("first_token", self._failed[earlier:], 0)
        self._report(self._failed[earlier:], 0, len(prompts))
        tokens = {prompt: self._first_token(listed[prompt]) for prompt in prompts}
        return [_score(tokens[request.args[0]], request) for request in requests]

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> NoReturn:
        """Refuse: chat servers score no given texts."""
        raise ValueEvalError(
            f"{requests[0].task_name} needs log-likelihoods of whole texts, which chat servers do "
            "not give."
        )

    def _refuse_other_loglikelihoods(self, requests: Sequence[Instance]) -> None:
        for request in requests:
            template = request.template if isinstance(request, ValueRequest) else None
            if template not in TEMPLATES:
                raise ValueEvalError(
                    f"{request.task_name} needs log-likelihoods of texts of several tokens, which "
                    "chat servers do not give.\n"
                    "Ask valueeval_mbc, valueeval_oa, valueeval_cot or valueeval_cot2list (and "
                    "valueeval_bca with top_logprobs=20); or take --model local-completions where "
                    "the server completes text."
                )
            if self._top_logprobs is None:
                raise ValueEvalError(
                    f"{request.task_name} needs log-likelihoods, which chat servers do not give.\n"
                    "Ask valueeval_mbc, valueeval_oa, valueeval_cot or valueeval_cot2list; or add "
                    "top_logprobs=20 to --model_args where the server tells the likeliest tokens; "
                    "or take --model local-completions where it completes text."
                )

    def _first_token(self, listed: Sequence[tuple[str, float]]) -> FirstToken | None:
        """Return what the first tokens say, and count it; None if the request failed."""
        if not listed:
            return None
        token = read_first_token([(str(text), float(logprob)) for text, logprob in listed])
        self._first_tokens["questions"] += 1
        self._first_tokens[("both", "one", "none")[len(token.outside)] + "_listed"] += 1
        return token

    def _known(self, kind: str, keys: Sequence[Sequence[Any]]) -> dict[int, str]:
        """Return the answers that the cache holds, by place."""
        if self._cache is None:
            return {}
        found = {place: self._cache.find(kind, key) for place, key in enumerate(keys)}
        known = {place: str(entry[0]) for place, entry in found.items() if entry is not None}
        if known:
            self._works.add(kind)
        logger.info("%d of %d answers are from the cache", len(known), len(keys))
        return known

    def _ask(
        self, questions: Sequence[Question], disable_tqdm: bool
    ) -> Iterator[tuple[int, Answer]]:
        """Yield the answers as they come, after the places of their questions."""
        name = clean(self.model_name)
        with tqdm(total=len(questions), disable=disable_tqdm, desc=f"Asking {name}") as bar:
            for index, answer in self._server.ask_all(questions):
                bar.update()
                yield index, answer

    def questions(self, requests: Sequence[Instance]) -> list[Question]:
        """Return what is sent for requests of one type, without sending it.

        Raises:
            ValueEvalError: The server cannot be asked for these.
        """
        if all(request.request_type == "generate_until" for request in requests):
            return [self._free_text(one.request) for one in distinct_requests(requests)]
        self._refuse_other_loglikelihoods(requests)
        return [self._first_word(prompt) for prompt in {request.args[0]: 0 for request in requests}]

    def _first_word(self, prompt: str) -> Question:
        extra = {"logprobs": True, "top_logprobs": self._top_logprobs}
        return Question(self._payload(prompt, 1), f"top_logprobs={self._top_logprobs}", extra)

    def _free_text(self, request: Instance) -> Question:
        context, settings = request.args
        rest = {key: value for key, value in settings.items() if key not in ("until", "do_sample")}
        limit = int(rest.pop("max_gen_toks", self._max_gen_toks))
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        form = form_of(request) if self._guided else None
        if form is None or self._guided is None:
            return Question({**self._payload(context, limit, stops), **rest})
        if self._guided == "json_schema":  # takes more tokens
            limit = max(limit, form.room)
        # The form says where the answer ends; a stop sequence would cut it off before.
        payload = {**self._payload(context, limit), **rest}
        return Question(payload, f"guided={self._guided}", form.fields(self._guided))

    def _payload(self, context: str, limit: int, stops: Sequence[str] = ()) -> dict[str, Any]:
        return {
            "model": self.model_name,
            "messages": _messages(context),
            self.max_tokens_key: limit,
            "temperature": self._temperature,
            **({"stop": list(stops[:_MAX_STOPS])} if stops else {}),
        }

    def _fits(self, request: Instance, answer: Answer) -> bool:
        """Return whether an answer has the form that was asked for, as far as it goes."""
        form = form_of(request) if self._guided else None
        return form is None or form.fits(answer.text, str(self._guided), answer.cut)

    def _stop_if_nothing_works(
        self, kind: str, failed: Sequence[Mapping[str, str]], cut: int
    ) -> None:
        """Raise an error once a kind of requests has failed for 20 arguments and for no other.

        Not before: a filter of contents may refuse all 20 questions about one argument.

        Args:
            kind: The kind of requests, as the cache names it.
            failed: The requests of this kind that have failed, as the results list them.
            cut: How many answers are as long as allowed.
        """
        if kind in self._works or len({(each["task"], each["id"]) for each in failed}) < _FIRST:
            return
        remedy = (
            "Give answers more room, for thinking too, by --gen_kwargs max_gen_toks=N"
            if 2 * cut > len(failed)
            else "Change what it refuses by --model_args (temperature=1, "
            "max_tokens_key=max_completion_tokens …), or ask later, or another server"
        )
        raise ValueEvalError(
            f"{self._server.base_url}: no request succeeded ({_listed(failed, 3)}).\n{remedy}."
        )

    def _report(self, failed: Sequence[Mapping[str, str]], cut: int, total: int) -> None:
        if failed:
            logger.warning(
                "%d of %d requests failed and count as unparsed (%s). The results list them under "
                "config.failed_requests.",
                len(failed),
                total,
                _listed(failed, 5),
            )
        if cut:
            logger.warning(
                "%d of %d answers were cut where they are as long as allowed: give more room, for "
                "thinking too, by --gen_kwargs max_gen_toks=N",
                cut,
                total,
            )
        if self._off_form:
            logger.warning(
                "%d answers do not have the form that guided=%s asks for",
                self._off_form,
                self._guided,
            )

    # ------------------------------------------------------------------------------- prompts

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return the messages as JSON: the server has the template."""
        return json.dumps(chat_history, ensure_ascii=False)

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Return no template: the server has it."""
        return ""

    @property
    def tokenizer_name(self) -> str:
        """Return the key by which lm-eval tells cached prompts of chat models apart."""
        return f"{self._server.base_url} {self.model_name}"

    # ------------------------------------------------------------------------------ identity

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Keep answers of ``--use_cache`` apart from those of any other model."""
        identity = {
            "server": self._server.base_url,
            "model": self.model_name,
            "max_gen_toks": self._max_gen_toks,
            "temperature": self._temperature,
            **({"guided": self._guided} if self._guided else {}),
        }
        self._cache = AnswerCache(cache_hook.dbdict, digest(identity))

    def get_model_info(self) -> dict[str, Any]:
        """Return what lm-eval writes under ``config`` of the results.

        The server, failed requests and why; with ``guided`` or ``top_logprobs`` these, with the
        number of answers off the form, and of questions by how many of yes and no were listed.
        """
        info: dict[str, Any] = {"server": self._server.base_url, "failed_requests": self._failed}
        if self._guided:
            info |= {"guided": self._guided, "answers_off_form": self._off_form}
        if self._top_logprobs is not None:
            info |= {
                "top_logprobs": self._top_logprobs,
                "first_tokens": dict(sorted(self._first_tokens.items())),
            }
        return info

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> ChatServerLM:
        """Return the model that ``--model_args`` name.

        Raises:
            ValueEvalError: An argument is unknown.
        """
        refuse_unknown_arguments(arg_dict, inspect.signature(cls).parameters)
        try:
            return cls(**{**(additional_config or {}), **arg_dict})
        except ValueError as error:
            raise ValueEvalError(f"--model_args: {error}") from error


def _cache_keys(distinct: Sequence[DistinctRequest]) -> list[list[Any]]:
    """Return the key of each request: what it asks, and of sampled ones which draw it is.

    So a stopped run keeps the answers that were drawn.
    """
    draws: Counter[tuple[str, str]] = Counter()
    keys: list[list[Any]] = []
    for one in distinct:
        asked = (one.request.args[0], one.settings)
        keys.append([*one.request.args, *([draws[asked]] if one.sampled else [])])
        draws[asked] += 1
    return keys


def _messages(context: str) -> list[dict[str, str]]:
    """Return the messages that `ChatServerLM.apply_chat_template` has written as JSON."""
    try:
        messages = json.loads(context)
    except ValueError:
        messages = None
    if not isinstance(messages, list):
        raise ValueEvalError(
            "valueeval_chat asks in the turns of a chat: add --apply_chat_template"
        )
    return messages


def _score(token: FirstToken | None, request: Instance) -> tuple[float, bool]:
    word = request.args[1].strip()
    return (math.nan, False) if token is None else (token.logprobs[word], token.greedy == word)


def _listed(failed: Sequence[Mapping[str, str]], shown: int) -> str:
    """Return the most frequent problems of failed requests, with their numbers."""
    problems = Counter(each["problem"] for each in failed)
    return "; ".join(f"{problem}: {n}" for problem, n in problems.most_common(shown))


def _failure(request: Instance, problem: str) -> dict[str, str]:
    doc = request.doc if isinstance(request.doc, dict) else {}
    return {
        "task": str(request.task_name),
        "id": clean(doc.get("id", request.doc_id)),
        "problem": problem,
    }
