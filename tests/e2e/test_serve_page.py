"""The web page of the service in a real browser: upload, result, heat map, error, several files, the key, a phone."""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image

from ganaug_ray.core.storage import Folder
from ganaug_ray.serve import app
from ganaug_ray.serve.feedback_client import call_locally
from ganaug_ray.serve.feedback_ledger import FeedbackLedger
from ganaug_ray.serve.feedback_store import FeedbackStore
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import LiveModel
from ganaug_ray.serve.service import Service
from ganaug_ray.serve.traffic import RolloutTrial
from tests.helpers import browser
from tests.helpers.browser import Tab
from tests.helpers.serving import CLASSES, encoded, promote

pytestmark = pytest.mark.skipif(
    browser.CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)
KEY = "correct-horse"
SHOTS = os.environ.get("GANAUG_TEST_SHOTS")  # a folder for screenshots to look at


@contextmanager
def served(service: Service, *keys: str) -> Iterator[str]:
    """The application behind a web server of this process; its address."""
    server = uvicorn.Server(uvicorn.Config(app.build_application(service, keys), port=0, log_level="error"))
    started = threading.Event()
    startup = server.startup

    async def startup_and_say(*arguments: object, **more: object) -> None:
        await startup(*arguments, **more)  # type: ignore[arg-type]  # passed on as they came
        started.set()

    server.startup = startup_and_say  # type: ignore[method-assign]  # uvicorn has no event for it
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(60)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = Folder.from_uri(tmp_path_factory.mktemp("serve") / "pets")
    promote(folder, 0)
    service = Service(LiveModel(str(folder)), RequestLimits(bytes=300_000))
    yield service
    service.shut_down()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser.tab(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [
        tmp_path / name for name in ("a cat on a very long sofa with a very long name indeed.png", "b.jpg", "c.gif")
    ]
    for i, file in enumerate(found):
        file.write_bytes(encoded(i, (200, 300), {".png": "PNG", ".jpg": "JPEG", ".gif": "GIF"}[file.suffix]))
    return found


def shot(tab: Tab, name: str, tmp_path: Path) -> np.ndarray:
    path = Path(SHOTS or tmp_path) / f"{name}.png"
    tab.screenshot(path)
    return np.asarray(Image.open(path).convert("L"))


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (1100, True), (390, False), (390, True)])
def test_page_shows_predictions_and_heat_map(
    service: Service, tab: Tab, files: list[Path], tmp_path: Path, width: int, dark: bool
) -> None:
    """The page shows every image with its probabilities and a heat map, on any screen."""
    with served(service) as url:
        tab.asked.clear()
        tab.show(url, width, 1200, dark)
        tab.until("!document.getElementById('card').hidden")
        assert tab.run("document.querySelector('h1').textContent") == "pets"
        tab.choose("#files", *files)
        tab.until("document.querySelectorAll('.why:not([hidden])').length === 3")
        found = tab.run("""[...document.querySelectorAll('article')].map(a => ({
            label: a.querySelector('.label').textContent, name: a.querySelector('figcaption').textContent,
            shown: a.querySelector('.picture').naturalWidth,
            bars: [...a.querySelectorAll('meter')].map(m => m.value) }))""")
        assert [one["name"] for one in found] == [file.name for file in reversed(files)], "the newest on top"
        for one, file in zip(found, reversed(files), strict=True):
            (expected,) = service.champion.current.classifier.predict([file.read_bytes()])
            assert one["label"] == expected.label
            assert one["bars"] == pytest.approx(sorted(expected.probabilities.values(), reverse=True), abs=1e-4)
            assert one["shown"] == 300
        painted = "getComputedStyle(document.querySelector('.bars li')).backgroundImage"
        assert tab.run(painted).startswith("linear-gradient"), "a bar as high as its row"
        tab.run("document.querySelector('.why').click()")
        tab.until("(document.querySelector('.heat img') || {}).naturalWidth === 256")
        tab.run("document.getElementById('card').open = true")
        assert "unclear" in tab.run("document.getElementById('facts').textContent")
        assert tab.run("document.documentElement.scrollWidth") <= width, "no scrolling sideways"
        pixels = shot(tab, f"page-{width}-{'dark' if dark else 'light'}", tmp_path)
        assert (np.median(pixels) > 128) != dark
        hosts = {address.split("/")[2] for address in tab.asked if address.startswith("http")}
        assert hosts == {url.removeprefix("http://")}, "nothing comes from elsewhere"


