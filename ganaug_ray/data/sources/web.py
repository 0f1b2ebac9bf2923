"""Files behind an https address: fetched once, judged by their sha256, and kept in a cache."""

import hashlib
import os
import re
import ssl
import tempfile
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

from ganaug_ray.config.addresses import refuse_credentials
from ganaug_ray.errors import UserError

MOST_BYTES = 50 * 1000**3
TIMEOUT = 60.0  # seconds without a byte
PIECE = 1024**2  # bytes
NAME_LENGTH = 100  # of the file's own name in the cache; its end says what it is


def is_url(source: str) -> bool:
    """Whether a source is for ``fetch``, be it to be refused."""
    return source.lower().startswith(("https://", "http://"))


def fetch(source: str) -> Path:
    """Return the local copy of ``https://HOST/PATH#sha256=HEX``; fetch it unless it is in the cache.

    Raises:
        UserError: the address is not https or lacks the sha256, it cannot be fetched, or its content is another.
    """
    refuse_credentials(source)
    url, _, fragment = source.partition("#")
    if not url.lower().startswith("https://"):
        raise UserError(f"data.source {source}: anybody on the way can read and change http; give an https:// address")
    digest = re.fullmatch("sha256=([0-9a-f]{64})", fragment, re.IGNORECASE)
    if digest is None:
        raise UserError(
            f"data.source {source}: found no sha256 to check the file by; write {url}#sha256=<its 64 hex digits>, "
            "which its publisher states and sha256sum prints"
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ganaug"
    kept = cache / f"{digest[1].lower()}-{_name(url)}"
    if not kept.exists():
        try:
            _download(url, digest[1].lower(), kept)
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
            raise UserError(
                f"data.source {source}: cannot be fetched ({reason}); mend the address or the connection, or download "
                "the file yourself and give its path"
            ) from None
    return kept


def _name(url: str) -> str:
    last = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    return re.sub(r"[^\w.-]", "_", last)[-NAME_LENGTH:]


def _download(url: str, digest: str, kept: Path) -> None:
    """Write a file aside, and under its name once its hash agrees: whoever is killed or fetches too does no harm."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=kept.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as target, _opener().open(url, timeout=TIMEOUT) as answer:
            found, size = hashlib.sha256(), 0
            while piece := answer.read(PIECE):
                size += len(piece)
                if size + (answer.length or 0) > MOST_BYTES:  # what is still to come, where the server says it
                    raise URLError(f"it has more than {MOST_BYTES / 1000**3:g} GB")
                found.update(piece)
                target.write(piece)
            if answer.length:
                raise URLError("the connection broke off")
        if found.hexdigest() != digest:
            raise UserError(
                f"data.source {url}: its sha256 is {found.hexdigest()}, and {digest} is asked for; "
                "the file was changed, or the sum is another file's: ask its publisher"
            )
        Path(aside).replace(kept)
    finally:
        Path(aside).unlink(missing_ok=True)


def _opener() -> request.OpenerDirector:
    """What opens https, by way of the proxy that the environment names if any, and nothing else."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPSHandler(context=ssl.create_default_context()),
        _HttpsRedirects(),
        request.HTTPErrorProcessor(),
        request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _HttpsRedirects(request.HTTPRedirectHandler):
    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> request.Request | None:
        """Follow a redirect to https."""
        if not newurl.lower().startswith("https://"):
            raise URLError(f"it leads to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
