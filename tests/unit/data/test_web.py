"""Files behind https are fetched once, are what their sha256 says, and come by https alone."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ganaug_ray.data.sources import raw, web
from ganaug_ray.errors import UserError

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REDIRECTS = {"/moved.zip": "/cats.zip", "/away.zip": "http://127.0.0.1/cats.zip", "/file.zip": "file:///etc/hosts"}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path in REDIRECTS:
            self.send_response(302)
            self.send_header("Location", REDIRECTS[self.path])
            self.end_headers()
        elif self.path in ("/cats.zip", "/broken.zip"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT if self.path == "/cats.zip" else CONTENT[:5000])
        elif self.path == "/endless.zip":  # does not say how long it is
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CONTENT)
        else:
            self.send_error(404)

    def log_message(self, *args: object) -> None:
        pass


def certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that it signs itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    itself = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + itself.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ThreadingHTTPServer, Path]]:
    pem = certificate(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        served.socket = context.wrap_socket(served.socket, server_side=True)
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield served, pem
        served.shutdown()
        thread.join()


@pytest.fixture
def site(server: tuple[ThreadingHTTPServer, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server's address; it is trusted, and the cache is empty."""
    served, pem = server
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    return f"https://127.0.0.1:{served.server_port}"


def refused(source: str, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        web.fetch_file(source)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert all(word in message for word in (source.partition("#")[0], *words)), message


def cached(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["cats.zip", "moved.zip", "endless.zip"])
def test_verified_download_is_cached(site: str, tmp_path: Path, name: str) -> None:
    """A file with the right SHA-256 is kept in the cache under that hash."""
    path = web.fetch_file(f"{site}/{name}#sha256={SHA256.upper()}")
    assert path.read_bytes() == CONTENT
    assert path.parent == tmp_path / "ganaug"
    assert cached(tmp_path) == [f"{SHA256}-{name}"]


def test_source_reads_cached_copy(site: str) -> None:
    """A source on the web is read from the copy that was fetched."""
    folder, name = raw.open_file(f"{site}/cats.zip#sha256={SHA256}")
    assert name.endswith("cats.zip")
    assert folder.read_bytes(name) == CONTENT


def test_cached_file_needs_no_network(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the cache needs no network."""
    source = f"{site}/cats.zip#sha256={SHA256}"
    path = web.fetch_file(source)
    monkeypatch.setattr(web, "_download_file", lambda *arguments: pytest.fail("it asked the server again"))
    assert web.fetch_file(source) == path


def test_parallel_downloads_share_a_file(site: str, tmp_path: Path) -> None:
    """Several parallel downloads of an address get the same single file."""
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(web.fetch_file, [f"{site}/cats.zip#sha256={SHA256}"] * 4))
    assert [path.read_bytes() for path in paths] == [CONTENT]
    assert len(cached(tmp_path)) == 1


def test_wrong_sha256_is_refused(site: str, tmp_path: Path) -> None:
    """A file with another SHA-256 is refused with both hashes and not kept."""
    refused(f"{site}/cats.zip#sha256={'0' * 64}", SHA256, "0" * 64)
    assert cached(tmp_path) == []


@pytest.mark.parametrize("end", ["", "#", "#sha256=abc", f"#md5={SHA256}"])
def test_missing_sha256_says_what_to_write(site: str, end: str) -> None:
    """Without a SHA-256 the error says what to write."""
    refused(f"{site}/cats.zip{end}", f"write {site}/cats.zip#sha256=<")


def test_plain_http_is_refused(site: str) -> None:
    """An address with plain HTTP is refused."""
    refused(f"{site.replace('https', 'http')}/cats.zip#sha256={SHA256}", "give an https:// address")


@pytest.mark.parametrize("name", ["away.zip", "file.zip"])
def test_redirect_must_stay_https(site: str, tmp_path: Path, name: str) -> None:
    """A redirect to anything but HTTPS is refused."""
    refused(f"{site}/{name}#sha256={SHA256}", REDIRECTS[f"/{name}"], "not")
    assert cached(tmp_path) == []


@pytest.mark.parametrize("name", ["cats.zip", "endless.zip"])
def test_oversized_download_is_stopped(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A file that is too large is not fetched to its end."""
    monkeypatch.setattr(web, "MAX_DOWNLOAD_BYTES", len(CONTENT) - 1)
    refused(f"{site}/{name}#sha256={SHA256}", "more than", "GB")
    assert cached(tmp_path) == []


def test_download_failures_are_explained(site: str, tmp_path: Path) -> None:
    """A missing file, a broken connection and an unreachable server each have a clear message."""
    refused(f"{site}/gone.zip#sha256={SHA256}", "404", "download the file yourself")
    refused(f"{site}/broken.zip#sha256={SHA256}", "broke off")
    refused(f"https://127.0.0.1:1/cats.zip#sha256={SHA256}", "Connection refused")
    assert cached(tmp_path) == []


def test_untrusted_server_is_refused(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without a trusted certificate is refused."""
    monkeypatch.delenv("SSL_CERT_FILE")
    refused(f"{site}/cats.zip#sha256={SHA256}", "CERTIFICATE_VERIFY_FAILED")


def test_cache_name_stays_inside_cache(site: str, tmp_path: Path) -> None:
    """The name in an address cannot lead out of the cache."""
    assert web._make_cache_name(f"{site}/a/..%2F..%2Fcats%00.zip?x=1") == "cats_.zip"
    assert web._make_cache_name(f"{site}/{'a' * 300}.zip").endswith("a.zip")


def test_signed_link_hides_its_signature(site: str) -> None:
    """A signed link is refused, and the message does not repeat its signature."""
    with pytest.raises(UserError, match="credentials") as caught:
        web.fetch_file(f"{site}/cats.zip?X-Amz-Signature=hush#sha256={SHA256}")
    assert "hush" not in str(caught.value)
