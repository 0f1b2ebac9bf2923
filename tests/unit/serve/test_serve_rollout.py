"""A candidate beside the champion, and feedback, in this process: who answers, what is counted and stored."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from ganaug_ray.classify import drift
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import DataConfig
from ganaug_ray.core import model_registry
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.errors import UserError
from ganaug_ray.serve import app, sequential_test
from ganaug_ray.serve.feedback_client import call_locally
from ganaug_ray.serve.feedback_ledger import FeedbackLedger, ModelNote
from ganaug_ray.serve.feedback_store import FeedbackStore, measure_usage
from ganaug_ray.serve.inference_queue import BatchCallback
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import LiveModel, ModelVersion
from ganaug_ray.serve.rollout_config import Rollout
from ganaug_ray.serve.service import Service
from ganaug_ray.serve.traffic import Candidate, RolloutTrial
from tests.helpers.serving import CLASSES, encoded, promote


@pytest.fixture
def pets(tmp_path: Path) -> Folder:
    """An experiment with two versions, of which the first is champion."""
    folder = Folder.from_uri(tmp_path / "pets")
    promote(folder, 0)
    promote(folder, 1, size=48)
    model_registry.roll_back(folder / "registry")
    return folder


@contextmanager
def served(
    pets: Folder,
    shelf: Folder | None = None,
    ledger: FeedbackLedger | None = None,
    limits: RequestLimits | None = None,
    on_batch: Sequence[BatchCallback] = (),
    **modes: str | None,
) -> Iterator[TestClient]:
    champion = LiveModel(str(pets))
    rollout = Rollout.from_options(modes.get("shadow"), modes.get("canary"))
    candidate = None
    if rollout:
        candidate = Candidate(rollout, LiveModel(rollout.address, "pets", champion=champion))
    stored = None if shelf is None else FeedbackStore(shelf, CLASSES)
    trial = RolloutTrial(call_locally(ledger or FeedbackLedger(10, 10**6)), candidate, champion, stored, on_batch)
    service = Service(champion, limits or RequestLimits(), on_batch, trial=trial)
    with TestClient(app.build_application(service, []), "http://localhost", raise_server_exceptions=False) as client:
        yield client
    service.shut_down()


def ask(client: TestClient, seed: int) -> dict[str, Any]:
    return client.post("/v1/predict", content=encoded(seed)).json()


def until(client: TestClient, is_so: Callable[[dict], bool]) -> dict[str, Any]:
    """The status, when the model behind has come so far."""
    for _ in range(100_000):
        status = client.get("/v1/rollout").json()
        if is_so(status["feedback"]):
            return status
    raise AssertionError(status)


def answers_of(pets: Folder, version: str, seed: int) -> str:
    (found,) = Classifier.load(pets / "registry" / "versions" / version).predict([encoded(seed)])
    return found.label


def test_shadow_is_compared_but_never_returned(pets: Folder) -> None:
    """A shadow model answers every request for the comparison, but callers only get the champion's answers."""
    with served(pets, shadow=f"{pets}/registry/versions/2") as client:
        said = [ask(client, seed) for seed in range(12)]
        assert {one["version"] for one in said} == {"1"}
        status = until(client, lambda told: told["comparison"] and told["comparison"]["images"] == 12)
        for seed, one in enumerate(said):
            send = {"id": one["predictions"][0]["id"], "label": answers_of(pets, "2", seed)}
            told = client.post("/v1/feedback", json=send).json()
            assert told["predicted"] == one["predictions"][0]["label"]
            assert told["correct"] == (told["predicted"] == send["label"])
            assert not told["stored"]
        status = client.get("/v1/rollout").json()
    found = status["feedback"]["comparison"]
    agree = [one["predictions"][0]["label"] == answers_of(pets, "2", seed) for seed, one in enumerate(said)]
    assert (status["mode"], status["share"], status["candidate"]) == ("shadow", 1.0, "2")
    assert found["agreement"] == pytest.approx(np.mean(agree))
    assert (found["labels"], found["accuracy"]) == (12, {"champion": pytest.approx(np.mean(agree)), "candidate": 1.0})
    assert (found["candidate_alone_right"], found["champion_alone_right"]) == (12 - sum(agree), 0)
    assert found["evidence"] == pytest.approx(sequential_test.compute_evidence(12 - sum(agree), 0))
    assert min(found["milliseconds"].values()) > 0


def test_canary_answers_its_share(pets: Folder) -> None:
    """A canary answers its share of the requests, and every answer names its version."""
    with served(pets, canary=f"{pets}/registry/versions/2:0.5") as client:
        said = [ask(client, seed) for seed in range(40)]
        for seed, one in enumerate(said):
            assert one["predictions"][0]["label"] == answers_of(pets, one["version"], seed)
        by_candidate = sum(one["version"] == "2" for one in said)
        assert 8 <= by_candidate <= 32
        status = until(client, lambda told: told["comparison"]["images"] == by_candidate)
        assert (status["mode"], status["champion"], status["candidate"]) == ("canary", "1", "2")
        pixels = np.zeros((1, 32, 32, 3), np.uint8)
        tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": pixels.ravel().tolist()}
        for path in ("models/pets", "models/pets/versions/1"):
            for _ in range(6):  # the candidate takes other pixels: it is not asked
                answer = client.post(f"/v2/{path}/infer", json={"inputs": [tensor]})
                assert answer.json()["model_version"] == "1"


