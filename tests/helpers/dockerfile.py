"""Reads cluster/Dockerfile, and does what its health check does."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.conftest import ROOT

NODE_PORT, SERVER_PORT = 52365, 8000  # that the health check asks: of Ray's agent, and of `ganaug serve`


def read_instructions() -> list[str]:
    """Return the instructions of the image, one a line."""
    text = (ROOT / "cluster" / "Dockerfile").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def read_health_command() -> str:
    """Return the command of the health check, as its shell gets it."""
    (line,) = [line for line in read_instructions() if line.startswith("HEALTHCHECK ")]
    return line.partition(" CMD ")[2]


def is_healthy(node_port: int, server_port: int) -> bool:
    """Run the health check of the image, with other ports in place of its own; skip the test without wget."""
    if shutil.which("wget") is None:
        pytest.skip("wget is not installed")
    command = read_health_command()
    assert f":{NODE_PORT}/" in command
    assert f":{SERVER_PORT}/" in command
    command = command.replace(f":{NODE_PORT}/", f":{node_port}/").replace(f":{SERVER_PORT}/", f":{server_port}/")
    return subprocess.run(["sh", "-c", command], check=False, capture_output=True).returncode == 0
