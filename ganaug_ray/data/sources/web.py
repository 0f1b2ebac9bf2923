"""Downloads files behind an https address once, checks their sha256, and keeps them in a cache."""

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

from ganaug_ray.addresses import refuse_credentials
from ganaug_ray.errors import UserError

MAX_DOWNLOAD_BYTES = 50 * 1000**3
READ_TIMEOUT_S = 60.0  # seconds without a byte
PIECE_BYTES = 1024**2  # bytes
MAX_NAME_CHARS = 100  # of the file's own name in the cache; its end says what it is


def is_url(source: str) -> bool:
    """Whether a source is an http or https address; ``fetch_file`` refuses the former."""
    return source.lower().startswith(("https://", "http://"))


def fetch_file(source: str) -> Path:
    """Return the local copy of ``https://HOST/PATH#sha256=HEX``; it is downloaded unless it is in the cache.

    Raises:
        UserError: the address is not https or lacks the sha256, it cannot be fetched, or its content is another.
    """
    refuse_credentials(source)
    url, _, fragment = source.partition("#")
    if not url.lower().startswith("https://"):
        raise UserError(f"data.source {source}: http can be read and changed on the way; give an https:// address")
    digest = re.fullmatch("sha256=([0-9a-f]{64})", fragment, re.IGNORECASE)
    if digest is None:
        raise UserError(
            f"data.source {source}: found no sha256 to check the file by; write {url}#sha256=<its 64 hex digits>, "
            "which its publisher states and sha256sum prints"
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ganaug"
    cached_file = cache / f"{digest[1].lower()}-{_make_cache_name(url)}"
    if not cached_file.exists():
        try:
            _download_file(url, digest[1].lower(), cached_file)
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
            raise UserError(
                f"data.source {source}: cannot be fetched ({reason}); check the address and the connection, or "
                "download the file yourself and give its path"
            ) from None
    return cached_file


def _make_cache_name(url: str) -> str:
    last = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    return re.sub(r"[^\w.-]", "_", last)[-MAX_NAME_CHARS:]


def _download_file(url: str, digest: str, cached_file: Path) -> None:
    """Write a file aside, and under its name once its hash agrees: whoever is killed or fetches too does no harm."""
    cached_file.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=cached_file.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as target, _build_opener().open(url, timeout=READ_TIMEOUT_S) as answer:
            content_hash = hashlib.sha256()
            size = 0
            while piece := answer.read(PIECE_BYTES):
                size += len(piece)
                if size + (answer.length or 0) > MAX_DOWNLOAD_BYTES:  # what is still to come, where the server says it
                    raise URLError(f"it has more than {MAX_DOWNLOAD_BYTES / 1000**3:g} GB")
                content_hash.update(piece)
                target.write(piece)
            if answer.length:
                raise URLError("the connection broke off")
        if content_hash.hexdigest() != digest:
            raise UserError(
                f"data.source {url}: its sha256 is {content_hash.hexdigest()}, but {digest} was expected; "
                "the file was changed, or the sum is that of another file: ask its publisher"
            )
        Path(aside).replace(cached_file)
    finally:
        Path(aside).unlink(missing_ok=True)


def _build_opener() -> request.OpenerDirector:
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