def test_returned_answers_are_counted_once(pets: Folder) -> None:
    """Every returned answer is counted once and checked for drift by the model that gave it."""
    for version in ("1", "2"):
        folder = pets / "registry" / "versions" / version
        model = Classifier.load(folder)
        images = np.stack([model.preprocess(encoded(seed)) for seed in range(20)])
        folder.write_table(
            drift.REFERENCE_FILE, drift.build_reference(images, images, model.predict_probabilities(images))
        )
    counted: Counter[str] = Counter()

    def on_batch(model: ModelVersion, images_NHWC: np.ndarray, probabilities_NK: np.ndarray) -> None:
        counted[model.version] += len(images_NHWC)
        assert model.drift is not None
        model.drift.observe_batch(images_NHWC, probabilities_NK)

    with served(pets, on_batch=[on_batch], canary=f"{pets}/registry/versions/2:0.5") as client:
        heard = Counter(ask(client, seed)["version"] for seed in range(30))
        status = until(client, lambda told: (told["comparison"] or {"images": 0})["images"] == heard["2"])
    assert counted == heard
    assert min(heard.values()) > 0
    assert (status["drift"]["images"], status["candidate_drift"]["images"]) == (heard["1"], heard["2"])


def test_failing_candidate_loses_no_answer(pets: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a candidate fails, the champion answers, and no request is lost."""
    works = ModelVersion.predict_probabilities

    def fails(self: ModelVersion, images_NHWC: np.ndarray) -> np.ndarray:
        if self.version == "2":
            raise RuntimeError("out of memory")
        return works(self, images_NHWC)

    for mode in ({"canary": f"{pets}/registry/versions/2:1"}, {"shadow": f"{pets}/registry/versions/2"}):
        with monkeypatch.context() as patch, served(pets, **mode) as client:
            patch.setattr(ModelVersion, "predict_probabilities", fails)
            assert [ask(client, seed)["version"] for seed in range(5)] == ["1"] * 5
            if "shadow" in mode:
                assert until(client, lambda told: told["dropped"] == 5)["feedback"]["comparison"] is None


def test_promoted_candidate_ends_rollout(pets: Folder) -> None:
    """A candidate that has become champion is no longer compared with it."""
    with served(pets, canary=f"{pets}/registry/versions/1:1") as client:
        assert ask(client, 0)["version"] == "1"
        assert client.get("/v1/rollout").json()["feedback"]["comparison"] is None


def test_foreign_candidate_is_named_by_hash(pets: Folder, tmp_path: Path) -> None:
    """A candidate from another registry is named by its hash instead of a version number."""
    other = Folder.from_uri(tmp_path / "other")
    record = promote(other, 7)
    with served(pets, canary=f"{other}:1") as client:
        assert ask(client, 0)["version"] == record["model"]


def test_rollout_options_are_parsed_or_refused() -> None:
    """The options of a rollout are read as shadow or canary with a share, and wrong ones are refused."""
    assert Rollout.from_options("runs/a", None) == Rollout("shadow", "runs/a", 1.0)
    assert Rollout.from_options(None, "gs://b/registry:0.25") == Rollout("canary", "gs://b/registry", 0.25)
    assert Rollout.from_options("s3://b/x", None) == Rollout("shadow", "s3://b/x", 1.0)
    assert Rollout.from_options(None, None) is None
    for shadow, canary, says in (("a", "b:1", "one of them"), (None, "a", "MODEL:SHARE"), ("a:2", None, "share 2")):
        with pytest.raises(UserError, match=says):
            Rollout.from_options(shadow, canary)
    taken = [Rollout("canary", "a", 0.1).is_sampled(str(n)) for n in range(2000)]
    assert 130 < sum(taken) < 270


def test_ledger_joins_answers_and_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ledger joins answers and labels in any order and forgets the oldest answers."""
    monkeypatch.setattr("ganaug_ray.serve.feedback_ledger.MAX_ANSWERS", 3)
    ledger = FeedbackLedger()

    def both(id_: str, ours: str, theirs: str, truth: str, is_early: bool) -> None:
        ledger.note([ModelNote(id_, "champion", "1", ours, 1.0)])
        if is_early:
            ledger.label(id_, truth, None)
        ledger.note([ModelNote(id_, "candidate", "2", theirs, 2.0, ("1", "2"))])
        if not is_early:
            ledger.label(id_, truth, None)

    for n in range(40):
        both(str(n), "cat", "dog", "dog", is_early=n % 2 == 0)
    found = ledger.status()["comparison"]
    assert (found["labels"], found["candidate_alone_right"], found["agreement"]) == (40, 40, 0)
    assert (found["verdict"], found["milliseconds"]) == ("better", {"champion": 1.0, "candidate": 2.0})
    assert found["decided_after"] < 40
    assert ledger.label("39", "cat", None) == {"known": True, "labelled": True}
    assert ledger.label("0", "cat", None) == {"known": False}


def test_feedback_becomes_dataset_source(pets: Folder, tmp_path: Path) -> None:
    """Images that come back with a label can be the source of the next dataset, with their provenance."""
    shelf, sent = Folder.from_uri(tmp_path / "feedback"), {}
    with served(pets, shelf, FeedbackLedger(100, 10**7)) as client:
        for seed in range(24):
            kind = ("PNG", "JPEG", "WEBP")[seed % 3]
            content, label = encoded(seed, kind=kind), CLASSES[seed % 4]
            id_ = client.post("/v1/predict", content=content).json()["predictions"][0]["id"]
            files = {"image": ("x", content), "id": (None, id_), "label": (None, label)}
            assert client.post("/v1/feedback", files=files).json()["stored"]
            sent[id_] = content, label
        status = client.get("/v1/rollout").json()
        assert (status["stores_images"], status["feedback"]["stored"]) == (True, 24)
    stored = {path.stem: path for path in Path(str(shelf)).glob("*/*") if path.parent.name in CLASSES}
    assert {id_: (path.read_bytes(), path.parent.name) for id_, path in stored.items()} == sent
    assert measure_usage(shelf) == (24, sum(len(content) for content, _ in sent.values()))

    out = Folder.from_uri(tmp_path / "dataset")
    record = prepare_dataset(DataConfig(source=[str(shelf)], image_size=32), out)
    assert record.classes == sorted(CLASSES)
    rows = out.read_table("split.parquet").to_pylist()
    assert len(rows) == 24
    for row in rows:
        id_ = Path(row["path"]).stem
        assert (row["class"], row["provenance"]) == (sent[id_][1], str(shelf))
        told = json.loads(shelf.read_bytes(f".provenance/{id_}.json"))
        assert (told["label"], told["version"]) == (sent[id_][1], "1")
        assert told["predicted"] in CLASSES


def test_refused_feedback_stores_nothing(pets: Folder, tmp_path: Path) -> None:
    """Feedback that is refused gets a reason, and nothing of it is stored."""
    shelf = Folder.from_uri(tmp_path / "feedback")
    with served(pets, shelf, FeedbackLedger(1, 10**6), RequestLimits(pixels=10_000)) as client:
        ids = [ask(client, seed)["predictions"][0]["id"] for seed in range(4)]

        def send(id_: str, label: str = "cat", image: bytes | None = None) -> tuple[int, str]:
            parts: dict[str, Any] = {"id": (None, id_), "label": (None, label)}
            answer = client.post("/v1/feedback", files=parts | ({} if image is None else {"image": ("x", image)}))
            return answer.status_code, answer.text

        assert send(ids[0], "cow")[0] == 400
        assert send("../../x")[0] == 404
        assert send(ids[0], image=b"<html>")[0] == 415
        assert send(ids[0], image=encoded(0, (200, 200)))[0] == 413
        assert shelf.list_folders() == []
        assert send(ids[0], image=encoded(0))[0] == 200
        assert send(ids[0], image=encoded(0))[0] == 409
        assert "is full" in send(ids[1], image=encoded(1))[1]
        assert measure_usage(shelf)[0] == 1
        assert client.post("/v1/feedback", json={"id": ids[2], "label": "cat"}).json()["stored"] is False
        for wrong in ([], {"id": 3, "label": "cat"}, {"id": ids[3]}, {"id": "x" * 1001, "label": "cat"}):
            assert client.post("/v1/feedback", json=wrong).status_code == 400, wrong
        assert client.post("/v1/feedback", content=b"\xff").status_code == 400
        assert send(ids[3], image=b"")[0] == 400
        told = {"id": ids[3], "label": "cat"}
        assert "cannot be sent in JSON" in client.post("/v1/feedback", json=told | {"image": "eA=="}).text
        assert "curl -F id=ID" in client.post("/v1/feedback", data=told).text
        twice = [("id", (None, ids[3])), ("label", (None, "cat")), ("label", (None, "dog"))]
        assert "label: is given twice" in client.post("/v1/feedback", files=twice).text


def test_feedback_is_disabled_by_default(pets: Folder) -> None:
    """Unless the user asks for it, no answer is remembered and no image is stored."""
    service = Service(LiveModel(str(pets)), RequestLimits())
    with TestClient(app.build_application(service, []), "http://localhost") as client:
        id_ = ask(client, 0)["predictions"][0]["id"]
        answer = client.post("/v1/feedback", json={"id": id_, "label": "cat"})
        assert (answer.status_code, "takes no feedback" in answer.text) == (404, True)
        status = client.get("/v1/rollout").json()
        assert (status["candidate"], status["feedback"], status["stores_images"]) == (None, None, False)
        assert "/v1/feedback" not in client.get("/openapi.json").json()["paths"]
    service.shut_down()


def test_invalid_class_folder_is_refused(tmp_path: Path) -> None:
    """A feedback store with a class that cannot be a folder name is refused at once."""
    with pytest.raises(UserError, match="'a/b' cannot name one"):
        FeedbackStore(Folder.from_uri(tmp_path), ["cat", "a/b"])
