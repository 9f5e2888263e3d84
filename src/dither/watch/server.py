"""The server of the live page: read-only, for this machine alone unless told otherwise."""

import asyncio
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
LOOPBACK = (HERE, "::1", "localhost")
LOOK_EVERY = 1.0
"""Seconds between looks at the folder."""

SHOW_EVERY = 300
"""Milliseconds after which a page asks whether there is something new."""


def watch_folder(folder: str | Path, like: Path | None = None) -> RunWatch | StudyWatch:
    """Who looks at a run's or a study's folder.

    Arguments: the folder; `like`, that of a finished run, by whose curve a run's time left is told.
    Errors: `RequestError` where there is neither, or `like` tells nothing.
    """
    folder = Path(folder)
    if (folder / STUDY).is_file():
        if like is not None:
            raise RequestError("--like tells the time left of a run, and this is a study.")
        return StudyWatch(folder)
    if (folder / RUN).is_file():
        return RunWatch(folder, like)
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
    like: Path | None = None,
) -> None:
    """Show a folder's page until Ctrl-C.

    Arguments:
        folder: of a run or a study.
        port: 0 takes a free one.
        listen: the address; on one that others can reach, a token in the page's address is needed.
        told: called with the page's address once it is there.
        stop: ends it too, where it is set.
        like: a finished run's folder, by whose curve a run's time left is told.
    Errors: `RequestError` where Bokeh is missing, the port is taken or the folder is no run's.
    """
    try:
        import bokeh.server.server  # noqa: F401  # only whether it is there
    except ImportError:
        raise RequestError(
            "The live page needs Bokeh: pip install 'dither[watch]', then try again."
        ) from None
    watch = watch_folder(folder, like)
    with _bind(listen, port) as here, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(watch, here, listen, told, stop or threading.Event()))


async def _serve(
    watch: RunWatch | StudyWatch,
    here: socket.socket,
    listen: str,
    told: Callable[[str], Any],
    stop: threading.Event,
) -> None:
    from bokeh.server.server import BaseServer
    from tornado.httpserver import HTTPServer
    from tornado.ioloop import IOLoop

    from dither.watch.door import application

    port = here.getsockname()[1]
    token = None if listen in LOOPBACK else secrets.token_urlsafe()
    looking = Looking(watch)
    app = application(lambda document: _open_page(document, looking), port, token)
    http = HTTPServer(app)
    http.add_socket(here)
    server = BaseServer(IOLoop.current(), app, http)
    server.start()
    name = socket.gethostname() if listen in ("0.0.0.0", "::") else listen
    name = f"[{name}]" if ":" in name else name
    told(f"http://{name}:{port}/" + ("" if token is None else f"?token={token}"))
    try:
        while not stop.is_set():
            await asyncio.sleep(0.1)
    finally:
        looking.stop()
        server.stop()
        await http.close_all_connections()


def _bind(listen: str, port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise RequestError(f"There is no port {port}; give one from 0 to 65535.")
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    try:
        here = socket.create_server((listen, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise RequestError(
                f"The port {port} is in use; give another by --port (0 takes a free one)."
            ) from None
        why = (error.strerror or str(error)).split(" (while")[0]
        raise RequestError(
            f"Cannot listen at {listen}, port {port}: {why}; see --listen and --port."
        ) from None
    here.setblocking(False)
    return here


def _open_page(document: "Document", looking: Looking) -> None:
    from jinja2 import Template

    from dither.watch.figures import LivePage
    from dither.watch.style import HTML

    view = looking.view
    page = LivePage(view)
    page_shows = [view]

    def update() -> None:
        if looking.view is not page_shows[0]:
            page_shows[0] = looking.view
            page.show(looking.view)

    document.title = f"{view.head.name} – dither"
    document.template = Template(HTML)
    document.add_root(page.layout)
    document.add_periodic_callback(update, SHOW_EVERY)
