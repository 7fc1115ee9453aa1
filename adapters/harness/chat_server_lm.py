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
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, NoReturn

import requests
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util.retry import Retry

from valueeval.adapters.harness.answer_cache import AnswerCache
from valueeval.adapters.harness.argument_lm import refuse_unknown_arguments
from valueeval.adapters.harness.documents import distinct_requests
from valueeval.adapters.harness.fingerprints import digest
from valueeval.adapters.harness.prompts import DistinctRequest
from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError

logger = logging.getLogger("lm_eval.valueeval")  # lm-eval shows the messages of its loggers

_ASK_AGAIN = (408, 409, 429, 500, 502, 503, 504, 529)
# What is wrong with every request, so that none needs to be sent after the first.
_HOPELESS = {
    401: "the key is missing or wrong",
    402: "the account has no credit",
    403: "the key does not allow it",
    404: "there is no such address or model",
}
_MAX_STOPS = 4  # more are refused


@dataclass(frozen=True)
class _Answer:
    """The answer of a server to one request.

    Attributes:
        text: The answer; empty if there is none.
        problem: Why there is none; None if there is one.
        cut: True if it ends because it has reached the limit of tokens.
    """

    text: str
    problem: str | None = None
    cut: bool = False


class ChatServerLM(LM):
    """A chat model behind a server. It generates, and gives no log-likelihoods.

    Args:
        model: Name of the model, as the server knows it.
        base_url: Address of the server's chat completions.
        num_concurrent: Number of requests that are open at a time.
        max_retries: How often a request is repeated that was refused for now, or failed.
        timeout: Seconds to wait for an answer.
        max_gen_toks: Largest number of tokens of an answer, unless the task sets one.
        max_tokens_key: Name of that limit in requests; some servers want ``max_completion_tokens``.
        temperature: Sampling temperature, unless the task or ``--gen_kwargs`` set one.
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
        if int(num_concurrent) < 1 or int(max_retries) < 0 or float(timeout) <= 0:
            raise ValueEvalError(
                "--model_args: num_concurrent and timeout must be positive, max_retries at least 0"
            )
        self.model_name, self.base_url = str(model), str(base_url)
        self._concurrent, self._retries = int(num_concurrent), int(max_retries)
        self._timeout = float(timeout)
        self._max_gen_toks, self._max_tokens_key = int(max_gen_toks), max_tokens_key
        self._temperature = float(temperature)
        self._key_variable = api_key_variable
        self._cache: AnswerCache | None = None
        self._failed: list[dict[str, str]] = []

    # ------------------------------------------------------------------------------- answers

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the answer to each request; the empty text where there is none.

        Raises:
            ValueEvalError: The server refuses every request, or is not there.
        """
        distinct = distinct_requests(requests)
        answers = self._known(distinct)
        left = [place for place in range(len(distinct)) if place not in answers]
        problems: Counter[str] = Counter()
        cut = 0
        bar = tqdm(total=len(left), disable=disable_tqdm, desc=f"Asking {clean(self.model_name)}")
        for place, answer in self._ask_all(distinct, left):
            bar.update()
            answers[place] = answer.text
            cut += answer.cut
            one = distinct[place]
            if answer.problem is not None:
                problems[answer.problem] += 1
                self._failed.append(_failure(one.request, answer.problem))
            elif self._cache and not one.sampled:
                self._cache.keep("generate_until", one.request.args, answer.text, None)
        bar.close()
        _report(problems, cut, len(distinct))
        texts = [""] * len(requests)
        for place, one in enumerate(distinct):
            for twin in one.twins:
                texts[twin] = answers[place]
        return texts

    def _known(self, distinct: Sequence[DistinctRequest]) -> dict[int, str]:
        """Return the answers that the cache holds, by place."""
        if self._cache is None:
            return {}
        found = {
            place: self._cache.find("generate_until", one.request.args)
            for place, one in enumerate(distinct)
            if not one.sampled
        }
        known = {place: str(entry[0]) for place, entry in found.items() if entry is not None}
        logger.info("%d of %d answers are from the cache", len(known), len(distinct))
        return known

    def _ask_all(
        self, distinct: Sequence[DistinctRequest], places: Sequence[int]
    ) -> Iterator[tuple[int, _Answer]]:
        """Yield the answers to some requests as they come, after their places."""
        with self._session() as session, ThreadPoolExecutor(self._concurrent) as pool:
            waiting: dict[Future[_Answer], int] = {
                pool.submit(self._ask, session, distinct[place].request): place for place in places
            }
            try:
                for done in as_completed(waiting):
                    yield waiting[done], done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _session(self) -> requests.Session:
        """Return a session that repeats requests, and waits as the server says."""
        retry = Retry(
            total=self._retries,
            connect=min(self._retries, 2),  # else a wrong address is told after minutes
            status_forcelist=_ASK_AGAIN,
            allowed_methods=None,
            backoff_factor=1,
            backoff_max=60,
            respect_retry_after_header=True,
            raise_on_status=False,
        )
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry, pool_maxsize=self._concurrent))
        return session

    def _ask(self, session: requests.Session, request: Instance) -> _Answer:
        context, settings = request.args
        for attempt in range(self._retries + 1):
            try:
                response = session.post(
                    self.base_url,
                    json=self._payload(context, settings),
                    headers=self._headers(),
                    timeout=self._timeout,
                )
                break
            except requests.exceptions.ChunkedEncodingError:
                # The answer broke off; what failed before an answer was repeated already.
                if attempt == self._retries:
                    return _Answer("", "the answer broke off")
            except requests.exceptions.ConnectTimeout as error:
                raise self._not_there(error) from None
            except requests.exceptions.ConnectionError as error:
                if "NewConnectionError" in repr(error) or "NameResolution" in repr(error):
                    raise self._not_there(error) from None
                return _Answer("", "no answer in time or the connection broke")
            except requests.exceptions.RequestException as error:
                return _Answer("", type(error).__name__)
        if response.status_code in _HOPELESS:
            raise ValueEvalError(
                f"{self.base_url}: HTTP {response.status_code}, "
                f"{_HOPELESS[response.status_code]}: {_told(response)}\n"
                f"The key is read from the environment variable {self._key_variable}. With "
                "--use_cache PATH, answers until now are kept for the next run."
            )
        if not response.ok:
            return _Answer("", f"HTTP {response.status_code}: {_told(response)}")
        return _read(response)

    def _payload(self, context: str, settings: dict[str, Any]) -> dict[str, Any]:
        rest = {key: value for key, value in settings.items() if key not in ("until", "do_sample")}
        limit = rest.pop("max_gen_toks", self._max_gen_toks)
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        return {
            "model": self.model_name,
            "messages": json.loads(context),
            self._max_tokens_key: limit,
            "temperature": rest.pop("temperature", self._temperature),
            **({"stop": stops[:_MAX_STOPS]} if stops else {}),
            **rest,
        }

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self._key_variable)
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _not_there(self, error: Exception) -> ValueEvalError:
        return ValueEvalError(
            f"{self.base_url}: no server answers ({type(error).__name__}). Check base_url; it ends "
            "in /v1/chat/completions for most servers."
        )

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> NoReturn:
        """Refuse: chat servers give no log-likelihoods of given texts."""
        raise ValueEvalError(
            f"{requests[0].task_name} needs log-likelihoods, which chat servers do not give.\n"
            "Ask valueeval_mbc, valueeval_oa, valueeval_cot or valueeval_cot2list; or take --model "
            "local-completions where the server completes text."
        )

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> NoReturn:
        """Refuse, as `loglikelihood`."""
        self.loglikelihood(requests)

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
        return f"{self.base_url} {self.model_name}"

    # ------------------------------------------------------------------------------ identity

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Keep answers of ``--use_cache`` apart from those of any other model."""
        identity = {
            "server": self.base_url,
            "model": self.model_name,
            "max_gen_toks": self._max_gen_toks,
            "temperature": self._temperature,
        }
        self._cache = AnswerCache(cache_hook.dbdict, digest(identity))

    def get_model_info(self) -> dict[str, Any]:
        """Return what lm-eval writes under ``config`` of the results: failed requests, and why."""
        return {"server": self.base_url, "failed_requests": self._failed}

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


def _read(response: requests.Response) -> _Answer:
    """Return what a response says, or what is wrong with it."""
    try:
        choice = response.json()["choices"][0]
        text, reason = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return _Answer("", "a response without an answer")
    if not isinstance(text, str) or not text.strip():
        why = f" ({clean(reason)})" if reason else ""
        return _Answer("", f"an empty answer{why}", reason == "length")
    return _Answer(text, None, reason == "length")


def _told(response: requests.Response) -> str:
    """Return what a server says of an error; it may be hostile, and long."""
    try:
        error = response.json()["error"]
        return clean(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return clean(response.text[:1000]) or "no reason given"


def _failure(request: Instance, problem: str) -> dict[str, str]:
    doc = request.doc if isinstance(request.doc, dict) else {}
    return {
        "task": str(request.task_name),
        "id": clean(doc.get("id", request.doc_id)),
        "problem": problem,
    }


def _report(problems: Counter[str], cut: int, total: int) -> None:
    if problems:
        listed = "; ".join(f"{problem}: {number}" for problem, number in problems.most_common(5))
        logger.warning(
            "%d of %d requests failed and count as unparsed (%s). The results list them under "
            "config.failed_requests.",
            sum(problems.values()),
            total,
            listed,
        )
    if cut:
        logger.warning(
            "%d of %d answers were cut where they are as long as allowed: give more room, for "
            "thinking too, by --gen_kwargs max_gen_toks=N",
            cut,
            total,
        )