def test_page_explains_refused_images(service: Service, tab: Tab, files: list[Path], tmp_path: Path) -> None:
    """The page says why an image is refused."""
    bad, large = tmp_path / "bad.jpg", tmp_path / "large.bmp"
    bad.write_bytes(b"<html>not an image</html>")
    large.write_bytes(bytes(300_001))
    with served(service) as url:
        tab.show(url, 390, 900)
        tab.choose("#files", bad, files[0], large)
        tab.until("document.querySelectorAll('.failed').length === 2 && document.querySelector('.why:not([hidden])')")
        said = tab.run("""Object.fromEntries([...document.querySelectorAll('article')].map(a =>
            [a.querySelector('figcaption').textContent, a.querySelector('.took').textContent]))""")
        assert "not an image" in said["bad.jpg"]
        assert "longer than 300000 bytes" in said["large.bmp"]
        shot(tab, "errors", tmp_path)
        tab.run("document.getElementById('clear').click()")
        assert tab.run("document.querySelectorAll('article').length") == 0


def test_page_requests_and_uses_key(service: Service, tab: Tab, files: list[Path], tmp_path: Path) -> None:
    """The page asks for an API key where one is needed, and uses it."""
    with served(service, KEY) as url:
        tab.show(url, 1100, 900)
        tab.until("document.getElementById('notice').textContent.includes('needs an API key')")
        tab.choose("#files", files[1])
        tab.until("document.querySelector('.failed')")
        assert "choose the image again" in tab.run("document.getElementById('notice').textContent")
        shot(tab, "key", tmp_path)
        tab.run(f"""{{ const key = document.getElementById('key'); key.value = '{KEY}';
            key.dispatchEvent(new Event('change')) }}""")
        tab.choose("#files", files[1])
        tab.until("document.querySelector('.why:not([hidden])')")
        assert tab.run("document.querySelector('h1').textContent") == "pets"


def test_page_accepts_paste_drop_and_camera(service: Service, tab: Tab, files: list[Path]) -> None:
    """The page accepts images that are pasted, dropped or taken with the camera."""
    give = """(async () => {{ const held = new DataTransfer();
        const bytes = await (await fetch('icon.svg')).blob();
        held.items.add(new File([bytes], '{kind}.svg'));
        const event = new {type}('{kind}', {{ {field}: held, bubbles: true, cancelable: true }});
        dispatchEvent(event); return event.defaultPrevented }})()"""
    with served(service) as url:
        tab.show(url, 1100, 900)
        assert tab.run(give.format(kind="drop", type="DragEvent", field="dataTransfer"))
        tab.run(give.format(kind="paste", type="ClipboardEvent", field="clipboardData"))
        tab.until("document.querySelectorAll('.failed').length === 2")  # an SVG is refused, which is answer enough
        names = tab.run("[...document.querySelectorAll('figcaption')].map(c => c.textContent)")
        assert {"drop.svg", "paste.svg"} <= set(names)
        captures = tab.run("document.getElementById('camera').getAttribute('capture')")
        assert captures == "environment", "a phone opens its camera"
        tab.choose("#camera", files[1])
        tab.until("document.querySelectorAll('.why:not([hidden])').length === 1")


@contextmanager
def service_with_feedback(pets: Folder, shelf: Folder) -> Iterator[Service]:
    champion = LiveModel(str(pets))
    store = FeedbackStore(shelf, CLASSES)
    trial = RolloutTrial(call_locally(FeedbackLedger(10, 10**6)), None, champion, store, ())
    service = Service(champion, RequestLimits(), trial=trial)
    yield service
    service.shut_down()


