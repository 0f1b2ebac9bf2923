"""A WSGI application served from a thread of the tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from werkzeug.serving import WSGIRequestHandler, make_server


class Silent(WSGIRequestHandler):
    """Logs no request."""

    def log(self, type: str, message: str, *args: object) -> None:
        """Do nothing."""


@contextmanager
def serve(app: Callable) -> Iterator[int]:
    """Serve an application on a free port of this machine, which is returned."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
