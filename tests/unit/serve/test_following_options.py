"""The advice in a message on a certificate, a candidate or feedback, followed with `ganaug serve`."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from cryptography.hazmat.primitives import serialization

from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import DiskFull, StageFailed, UserError
from ganaug_ray.runtime import cluster, hardware
from ganaug_ray.serve import auth, launch, serve_config
from ganaug_ray.serve.serve_config import ListenAddress
from tests.helpers.refusals import refuse
from tests.helpers.serving import free_port, promote
from tests.unit.data.test_web import certificate


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The settings of what was served; it ends at once."""
    settings: list[Any] = []
    monkeypatch.setattr("os.environ", os.environ.copy())  # serving chooses the environment for Ray
    monkeypatch.delenv(auth.KEY_VARIABLE, raising=False)
    monkeypatch.setattr(launch, "_serve_until_interrupted", lambda first, *rest: settings.append(first))
    return settings


def make_model(folder: Path, seed: int = 0, **renamed: str) -> str:
    """Promote a model in an experiment, with some classes renamed; return the experiment."""
    number = promote(Folder.from_uri(folder), seed)["version"]
    version = Folder.from_uri(folder / "registry" / "versions" / str(number))
    record = version.read_json("model.json")
    version.write_json("model.json", record | {"classes": [renamed.get(name, name) for name in record["classes"]]})
    return str(folder)


def serve(model: str, pem: tuple[str, str] | tuple[None, None] = (None, None), **options: Any) -> None:
    launch.serve_model(model, ListenAddress("127.0.0.1", free_port(), *pem), **options)


