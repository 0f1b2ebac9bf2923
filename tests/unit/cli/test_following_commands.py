"""The advice in a message on a command's arguments, followed in the same folder with the words of the message."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.addresses import resolve_source
from ganaug_ray.cli import submit
from ganaug_ray.cli.runs import open_home
from ganaug_ray.config import DataConfig
from ganaug_ray.config.examples import copy_example
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest.scan import survey_without_storing
from ganaug_ray.errors import UserError
from ganaug_ray.gan import png_export
from ganaug_ray.pipeline import run_job, sequential_plan
from ganaug_ray.pipeline.experiments import open_found_experiment
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.runtime import cluster
from ganaug_ray.runtime.hardware import Hardware
from tests.conftest import DIGITS, TINY
from tests.helpers import job_client, sites
from tests.helpers.labelled import lay_out

ADDRESS = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, where experiments go to runs/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GANAUG_HOME", raising=False)


def call(*arguments: str) -> str:
    """Call ganaug, and return what it prints. Raises what it ends with."""
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refuse(advice: str, *arguments: str) -> re.Match[str]:
    """Return where the advice stands in the message that a command ends with."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    match = re.search(advice, str(caught.value))
    assert match, str(caught.value)
    return match


def claim(folder: str, *settings: str) -> Run:
    """Begin an experiment of the digits."""
    run = Run(Folder.from_uri(folder))
    run.claim_folder(load_job(DIGITS, [*TINY, *settings]))
    return run


def test_listed_kinds_have_a_schema() -> None:
    """Each kind that the message names is printed."""
    match = refuse("expected one of (job) and (space)", "schema", "jobs")
    assert all('"properties"' in call("schema", kind) for kind in match.groups())


def test_listed_examples_are_copied() -> None:
    """Each example that the message names is copied, and a second time under another name."""
    names = refuse("expected one of (.*)", "examples", "copy", "nothing")[1].split(", ")
    for name in names:
        call("examples", "copy", name)
        refuse("already exists; give --out another name", "examples", "copy", name)
        call("examples", "copy", name, "--out", f"another-{name}.yaml")
    assert len(list(Path.cwd().iterdir())) == 2 * len(names)


def test_missing_job_is_copied_as_advised() -> None:
    """A job that is not there, and is called as an example, is there after the command in the message."""
    with pytest.raises(UserError, match="writes the example of that name") as caught:
        run_job._names_no_job("partner.yaml")
    match = re.search("`(.*)`", str(caught.value))
    assert match
    call(*shlex.split(match[1])[1:])
    assert not run_job._names_no_job("partner.yaml")


def test_listed_experiments_are_found() -> None:
    """The command in the message lists experiments by the names that they are found by."""
    claim("runs/pets")
    match = refuse("`(ganaug ls)` lists them", "show", "pet")
    lines = call(*shlex.split(match[1])[1:]).splitlines()
    name = lines[1].split()[0]
    assert str(open_found_experiment(name, open_home()).run.root).endswith("runs/pets")


@pytest.mark.parametrize(
    ("command", "verb"),
    [(("show", "runs/my pets", "--open"), "run"), (("publish", "runs/my pets", "published"), "run")],
)
def test_advised_command_goes_on(command: tuple[str, ...], verb: str) -> None:
    """The command in the message is of the same experiment with its settings, which it goes on with."""
    run = claim("runs/my pets")
    before = run.root.read_bytes("job.yaml")
    program, given_verb, job, option, out = shlex.split(refuse("`(ganaug .*)`", *command)[1])
    assert (program, given_verb, option) == ("ganaug", verb, "--out")
    Run(Folder.from_uri(out)).claim_folder(load_job(Path(job)))
    assert run.root.read_bytes("job.yaml") == before


@pytest.mark.parametrize("followed", ["hf:someone/pets", "published"])
def test_published_models_have_advised_addresses(followed: str) -> None:
    """The form of the message, and a folder, are addresses; what is missing then is a model."""
    claim("runs/pets")
    refuse("expected hf:OWNER/NAME, or a folder", "publish", "pets", "hf:pets")
    refuse("has no verdict yet", "publish", "pets", followed)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked of Ray's client, which has one job."""
    return job_client.replace_client(monkeypatch, ["raysubmit_7"])


def test_listed_job_is_stopped(calls: list[Any]) -> None:
    """The command in the message lists the number of a job that can be stopped."""
    match = refuse("`(ganaug jobs)` lists those it has", "stop", "raysubmit_1", "--address", ADDRESS)
    number = call(*shlex.split(match[1])[1:], "--address", ADDRESS).split()[0]
    call("stop", number, "--address", ADDRESS)
    assert calls == ["raysubmit_7"]


@pytest.mark.parametrize("left", [{"gpus": 2}, {"cpu": True}])
def test_gpus_or_cpu_is_submitted(calls: list[Any], left: dict[str, Any]) -> None:
    """A job for GPUs and for CPUs alone is submitted with one of the two."""
    Path("job.yaml").write_text("about: anything")

    def send(**options: Any) -> None:
        submit.submit(Path("job.yaml"), ADDRESS, "/shared/x", None, **options)

    with pytest.raises(UserError, match="give one of the two"):
        send(gpus=2, cpu=True)
    send(**left)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("counts", "advice", "followed"),
    [
        (["cow=1"], "this generator draws cat, dog", ["dog=1"]),
        (["cat=1", "cat=2"], "cat is given twice", ["cat=3"]),
        (["cat=99999", "dog=99999"], "at most 100000 can be drawn at a time", ["cat=99999", "dog=1"]),
    ],
)
def test_counts_are_taken_once_followed(counts: list[str], advice: str, followed: list[str]) -> None:
    """Numbers of images are taken once they are as the message says."""
    with pytest.raises(UserError, match=advice):
        png_export.parse_counts(counts, ["cat", "dog"])
    assert png_export.parse_counts(followed, ["cat", "dog"])


