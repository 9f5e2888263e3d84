"""The server of the live page: read-only, by default for this machine only."""

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
"""The time between reads of the folder, s."""

SHOW_EVERY = 300
"""The time between updates of a page, ms."""


def watch_folder(folder: str | Path, like: Path | None = None) -> RunWatch | StudyWatch:
    """The watcher of a run's or a study's folder.

    Arguments: the folder; `like`, that of a finished run whose curve gives the time left.
    Errors: `RequestError` if there is neither, or if `like` is not usable.
    """
    folder = Path(folder)
    if (folder / STUDY).is_file():
        if like is not None:
            raise RequestError(
                "--like estimates the time left of a run, but this is a study; leave it out."
            )
        return StudyWatch(folder)
    if (folder / RUN).is_file():
        return RunWatch(folder, like)
    raise RequestError(
        f"The folder {folder} holds neither a run ({RUN}) nor a study ({STUDY}); give the folder "
        "that dither train or dither study reported."
    )


class Looking:
    """A thread that reads the folder once per second, for any number of open pages."""

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
            except Exception as error:  # the folder may be unavailable for a while
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
        folder: the folder of a run or a study.
        port: the port; 0 picks a free one.
        listen: the address; if others can reach it, the page's address needs a token.
        told: a function called with the page's address when it is ready.
        stop: an event that also ends the server.
        like: the folder of a finished run whose curve gives the time left.
    Errors: `RequestError` if Bokeh is missing, the port is in use, or the folder holds no run.
    """
    try:
        import bokeh.server.server  # noqa: F401  # only whether it is there
    except ImportError:
        raise RequestError("The live page needs Bokeh; run pip install 'dither[watch]'.") from None
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
        raise RequestError(f"The port {port} is not valid; give one from 0 to 65535.")
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    try:
        here = socket.create_server((listen, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise RequestError(
                f"The port {port} is in use; give another with --port (0 picks a free one)."
            ) from None
        why = (error.strerror or str(error)).split(" (while")[0]
        raise RequestError(
            f"The address {listen}, port {port} cannot be used: {why}; change --listen or --port."
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
