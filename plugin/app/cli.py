"""``valueeval app``: serves the page on this machine alone."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.templates.decide import TEMPLATES

_PROMPTED = ("model_args", "template", "paraphrase", "apply_chat_template", "calibration")
HOST = "127.0.0.1"
# The browser refuses whatever the page, or a part of Gradio, would ask another computer for.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; form-action 'self'; frame-ancestors 'none'"
)


def main(argv: Sequence[str]) -> int:
    """Serve the page until it is interrupted."""
    options = build_parser().parse_args(argv)
    if find_spec("gradio") is None:
        raise ValueEvalError("The page needs Gradio: pip install 'lm-eval-valueeval[app]'")
    models = _models(options)
    with tempfile.TemporaryDirectory(prefix="valueeval-app-") as folder:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}
        page = _serve(models, options.port, not options.no_browser)
        print(
            f"The page is at {page.local_url} (on this machine alone); Ctrl+C ends it.", flush=True
        )
        page.block_thread()
    return 0


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval app",
        description="Open a page in the browser to try a model in: one text, two texts, a table. "
        "Nothing leaves this machine.",
    )
    parser.add_argument(
        "--adapter", metavar="DIR",
        help="from `valueeval train`, or org/name on the Hugging Face hub; several joined by + are "
        "averaged (default: the small one that ships with valueeval). The page can load others",
    )  # fmt: skip
    prompted = parser.add_argument_group("a prompted model instead", "As for `valueeval predict`.")
    prompted.add_argument("--model", metavar="NAME", help="a model of lm-eval: hf, valueeval …")
    prompted.add_argument("--model_args", metavar="ARGS", help="its arguments: pretrained=MODEL")
    prompted.add_argument("--template", choices=TEMPLATES, help="how it is asked")
    prompted.add_argument(
        "--paraphrase", type=int, default=1, metavar="N", help="which wording (default: 1)"
    )
    prompted.add_argument(
        "--apply_chat_template", action="store_true", help="ask in the turns and words of a chat"
    )
    prompted.add_argument(
        "--calibration", metavar="FILE", help="from `valueeval calibrate` (cls, bca)"
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help="port of the page (default: the first free from 7860)"
    )
    parser.add_argument("--no_browser", action="store_true", help="do not open the browser")
    return parser


def _models(options: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """Return the model that was named, by its name on the page, with what loads it."""
    from valueeval.adapters.directory.ensemble import find_members
    from valueeval.adapters.predict.model import load
    from valueeval.adapters.shipped.finding import NAME, shipped_adapter

    if options.model is not None:
        if options.adapter is not None:
            raise ValueEvalError("--adapter and --model are two models: give one of them.")
        if options.model_args is None or options.template is None:
            raise ValueEvalError(f"--model {options.model} needs --model_args and --template.")
        asked = {name: getattr(options, name) for name in _PROMPTED}
        name = f"{options.model} {options.model_args} ({options.template})"
        return {name: lambda: load(options.model, **asked)}
    name = options.adapter or NAME
    adapter = options.adapter or str(shipped_adapter())
    find_members(adapter)  # a folder that is not there is told before anything slow
    return {name: lambda: load(adapter)}


def _serve(models: Mapping[str, Callable[[], Any]], port: int | None, open_browser: bool) -> Any:
    """Start the server and return the page."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from valueeval.app.page import build_page, style

    page = build_page(models)
    # A page of the web that calls itself by this address is refused by the host's name.
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
        Middleware(_WithPolicy),
    ]
    try:
        page.launch(
            server_name=HOST, server_port=port, share=False, inbrowser=open_browser, quiet=True,
            prevent_thread_lock=True, ssr_mode=False, enable_monitoring=False, footer_links=[],
            app_kwargs={"middleware": middleware}, **style(),
        )  # fmt: skip
    except OSError as error:
        raise ValueEvalError(
            f"Port {port} cannot be used ({error}). Name another by --port."
        ) from error
    return page


class _WithPolicy:
    """Adds the content security policy to every answer."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"content-security-policy", POLICY.encode()))
            await send(message)

        await self._app(scope, receive, send_with_policy)
