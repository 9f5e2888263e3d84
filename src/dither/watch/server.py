"""The server of the live page: read-only, for this machine alone unless told otherwise."""

import contextlib
import errno
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dither._errors import RequestError
from dither.studies.store import SPECIFICATION as STUDY
from dither.training.folder import SPECIFICATION as RUN
from dither.watch.run import RunView, RunWatch
from dither.watch.study import StudyView, StudyWatch

if TYPE_CHECKING:
    from bokeh.document import Document

HERE = "127.0.0.1"
LOOK_EVERY = 1.0
"""Seconds between looks at the folder."""

SHOW_EVERY = 300
"""Milliseconds after which a page asks whether there is something new."""


def watch_folder(folder: str | Path) -> RunWatch | StudyWatch:
    """Who looks at a run's or a study's folder.

    Errors: `RequestError` where there is neither.
    """
    folder = Path(folder)
    if (folder / STUDY).is_file():
        return StudyWatch(folder)
    if (folder / RUN).is_file():
        return RunWatch(folder)
    raise RequestError(
        f"There is no run or study in {folder}: it has neither {RUN} nor {STUDY}; give the folder "
        "that dither train or dither study named."
    )


class Looking:
    """A thread that looks at the folder once a second, however many pages are open."""

    def __init__(self, watch: RunWatch | StudyWatch) -> None:
        self.watch = watch
        self.view: RunView | StudyView = watch.look(time.time())
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._go, daemon=True)
        self.thread.start()

    def _go(self) -> None:
        while not self.over.wait(LOOK_EVERY):
            try:
                self.view = self.watch.look(time.time())
            except Exception as error:  # the folder may be away for a while
                head = replace(self.view.head, state=f"cannot be read: {error}", mood="quiet")
                self.view = replace(self.view, head=head)

    def stop(self) -> None:
        """End the thread."""
        self.over.set()
        self.thread.join()


def serve(
    folder: str | Path,
    port: int = 5006,
    listen: str = HERE,
    told: Callable[[str], Any] = print,
    stop: threading.Event | None = None,
) -> None:
    """Show a folder's page until Ctrl-C.

    Arguments:
        folder: of a run or a study.
        port: 0 takes a free one.
        listen: the address; on one that others can reach, a token in the page's address is needed.
        told: called with the page's address once it is there.
        stop: ends it too, where it is set.
    Errors: `RequestError` where Bokeh is missing, the port is taken or the folder is no run's.
    """
    try:
        from bokeh.server.server import BaseServer
        from tornado.httpserver import HTTPServer
        from tornado.ioloop import IOLoop, PeriodicCallback
    except ImportError:
        raise RequestError(
            "The live page needs Bokeh: pip install 'dither[watch]', then try again."
        ) from None
    from dither.watch.door import application

    watch = watch_folder(folder)
    sockets = _bind(listen, port)
    port = sockets[0].getsockname()[1]
    alone = listen in (HERE, "::1", "localhost")
    token = None if alone else secrets.token_urlsafe()
    looking = Looking(watch)
    app = application(lambda document: _open_page(document, looking), port, token)
    http = HTTPServer(app)
    http.add_sockets(sockets)
    loop = IOLoop.current()
    server = BaseServer(loop, app, http)
    server.start()
    name = socket.gethostname() if listen in ("0.0.0.0", "::") else listen
    name = f"[{name}]" if ":" in name else name
    told(f"http://{name}:{port}/" + ("" if token is None else f"?token={token}"))
    ending = PeriodicCallback(lambda: loop.stop() if stop and stop.is_set() else None, 100)
    ending.start()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            loop.start()
    finally:
        ending.stop()
        server.stop()
        http.stop()
        looking.stop()


def _bind(listen: str, port: int) -> list[socket.socket]:
    from tornado.netutil import bind_sockets

    try:
        if port:
            return bind_sockets(port, listen)
        return bind_sockets(0, listen)[:1]
    except OverflowError:
        raise RequestError(f"There is no port {port}; give one from 1 to 65535.") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise RequestError(
                f"The port {port} is in use; give another by --port (0 takes a free one)."
            ) from None
        raise RequestError(f"Cannot listen at {listen}:{port}: {error.strerror}.") from None


def _open_page(document: "Document", looking: Looking) -> None:
    from jinja2 import Template

    from dither.watch.figures import Page
    from dither.watch.style import HTML

    view = looking.view
    page = Page(view)
    page_shows = [view]

    def update() -> None:
        if looking.view is not page_shows[0]:
            page_shows[0] = looking.view
            page.show(looking.view)

    document.title = f"{view.head.name} – dither"
    document.template = Template(HTML)
    document.add_root(page.layout)
    document.add_periodic_callback(update, SHOW_EVERY)
