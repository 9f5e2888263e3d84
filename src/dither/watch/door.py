"""Access control for the page, its scripts and its websocket."""

import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from bokeh.document import Document
from bokeh.server.tornado import BokehTornado
from bokeh.settings import settings
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Refused(RequestHandler):
    """A handler that answers 403."""

    def prepare(self) -> None:
        """Refuse any request."""
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("Open the address that dither watch printed, including its token.\n")


class Welcome(RequestHandler):
    """Moves the token from the address into a cookie that scripts cannot read."""

    def initialize(self, cookie: str, token: str) -> None:
        """Set the name of the cookie."""
        self.cookie, self.token = cookie, token

    def get(self) -> None:
        """Redirect to the page."""
        self.set_cookie(self.cookie, self.token, httponly=True, samesite="Strict")
        self.redirect("/")


class Door(BokehTornado):
    """Bokeh's application with a check of every request.

    With a token, every request needs it: first in the address of the page, then in a cookie.
    Without a token, the request must address this machine by name, which prevents DNS rebinding.
    """

    def __init__(self, page: Callable[[Document], None], port: int, token: str | None) -> None:
        self.token, self.cookie = token, f"dither-{port}"
        super().__init__({"/": page}, extra_websocket_origins=["*"], include_cookies=[])

    def find_handler(self, request: HTTPServerRequest, **more: Any) -> Any:
        """The handler of an accepted request."""
        if not same_origin(request):
            return self.get_handler_delegate(request, Refused)
        if self.token is None:
            host = urlsplit(f"//{request.host}").hostname or ""
            if (f"[{host}]" if ":" in host else host) not in LOOPBACK:
                return self.get_handler_delegate(request, Refused)
            return super().find_handler(request, **more)
        if request.path == "/" and self._is_token(request.query_arguments.get("token", [b""])[-1]):
            known = {"cookie": self.cookie, "token": self.token}
            return self.get_handler_delegate(request, Welcome, known)
        shown = request.cookies.get(self.cookie)
        if shown is None or not self._is_token(shown.value.encode()):
            return self.get_handler_delegate(request, Refused)
        return super().find_handler(request, **more)

    def _is_token(self, given: bytes) -> bool:
        return secrets.compare_digest(given, (self.token or "").encode())


def same_origin(request: HTTPServerRequest) -> bool:
    """Whether a request comes from the page itself, according to the browser."""
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc.lower() == request.host.lower()


def application(page: Callable[[Document], None], port: int, token: str | None) -> Door:
    """The web application, without messages in the browser's console."""
    settings.log_level = "error"
    return Door(page, port, token)