@pytest.mark.parametrize("way", ["compare.splits=1", "another --out"])
def test_two_splits_become_one_or_more(way: str) -> None:
    """Two splits that no third can follow give way to one, or in another folder to as many as the message says."""
    settings = ["compare.splits=2", "data.split.test=0.5"]
    claim("runs/pets", *settings)
    with pytest.raises(UserError, match="two splits give no answer") as caught:
        sequential_plan.allow_looks(load_job(DIGITS, [*TINY, *settings]))
    assert way in str(caught.value)
    given = re.findall(r"(?:compare|data)\.[\w.]+=[\d.]+", str(caught.value))
    folder, followed = ("runs/pets", given[:1]) if way == given[0] else ("runs/other", given[1:])
    claim(folder, *settings, *followed)
    assert sequential_plan.allow_looks(load_job(DIGITS, [*TINY, *settings, *followed])).compare.looks > 1


def test_images_without_class_are_drawn_as_advised() -> None:
    """Images of a GAN without classes are written by the command in the message."""
    run = claim("runs/my pets", "gan.conditional=false", "augment.ratio=0")
    pipeline = Pipeline(load_job(DIGITS, [*TINY, "gan.conditional=false", "augment.ratio=0"]), run, Terminal())
    with pytest.raises(UserError, match="to see some, run `") as caught:
        pipeline.generate_images()
    sites.write_gan(run.gan, conditional=False)
    match = re.search("`(.*)`", str(caught.value))
    assert match
    call(*shlex.split(match[1])[1:])
    assert len(list(Path("DIR").rglob("*.png"))) == 100


@pytest.mark.parametrize("occupied", ["a file", "something else"])
def test_experiments_begin_in_advised_folders(occupied: str) -> None:
    """Where --out is a file, or holds something else, a new folder is taken, and an empty one."""
    if occupied == "a file":
        Path("taken").write_text("mine")
    else:
        Path("taken").mkdir()
        Path("taken", "notes.txt").write_text("mine")
    advice = "--out names the folder" if occupied == "a file" else "give --out a new or empty folder"
    with pytest.raises(UserError, match=advice):
        claim("taken")
    Path("empty").mkdir()
    for folder in ("new", "empty"):
        assert claim(folder).root.has_file("job.yaml")


def test_cluster_address_has_advised_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address as of Ray's client is refused; that of a host and its port, and auto, are looked for."""
    with pytest.raises(UserError, match="expected auto or host:port"):
        cluster._probe_address("ray://head:10001")
    asked: list[Any] = []

    class Connection:
        def close(self) -> None:
            """Close what was never open."""

    def connect(address: tuple[str, int], timeout: float) -> Connection:
        asked.append(address)
        return Connection()

    monkeypatch.setattr(cluster.socket, "create_connection", connect)
    cluster._probe_address("head:10001")
    cluster._probe_address("auto")
    assert asked == [("head", 10001)]


@pytest.mark.parametrize("followed", ["a dashboard", "one worker"])
def test_cluster_without_dashboard_is_searched_as_advised(followed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials with workers of their own need the dashboard: with it, or with one worker each, the search begins."""

    def init_ray(url: str) -> None:
        monkeypatch.setattr(cluster, "_init_ray", lambda **options: SimpleNamespace(dashboard_url=url))

    def connect(workers: int) -> None:
        job = load_job(DIGITS, [*TINY, f"search.workers={workers}"])
        cluster.connect(dashboard=job.search.workers > 1)

    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(cluster, "read_hardware", lambda cpu_only: Hardware.of_one_machine(4))
    monkeypatch.setattr(cluster.preflight, "check_cluster", lambda *arguments: None)
    init_ray("")
    with pytest.raises(UserError, match=r"include-dashboard=true, or leave search\.workers at 1"):
        connect(2)
    if followed == "a dashboard":
        init_ray("127.0.0.1:8265")
        connect(2)
    else:
        connect(1)


def test_output_goes_where_there_is_room() -> None:
    """What cannot be printed, as the disk is full, is printed by the same command where there is room."""
    command = [sys.executable, "-m", "ganaug_ray", "examples"]
    with Path("/dev/full").open("w") as full:
        refused = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert refused.returncode == 2
    assert "make room, and the same command goes on" in refused.stderr
    with Path("examples.txt").open("w") as file:
        subprocess.run(command, stdout=file, check=True)
    assert "digits_alone" in Path("examples.txt").read_text()


@pytest.mark.parametrize("place", ["of the source", "in the source"])
def test_undecodable_names_are_renamed(place: str) -> None:
    """A name that is no UTF-8, of a source or of a file in it, is read once it is renamed."""
    source = os.fsdecode(b"pets\xff" if place == "of the source" else b"pets")
    name = os.fsdecode(b"dog/\xff.png" if place == "in the source" else b"dog/8.png")
    lay_out(Path(source), *(f"{'cat' if number < 8 else 'dog'}/{number}.png" for number in range(15)), name)

    def count_images(source: str) -> int:
        return len(survey_without_storing(DataConfig(source=[resolve_source(source)])).usable)

    with pytest.raises(UserError, match="rename it, for instance with convmv"):
        count_images(source)
    Path(source).rename("pets")
    for path in Path("pets", "dog").glob("[!0-9]*"):
        path.rename(Path("pets", "dog", "15.png"))
    assert count_images("pets") >= 15


def test_copied_example_is_a_job() -> None:
    """What `ganaug examples copy` writes is read as a job."""
    assert load_job(copy_example("digits_alone", Path("mine.yaml"))).data.source == ["sklearn:digits"]
