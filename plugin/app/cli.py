"""``valueeval app``: serves the page on this machine alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.errors import ValueEvalError

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
    from valueeval.adapters.directory.ensemble import find_members

    find_members(options.adapter)  # a folder that is not there is told before anything slow
    with tempfile.TemporaryDirectory(prefix="valueeval-app-") as folder:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}
        page = _serve(options.adapter, options.port, not options.no_browser)
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
        "--adapter", required=True, metavar="DIR",
        help="from `valueeval train`, or org/name on the Hugging Face hub; several joined by + are "
        "averaged. The page can load others",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=int, metavar="N", help="port of the page (default: the first free from 7860)"
    )
    parser.add_argument("--no_browser", action="store_true", help="do not open the browser")
    return parser


def _serve(adapter: str, port: int | None, open_browser: bool) -> Any:
    """Start the server and return the page."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from valueeval.app.page import build_page, style

    page = build_page([adapter])
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