@pytest.mark.parametrize("wrong", ["no PEM", "no file", "an encrypted key", "the key of another"])
def test_certificate_is_taken_with_its_key(wrong: str, served: list[Any], tmp_path: Path) -> None:
    """What is no certificate with its unencrypted key is refused, and PEM files of the two are taken."""
    model = make_model(tmp_path / "pets")
    pem = certificate(tmp_path)
    key = tmp_path / "key.pem"
    if wrong == "no PEM":
        key.write_bytes(b"0\x82")
    elif wrong == "an encrypted key":
        secret = serialization.load_pem_private_key(pem.read_bytes(), None)
        encryption = serialization.BestAvailableEncryption(b"hush")
        key.write_bytes(secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    elif wrong == "the key of another":
        (tmp_path / "other").mkdir()
        key = certificate(tmp_path / "other")
    with pytest.raises(UserError, match=r"not a certificate and its unencrypted key, as PEM files \("):
        serve(model, (str(pem), str(key)))
    key.write_bytes(pem.read_bytes())  # both are in it
    serve(model, (str(pem), str(key)))
    assert served[0].tls


@pytest.mark.parametrize("option", [{"shadow": "{}"}, {"canary": "{}:0.5"}])
def test_candidate_has_the_classes_of_the_champion(option: dict[str, str], served: list[Any], tmp_path: Path) -> None:
    """A candidate of other classes is refused before anything is started, and one of the same classes is taken."""
    model = make_model(tmp_path / "pets")
    other = make_model(tmp_path / "others", 1, cat="lynx")
    turned = make_model(tmp_path / "turned", 1, cat="dog", dog="cat")

    def serve_beside(candidate: str) -> None:
        serve(model, **{name: text.format(candidate) for name, text in option.items()})

    for candidate, found in ((other, "only one of the two has cat, lynx"), (turned, "in another order")):
        with pytest.raises(UserError, match=rf"than the champion \({found}\); give a model with the same classes"):
            serve_beside(candidate)
    serve_beside(make_model(tmp_path / "same", 1))
    assert len(served) == 1


@pytest.mark.parametrize("way", ["leave out --feedback", "a model whose classes have other names"])
def test_feedback_needs_classes_that_are_folders(way: str, served: list[Any], tmp_path: Path) -> None:
    """Images of a class that cannot name a folder are not stored: without --feedback, or renamed, it is served."""
    model = make_model(tmp_path / "pets", cat="cat/kitten")
    out = str(tmp_path / "returned")
    with pytest.raises(UserError, match=rf"'cat/kitten' cannot name one; .*{way}"):
        serve(model, feedback=out)
    if way.startswith("leave"):
        serve(model)
    else:
        serve(make_model(tmp_path / "renamed"), feedback=out)
        assert Path(out).is_dir()
    assert len(served) == 1


@pytest.mark.parametrize("way", ["install it", "--gpus 0"])
def test_unseen_gpus_are_mended_or_left_alone(
    way: str, served: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPUs without a driver are not served on: once it is installed they are, and with --gpus 0 the CPUs are."""
    model = make_model(tmp_path / "pets")
    gpus = 0
    (tmp_path / "nvidia0").touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(hardware, "DEVICES", tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "init", Mock(side_effect=RuntimeError("Found no NVIDIA driver on your system")))
    match = refuse(r"no NVIDIA driver; (install it) \(.*; or give (--gpus 0)$", serve, model)
    assert way in match.groups()
    if way == "install it":
        gpus = 1
        serve(model)
    else:
        serve(model, gpus=0.0)
    assert bool(served[0].gpus) == (way == "install it")


@pytest.mark.parametrize("option", ["--config", "--feedback"])
def test_output_goes_where_it_can_be_written(option: str, served: list[Any], tmp_path: Path) -> None:
    """What cannot be written is refused with the option, which is taken with another place."""
    model = make_model(tmp_path / "pets")
    (tmp_path / "file").touch()
    name = option.removeprefix("--")
    advice = rf"^{option} .*: cannot be written \(.*\); give another {option}$"
    refuse(advice, serve, model, **{name: str(tmp_path / "file" / "new")})
    serve(model, **{name: str(tmp_path / "new")})
    assert (tmp_path / "new").exists()


def test_host_is_an_address_of_this_machine(served: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address of another machine cannot be listened to, whatever the port: one of this machine is."""
    monkeypatch.setenv(auth.KEY_VARIABLE, "long-enough-a-key")
    model = make_model(tmp_path / "pets")
    port = free_port()
    with pytest.raises(UserError, match=r"cannot listen there \(.*\); give --host an address of this machine$"):
        launch.serve_model(model, ListenAddress("203.0.113.9", port, None, None))
    for host in ("127.0.0.1", "0.0.0.0"):
        launch.serve_model(model, ListenAddress(host, port, None, None))
    assert len(served) == 2


@pytest.mark.parametrize("failing", [(cluster, "start_private"), (serve_config, "start_serve")])
def test_log_of_a_failed_start_has_the_reason(
    failing: tuple[Any, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What Ray printed before serving failed is in the file of the message; with --verbose it is on the terminal."""
    error: Exception = RuntimeError("no replica")

    def fail(*arguments: object, **options: object) -> None:
        os.write(2, b"the reason\n")  # as Ray's processes print
        raise error

    for module, name in ((cluster, "start_private"), (cluster, "disconnect"), (serve_config, "stop_serve")):
        monkeypatch.setattr(module, name, lambda *arguments, **options: None)
    monkeypatch.setattr(*failing, fail)
    settings: Any = SimpleNamespace(max_replicas=1, cpus=1, gpus=0)
    with pytest.raises(StageFailed, match=r"^serving could not be started: no replica; see ") as caught:
        launch._serve_until_interrupted(settings, ListenAddress(), verbose=False)
    log = Path(re.sub(".*; see ", "", str(caught.value)))
    assert "the reason" in log.read_text()
    log.unlink()
    assert "the reason" not in capfd.readouterr().err
    with pytest.raises(StageFailed, match=r"^serving could not be started: no replica$"):
        launch._serve_until_interrupted(settings, ListenAddress(), verbose=True)
    assert "the reason" in capfd.readouterr().err
    error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(DiskFull, match="make room"):
        launch._serve_until_interrupted(settings, ListenAddress(), verbose=True)
    log.touch()
    monkeypatch.setattr(launch, "create_log_file", lambda command: log)
    with pytest.raises(DiskFull):
        launch._serve_until_interrupted(settings, ListenAddress(), verbose=False)
    assert not log.exists(), "no message names it"
