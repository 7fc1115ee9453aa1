"""The way of a request to a chat server and back: keys, waiting, refusals."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import InvalidHeader, SSLError
from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry

from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError

_ASK_AGAIN = (408, 409, 429, 500, 502, 503, 504, 529)
# What is wrong with every request, so that none needs to be sent after the first.
_HOPELESS = {
    401: "the key is missing or wrong",
    402: "the account has no credit",
    403: "the key does not allow it",
    404: "there is no such address or model",
}
_NOT_UNDERSTOOD = (400, 415, 422, 501)
_LONGEST_WAIT = 600.0  # seconds, whatever a server asks for
_TOLD_WAIT = 30.0  # longer ones are told

logger = logging.getLogger("lm_eval.valueeval")  # lm-eval shows the messages of its loggers
# What OpenSSL says where a server speaks no TLS, or shows a certificate that is not trusted.
_NO_TLS = re.compile(
    "CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|UNSUPPORTED_PROTOCOL"
)


@dataclass(frozen=True)
class Question:
    """One request to a chat server.

    Attributes:
        payload: Model, messages and settings that every server takes.
        option: Name and value of the option of ``--model_args`` that asks for more; empty if none.
        extra: The fields of the request that say so.
    """

    payload: dict[str, Any]
    option: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """The answer of a server to one request.

    Attributes:
        text: The answer; empty if there is none.
        problem: Why there is none; None if there is one.
        cut: True if it ends because it has reached the limit of tokens.
        first_token: The likeliest first tokens and their log-probabilities; empty if the server
            tells none.
    """

    text: str
    problem: str | None = None
    cut: bool = False
    first_token: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Connection:
    """Asks a server.

    Attributes:
        base_url: Address of the server's chat completions.
        key_variable: Environment variable that holds the key; it is read when a request is sent and
            kept nowhere.
        concurrent: Number of requests that are open at a time.
        retries: How often a request is repeated that was refused for now, or failed.
        timeout: Seconds to wait for an answer.
    """

    base_url: str
    key_variable: str
    concurrent: int
    retries: int
    timeout: float

    def ask_all(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield the answers as they come, after the places of their questions.

        Raises:
            ValueEvalError: The server refuses every request, does not take what an option asks
                for, or is not there.
        """
        stopped = Event()  # so that nothing is sent after an error that ends the run

        def ask(question: Question) -> Answer:
            if stopped.is_set():
                return Answer("", "not asked")
            try:
                return self._ask(session, question)
            except BaseException:
                stopped.set()
                raise

        with self._session() as session, ThreadPoolExecutor(self.concurrent) as pool:
            waiting: dict[Future[Answer], int] = {
                pool.submit(ask, question): place for place, question in enumerate(questions)
            }
            try:
                for done in as_completed(waiting):
                    yield waiting[done], done.result()
            except BaseException:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _session(self) -> requests.Session:
        """Return a session that repeats requests, and waits as the server says."""
        retry = _Retry(
            total=self.retries,
            connect=min(self.retries, 2),  # else a wrong address is told after minutes
            status_forcelist=_ASK_AGAIN,
            allowed_methods=None,
            backoff_factor=1,
            backoff_max=60,
            respect_retry_after_header=True,
            raise_on_status=False,
        )
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry, pool_maxsize=self.concurrent))
        return session

    def _ask(self, session: requests.Session, question: Question) -> Answer:
        response = self._post(session, {**question.payload, **question.extra})
        if isinstance(response, Answer):
            return response
        told = self._told(response)
        if response.status_code in _HOPELESS:
            raise ValueEvalError(
                f"{self.base_url}: HTTP {response.status_code}, "
                f"{_HOPELESS[response.status_code]}: {told}\n"
                f"The key is read from the environment variable {self.key_variable}. With "
                "--use_cache PATH, answers until now are kept for the next run."
            )
        if question.extra and response.status_code in _NOT_UNDERSTOOD:
            # Either the option is not understood, or this one prompt is refused (a content filter).
            plain = self._post(session, question.payload)
            if not isinstance(plain, Answer) and plain.ok:
                raise ValueEvalError(
                    f"{self.base_url} does not take {question.option}: HTTP "
                    f"{response.status_code}: {told}\n"
                    "Leave it out of --model_args, or ask another server."
                )
        if not response.ok:
            return Answer("", f"HTTP {response.status_code}: {told}")
        return _read(response) or Answer("", f"a response without an answer: {told}")

    def _post(
        self, session: requests.Session, payload: dict[str, Any]
    ) -> requests.Response | Answer:
        """Return the response, or the answer that tells why there is none."""
        key = os.environ.get(self.key_variable)
        for _ in range(self.retries + 1):
            try:
                return session.post(
                    self.base_url,
                    json=payload,
                    headers={"Authorization": f"Bearer {key}"} if key else {},
                    timeout=self.timeout,
                )
            except requests.exceptions.ChunkedEncodingError:
                # The answer broke off; what failed before an answer was repeated already.
                continue
            except requests.exceptions.ConnectTimeout as error:
                raise self._not_there(error) from None
            except requests.exceptions.ConnectionError as error:
                if _NO_TLS.search(str(error)):
                    raise self._no_tls(error) from None
                if "NewConnectionError" in repr(error) or "NameResolution" in repr(error):
                    raise self._not_there(error) from None
                return Answer("", "no answer in time or the connection broke")
            except requests.exceptions.RequestException as error:
                return Answer("", type(error).__name__)
        return Answer("", "the answer broke off")

    def _told(self, response: requests.Response) -> str:
        """Return what a server says of an error; it may be hostile, long, and repeat the key."""
        try:
            error = response.json()["error"]
            text = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, KeyError, TypeError):
            text = response.text[:1000] or "no reason given"
        key = os.environ.get(self.key_variable)
        return clean(text.replace(key, "[key]") if key else text)

    def _no_tls(self, error: Exception) -> ValueEvalError:
        why = re.search(r"\[SSL.*?(?= \(_ssl|$)", str(error))
        return ValueEvalError(
            f"{self.base_url}: no TLS connection ({clean(why[0] if why else error)}). If the "
            "server has no TLS, write http://…; if it has signed its certificate itself, name the "
            "certificate's file in the environment variable REQUESTS_CA_BUNDLE."
        )

    def _not_there(self, error: Exception) -> ValueEvalError:
        return ValueEvalError(
            f"{self.base_url}: no server answers ({type(error).__name__}). Check base_url; it ends "
            "in /v1/chat/completions for most servers."
        )