def test_wrong_answer_is_corrected_on_the_page(tab: Tab, files: list[Path], tmp_path: Path) -> None:
    """Where feedback is on, the page sends what an image really was, and the image if the user says so."""
    pets, shelf = Folder.from_uri(tmp_path / "pets"), Folder.from_uri(tmp_path / "shelf")
    promote(pets, 0)
    with service_with_feedback(pets, shelf) as service, served(service) as url:
        tab.show(url, 390, 900)
        tab.choose("#files", files[1])
        tab.until("document.querySelector('.feedback:not([hidden])')")
        (expected,) = service.champion.current.classifier.predict([files[1].read_bytes()])
        truth = next(name for name in CLASSES if name != expected.label)
        tab.run(f"""document.querySelector('.wrong').click();
            document.querySelector('.feedback select').value = {truth!r};
            document.querySelector('.feedback input').checked = true""")
        assert tab.run("document.documentElement.scrollWidth") <= 390
        shot(tab, "feedback", tmp_path)
        tab.run("document.querySelector('.feedback form').requestSubmit()")
        tab.until("document.querySelector('.thanks').textContent")
        said = tab.run("document.querySelector('.thanks').textContent")
        assert said == f"Thank you: counted as {truth}, and the image is stored."
        status = json.loads(urllib.request.urlopen(f"{url}/v1/rollout").read())
        assert (status["feedback"]["labels"], status["feedback"]["stored"]) == (1, 1)


def test_page_has_no_feedback_where_it_is_off(service: Service, tab: Tab, files: list[Path]) -> None:
    """Where the server takes no feedback, the page does not ask for any."""
    with served(service) as url:
        tab.show(url, 390, 900)
        tab.choose("#files", files[1])
        tab.until("document.querySelector('.why:not([hidden])') && !document.getElementById('card').hidden")
        assert tab.run("document.querySelector('.feedback').hidden")


@pytest.mark.parametrize("width", [1100, 390])
def test_routes_are_tried_on_the_description(
    service: Service, tab: Tab, files: list[Path], tmp_path: Path, width: int
) -> None:
    """The description of the API has an example of each route, and sends requests: an image, a tensor, a question."""
    with served(service, KEY) as url:
        tab.asked.clear()
        tab.show(f"{url}/docs", width, 900)
        tab.until("document.querySelectorAll('.route').length > 12")
        tab.run(f"""{{ const key = document.getElementById('key'); key.value = '{KEY}';
            key.dispatchEvent(new Event('change')) }}""")
        tab.show(f"{url}/docs?again", width, 900)
        tab.until("document.querySelector('[data-route=\"GET /healthz\"] .curl')?.textContent")
        line = tab.run("document.querySelector('.curl').textContent")
        assert line.startswith('curl -H "X-API-Key: $GANAUG_API_KEY" --data-binary @image.jpg'), line
        for kind, name in (("GET", "/v1/model"), ("POST", "/v2/models/{name}/infer"), ("POST", "/v1/predict")):
            form = f"document.querySelector('[data-route=\"{kind} {name}\"] form')"
            if name == "/v1/predict":
                tab.choose("[data-route='POST /v1/predict'] input[type=file]", files[1])
            tab.run(f"{form}.requestSubmit()")
            tab.until(f"{form}.querySelector('.status').textContent.startsWith('200')")
        (expected,) = service.champion.current.classifier.predict([files[1].read_bytes()])
        reply = tab.run("document.querySelector('[data-route=\"POST /v1/predict\"] .reply').textContent")
        assert json.loads(reply)["predictions"][0]["label"] == expected.label
        assert tab.run("document.documentElement.scrollWidth") <= width
        shot(tab, f"docs-try-{width}", tmp_path)
        hosts = {address.split("/")[2] for address in tab.asked if address.startswith("http")}
        assert hosts == {url.removeprefix("http://")}, "nothing comes from elsewhere"


def test_api_description_page_is_readable(service: Service, tab: Tab, tmp_path: Path) -> None:
    """The description of the API lists all routes and fits a narrow screen."""
    with served(service) as url:
        tab.show(f"{url}/docs", 390, 900)
        tab.until("document.querySelectorAll('#routes details').length > 8")
        assert tab.run("document.documentElement.scrollWidth") <= 390
        shot(tab, "docs", tmp_path)
