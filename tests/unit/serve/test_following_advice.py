"""The advice in a message on serving, followed on the command line or in the request."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.serve import auth, launch
from ganaug_ray.serve.deployment_settings import DeploymentSettings
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.problem_details import ProblemError
from ganaug_ray.serve.ray_deployment import read_required_keys
from ganaug_ray.serve.rollout_config import Rollout
from ganaug_ray.serve.serve_config import ListenAddress, check_gpus, choose_gpus, choose_replicas, parse_replicas
from tests.helpers.serving import free_port, promote

KEY = "long-enough-a-key"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A promoted model; what would serve it ends at once."""
    monkeypatch.setattr("os.environ", os.environ.copy())  # serving chooses the environment for Ray
    monkeypatch.delenv(auth.KEY_VARIABLE, raising=False)
    monkeypatch.setattr(launch, "_serve_until_interrupted", lambda *arguments: None)
    promote(Folder.from_uri(tmp_path / "pets"), 0)
    return str(tmp_path / "pets")


@pytest.mark.parametrize("advice", [f"set {auth.KEY_VARIABLE}", "give --key-file"])
def test_key_opens_server_to_others(model: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that other machines could reach starts once there is a key, from either place that is named."""
    where = ListenAddress("0.0.0.0", free_port(), None, None)
    with pytest.raises(UserError, match=auth.KEY_VARIABLE) as caught:
        launch.serve_model(model, where)
    assert advice in str(caught.value)
    file = None
    if advice == "give --key-file":
        file = tmp_path / "keys"
        file.write_text(f"{KEY}\n")
    else:
        monkeypatch.setenv(auth.KEY_VARIABLE, KEY)
    launch.serve_model(model, where, key_file=file and str(file))


@pytest.mark.parametrize("followed", ["both", "neither"])
def test_certificate_and_key_go_together(model: str, followed: str, tmp_path: Path) -> None:
    """A certificate without its key is refused; a server on a cluster is described with both, or with neither."""
    out = str(tmp_path / "serve.yaml")
    with pytest.raises(UserError, match="give both or neither"):
        launch.serve_model(model, ListenAddress("127.0.0.1", 8000, "/c.pem", None), config=out)
    certificate, key = ("/c.pem", "/k.pem") if followed == "both" else (None, None)
    launch.serve_model(model, ListenAddress("127.0.0.1", 8000, certificate, key), config=out)
    assert ("/c.pem" in Path(out).read_text()) == (followed == "both")


@pytest.mark.parametrize(
    ("content", "advice", "followed"),
    [("short\n", "give a longer one", f"{KEY}\n"), ("\n", "one a line", f"{KEY}\n\n")],
)
def test_key_file_is_read_once_mended(tmp_path: Path, content: str, advice: str, followed: str) -> None:
    """A file of keys is read once it holds what the message asks for."""
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(UserError, match=advice):
        auth.read_keys(str(file))
    file.write_text(followed)
    assert KEY in auth.read_keys(str(file))


@pytest.mark.parametrize("header", ["Authorization: Bearer", "X-API-Key"])
def test_advised_headers_carry_the_key(header: str) -> None:
    """A request without a key is told of two headers, and passes with either."""
    keyring = auth.Keyring([KEY])
    with pytest.raises(ProblemError) as caught:
        keyring.check_headers({})
    assert f"`{header}" in caught.value.detail
    name, _, scheme = header.partition(": ")
    keyring.check_headers({name.lower().encode(): f"{scheme} {KEY}".strip().encode()})


@pytest.mark.parametrize(
    ("canary", "address"),
    [
        ("pets", "pets"),
        ("pets:", "pets"),
        ("pets:10%", "pets"),
        ("s3://bucket/pets", "s3://bucket/pets"),
        ("s3://bucket/pets:ten", "s3://bucket/pets"),
        ("s3://host:80/pets", "s3://host:80/pets"),
    ],
)
def test_canary_is_taken_as_exemplified(canary: str, address: str) -> None:
    """The example in the message is the same model with a share."""
    with pytest.raises(UserError, match="such as") as caught:
        Rollout.from_options(None, canary)
    example = str(caught.value).partition("such as ")[2]
    assert Rollout.from_options(None, example) == Rollout("canary", address, 0.1)


@pytest.mark.parametrize(
    ("given", "advice", "followed"),
    [
        ({"shadow": "pets", "canary": "pets:0.1"}, "give one of them", {"shadow": "pets", "canary": None}),
        ({"shadow": "pets", "canary": "pets:0.1"}, "give one of them", {"shadow": None, "canary": "pets:0.1"}),
        ({"shadow": None, "canary": "pets:2"}, "and up to 1", {"shadow": None, "canary": "pets:1"}),
    ],
)
def test_rollout_is_taken_once_advice_is(given: dict[str, Any], advice: str, followed: dict[str, Any]) -> None:
    """A rollout's options are taken once they are as the message says."""
    with pytest.raises(UserError, match=advice):
        Rollout.from_options(**given)
    assert Rollout.from_options(**followed)


def test_listed_limits_are_taken() -> None:
    """A limit of another name is refused with the names that there are, and each of these is one."""
    with pytest.raises(UserError, match="there is no limit 'pictures'; they are") as caught:
        RequestLimits.from_settings(["pictures=8"])
    names = str(caught.value).partition("they are ")[2].split(", ")
    limits = RequestLimits.from_settings([f"{name}=8" for name in names])
    assert {getattr(limits, name) for name in names} == {8}


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_gpus_and_replicas_are_taken_as_advised(gpus: int) -> None:
    """A share that is exemplified, the GPUs that there are, and the replicas that have room are taken."""
    hardware = Hardware.of_one_machine(8, gpus)
    with pytest.raises(UserError, match="such as") as caught:
        check_gpus(1.5)
    check_gpus(float(str(caught.value).partition("such as ")[2].partition(",")[0]))
    with pytest.raises(UserError, match=r"give --gpus \d, or leave it out$") as caught:
        choose_gpus(4, hardware)
    match = re.search(r"give --gpus (\d)", str(caught.value))
    assert match
    assert choose_gpus(float(match[1]), hardware) == gpus
    assert choose_gpus(None, hardware) <= gpus
    with pytest.raises(UserError, match=r"--gpus 0$") as caught:
        choose_replicas((4, 8), hardware, gpus=1)
    assert choose_replicas((4, 8), hardware, gpus=0) == (4, 8)
    match = re.search(r"give --replicas (\d), or", str(caught.value))
    assert bool(match) == bool(gpus)
    if match:
        assert choose_replicas((int(match[1]), 8), hardware, gpus=1) == (gpus, gpus)


@pytest.mark.parametrize("advice", [f"set {auth.KEY_VARIABLE}", "give --key-file"])
def test_replica_starts_with_a_key(advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica without a key that it needs starts with one, from either place that is named."""
    monkeypatch.delenv(auth.KEY_VARIABLE, raising=False)
    with pytest.raises(UserError, match=advice):
        read_required_keys(DeploymentSettings("pets"))
    if advice.startswith("set"):
        monkeypatch.setenv(auth.KEY_VARIABLE, KEY)
        assert read_required_keys(DeploymentSettings("pets"))
    else:
        (tmp_path / "keys").write_text(f"{KEY}\n")
        assert read_required_keys(DeploymentSettings("pets", key_file=str(tmp_path / "keys")))


def test_replica_with_tls_starts_without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that answers by https alone starts once Ray's proxy is not asked for."""
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    monkeypatch.setenv(auth.KEY_VARIABLE, KEY)
    with pytest.raises(UserError, match="start Ray without RAY_SERVE_ENABLE_HA_PROXY") as caught:
        read_required_keys(DeploymentSettings("pets", tls=True))
    monkeypatch.delenv(str(caught.value).rpartition(" ")[2])
    assert read_required_keys(DeploymentSettings("pets", tls=True))


def test_examples_of_numbers_are_taken() -> None:
    """The examples for --replicas, and a positive limit, are what is taken."""
    with pytest.raises(UserError, match="--replicas many") as caught:
        parse_replicas("many")
    examples = re.findall(r"such as ([\d:]+)", str(caught.value))
    assert [parse_replicas(example) for example in examples] == [(2, 2), (1, 8)]
    with pytest.raises(UserError, match="positive number"):
        RequestLimits.from_settings(["images=0"])
    assert RequestLimits.from_settings(["images=1"]).images == 1