class _Retry(Retry):
    """Waits as the server says, within bounds; tries nothing again that would fail again."""

    def increment(self, *args: Any, **kwargs: Any) -> Any:
        """Return what is left to try; raise an error of TLS that would only come again."""
        error = kwargs.get("error")
        if isinstance(error, SSLError) and _NO_TLS.search(str(error)):
            raise error
        return super().increment(*args, **kwargs)

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Return the seconds to wait; None where the server does not say, or not intelligibly."""
        try:
            seconds = super().get_retry_after(response)
        except InvalidHeader:
            return None
        if seconds is not None and seconds > _TOLD_WAIT:
            wait = min(seconds, _LONGEST_WAIT)
            logger.warning("the server asks to wait %.0f s: waiting %.0f s", seconds, wait)
            return wait
        return seconds


def _read(response: requests.Response) -> Answer | None:
    """Return what a response says, or what is wrong with its answer; None if it has none."""
    try:
        choice = response.json()["choices"][0]
        text, reason = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    first_token, cut = _first_token(choice), reason == "length"
    if reason == "content_filter":
        return Answer("", "stopped by the server's content filter", False, first_token)
    if not isinstance(text, str) or not text.strip():
        why = f" ({clean(reason)})" if reason else ""
        return Answer("", f"an empty answer{why}", cut, first_token)
    return Answer(text, None, cut, first_token)


def _first_token(choice: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    try:
        listed = choice["logprobs"]["content"][0]["top_logprobs"]
        return tuple((str(one["token"]), float(one["logprob"])) for one in listed)
    except (ValueError, KeyError, IndexError, TypeError):
        return ()
