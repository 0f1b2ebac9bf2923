"""API keys, which decide who may send requests. They come from the environment or a file, never with the deployment."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence

from ganaug_ray.addresses import expand_home
from ganaug_ray.errors import UserError
from ganaug_ray.serve.problem_details import ProblemError

KEY_VARIABLE = "GANAUG_API_KEY"
MIN_KEY_CHARS = 8  # characters
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


def read_keys(file: str | None) -> list[str]:
    """Read the API keys of the environment and of a file with one a line; without any the list is empty.

    Raises:
        UserError: the file cannot be read or holds none, or a key is too short to be one.
    """
    keys = os.environ.get(KEY_VARIABLE, "").split()
    if file is not None:
        try:
            lines = expand_home(file).read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--key-file {file}: cannot be read ({error})") from None
        if not lines:
            raise UserError(f"--key-file {file}: holds no key; expected one a line")
        keys += lines
    if any(len(key) < MIN_KEY_CHARS for key in keys):
        raise UserError(
            f"{file or KEY_VARIABLE}: found a key of fewer than {MIN_KEY_CHARS} characters; give a longer one"
        )
    return keys


class Keyring:
    """Checks the API keys of requests; without keys, only requests to localhost pass.

    A page in somebody's browser can send requests to localhost under a name of its own (DNS rebinding); the Host header
    gives it away.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def check_headers(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise ProblemError unless a request's headers pass; ASGI's, with names in lower case."""
        if not self._keys:
            host = headers.get(b"host", b"localhost").decode("latin-1")
            if _parse_host(host) not in LOOPBACK_HOSTS:
                raise ProblemError(
                    421,
                    "this server answers on localhost only, since it has no API key; call it as localhost, or start it "
                    "with --key-file",
                )
            return
        sent_key = headers.get(b"x-api-key", b"")
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if not sent_key and scheme.lower() == b"bearer":
            sent_key = token.strip()
        # Every key is compared, so that the time taken tells nothing.
        if not sum(hmac.compare_digest(sent_key, key) for key in self._keys):
            raise ProblemError(
                401,
                "no API key, or an unknown one; send one as `X-API-Key: KEY` or `Authorization: Bearer KEY`",
                {"WWW-Authenticate": "Bearer"},
            )


def _parse_host(host: str) -> str:
    """Return a Host header's name without its port.

    >>> _parse_host("[::1]:8000"), _parse_host("localhost:80"), _parse_host("127.0.0.1")
    ('::1', 'localhost', '127.0.0.1')
    """
    name, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "")
    return name.strip("[]").lower() if not port or port.isdigit() else host
