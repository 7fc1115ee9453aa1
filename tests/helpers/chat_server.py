"""A local chat server that speaks OpenAI's protocol and answers what a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ALL_NO = "\n".join(f"{n}. no" for n in range(1, 21))
Answer = Callable[[int, list[dict[str, str]]], tuple[int, dict[str, Any]]]


class Server:
    """A chat server; ``answer`` gets the number of the request, from 0, and its messages.

    Requests are kept in the order in which they come: ``seen`` holds messages, ``payloads`` all.
    ``breaks_off`` and ``sleeps`` name requests whose answer ends early or comes late (in seconds).
    """

    def __init__(self) -> None:
        self.answer: Answer = lambda number, messages: said(ALL_NO)
        self.seen: list[list[dict[str, str]]] = []
        self.payloads: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.breaks_off: set[int] = set()
        self.sleeps: dict[int, float] = {}
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                payload = json.loads(self.rfile.read(length))
                messages = payload["messages"]
                with lock:
                    number = len(server.seen)
                    server.seen.append(messages)
                    server.payloads.append(payload)
                    server.keys.add(self.headers.get("Authorization"))
                time.sleep(server.sleeps.get(number, 0))
                status, content = server.answer(number, messages)
                body = json.dumps(content).encode()
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:9] if number in server.breaks_off else body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1/chat/completions"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self.http.shutdown()
        self.http.server_close()


def said(text: str | None) -> tuple[int, dict[str, Any]]:
    """Return the answer that says a text."""
    return 200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}


def likeliest(*tokens: tuple[str, float]) -> tuple[int, dict[str, Any]]:
    """Return the answer that says the first of some tokens, and tells their log-probabilities."""
    listed = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in tokens]
    status, content = said(tokens[0][0])
    first = {**listed[0], "top_logprobs": listed}
    content["choices"][0] |= {"logprobs": {"content": [first]}, "finish_reason": "length"}
    return status, content
