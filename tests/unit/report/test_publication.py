"""What `ganaug publish` writes: a folder that the Hub's and other libraries load, and no secrets of this site."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.cli.hf import app
from moto.server import DomainDispatcherApplication, create_backend_app
from pyarrow import fs as pafs
from typer.testing import CliRunner

import ganaug_ray
from ganaug_ray import cli
from ganaug_ray.cli.publish import publish
from ganaug_ray.config import Job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.report import publication
from tests.helpers import wsgi
from tests.helpers.hub import PushedRepository
from tests.helpers.s3_server import CREDENTIALS


@pytest.fixture
def published(experiment: Run, tmp_path: Path) -> Path:
    """The published folder of a finished experiment."""
    out = tmp_path / "published"
    result = CliRunner().invoke(cli.app, ["publish", str(experiment.root), str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


def test_libraries_load_published_folder(experiment: Run, published: Path) -> None:
    """The Hub's library reads the card, safetensors the weights, onnxruntime the network; all give the same answer."""
    import onnxruntime
    from safetensors.numpy import load_file

    card = huggingface_hub.ModelCard.load(published / "README.md")
    verdict = experiment.root.read_json("verdict.json")
    figures = verdict["champion"]["figures"]["test"]
    assert card.data.pipeline_tag == "image-classification"
    by_metric = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert by_metric["accuracy"] == round(figures["accuracy"], 4)
    generators = [judged["sentence"] for judged in verdict["generators"]]
    assert generators
    for words in (verdict["sentence"], *generators, "## Intended use", "## Lineage", "## Figures"):
        assert words in card.text
    assert load_file(published / "model.safetensors")
    model = ganaug_ray.load(published)
    config = json.loads((published / "config.json").read_text())
    assert list(config["id2label"].values()) == model.classes
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    expected = model.predict([pixels])[0]
    session = onnxruntime.InferenceSession(published / "model.onnx")
    preprocessing = json.loads((published / "preprocessor_config.json").read_text())
    scaled = pixels[None, None].astype(np.float32) * preprocessing["rescale_factor"] + preprocessing["rescale_offset"]
    (logits,) = session.run(["logits"], {"images": scaled.astype(np.float32)})
    assert config["id2label"][str(int(logits[0].argmax()))] == expected.label


def test_nothing_of_this_site_is_published(experiment: Run, published: Path) -> None:
    """No path, no image, no hash of images and no pickle leaves the site; a second one takes the first's place."""
    names = {path.name for path in published.rglob("*")}
    files = {"README.md", "model.safetensors", "model.json", "model.onnx", "config.json", "preprocessor_config.json"}
    assert names == files
    for path in published.iterdir():
        assert str(experiment.root.local_path).encode() not in path.read_bytes()
    publication.write_publication(experiment, Folder.from_uri(published), "again")
    assert "# again" in (published / "README.md").read_text()


def test_other_folders_are_left_alone(experiment: Run, tmp_path: Path) -> None:
    """A folder with something else is refused, and so is an experiment without a verdict or an odd name."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files that `ganaug publish` did not write"):
        publication.write_publication(experiment, Folder.from_uri(tmp_path), "x")
    assert publication.write_publication(experiment, Folder.from_uri(tmp_path / "another"), "x")
    with pytest.raises(UserError, match="has no verdict yet"):
        publication.write_publication(Run(Folder.from_uri(tmp_path)), Folder.from_uri(tmp_path / "out"), "x")
    with pytest.raises(UserError, match="expected hf:OWNER/NAME"):
        CliRunner().invoke(cli.app, ["publish", str(experiment.root), "hf:pets"], catch_exceptions=False)


def test_champion_is_published_once_promoted(experiment: Run, tiny_job: Job, tmp_path: Path) -> None:
    """A best model that is no champion is published after the command in the message."""
    shutil.copytree(str(experiment.root), tmp_path / "tiny", symlinks=True, ignore=shutil.ignore_patterns("registry"))
    run = Run(Folder.from_uri(tmp_path / "tiny"))
    out = Folder.from_uri(tmp_path / "out")
    with pytest.raises(UserError, match=rf"`ganaug promote {run.root}/job\.yaml --out {run.root}` makes it so"):
        publication.write_publication(run, out, "x")
    Pipeline(tiny_job, run, Terminal()).promote_champion()
    assert publication.write_publication(run, out, "x")


def test_advised_upload_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that pushes a folder later makes a private repository of it, as the first attempt would have."""
    folder = tmp_path / "my models" / "published"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("# pets")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(StageFailed, match=r"`hf upload .*` pushes it after `hf auth login`") as caught:
        publication.push_publication(folder, "someone/pets")
    match = re.search("`(hf upload .*?)`", str(caught.value))
    assert match
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    repository = PushedRepository()
    with wsgi.serve(repository) as port:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        app(shlex.split(match[1])[1:], standalone_mode=False)
    assert repository.made.get("visibility") == "private"
    assert repository.files == {"README.md": b"# pets"}


def test_experiment_elsewhere_is_pushed_from_a_folder_here(
    experiment: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An experiment on an object store is not pushed from there; published to a folder here, as advised, it is."""
    for name, value in (CREDENTIALS | {"HF_TOKEN": "hf_x"}).items():
        monkeypatch.setenv(name, value)
    repository, out = PushedRepository(), tmp_path / "published"
    with wsgi.serve(repository) as port, wsgi.serve(DomainDispatcherApplication(create_backend_app)) as store_port:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        where = f"endpoint_override=http://127.0.0.1:{store_port}&scheme=http&allow_bucket_creation=true"
        stored = Folder.from_uri(f"s3://published/pets?{where}").create()
        pafs.copy_files(experiment.root.path, stored.path, experiment.root.fs, stored.fs)
        with pytest.raises(UserError, match="is not on this machine; publish it to a folder here, and") as caught:
            publish(f"s3://published/pets?{where}", "hf:someone/pets")
        assert not repository.made
        publish(f"s3://published/pets?{where}", str(out))
        match = re.search("`(hf upload .*)` pushes that$", str(caught.value))
        assert match
        command = [str(out) if word == "FOLDER" else word for word in shlex.split(match[1])]
        app(command[1:], standalone_mode=False)
    assert repository.made.get("visibility") == "private"
    assert repository.files == {path.name: path.read_bytes() for path in out.iterdir()}
    assert "model.safetensors" in repository.files


def test_push_without_token_or_network_says_how(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be pushed the folder stays, and a sentence has the command that pushes it."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(StageFailed, match=rf"nobody is logged in; .*`hf upload someone/pets {published} --private`"):
        publication.push_publication(published, "someone/pets")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    with pytest.raises(StageFailed, match=rf"not pushed \(.*`hf upload someone/pets {published} --private`"):
        publication.push_publication(published, "someone/pets")
    assert (published / "README.md").exists()


def test_push_makes_private_repository_with_all_files(
    experiment: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`ganaug publish RUN hf:OWNER/NAME` pushes the published files with the user's token, and says where they are."""
    shutil.copytree(str(experiment.root), tmp_path / "tiny", symlinks=True)
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    repository = PushedRepository()
    with wsgi.serve(repository) as port:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        publish(str(tmp_path / "tiny"), "hf:someone/pets")
    assert f"http://127.0.0.1:{port}/someone/pets: a private repository" in " ".join(capsys.readouterr().out.split())
    assert (repository.made["name"], repository.made["organization"]) == ("pets", "someone")
    assert repository.made.get("visibility") == "private"
    assert repository.tokens == {"Bearer hf_x"}
    written = {path.name: path.read_bytes() for path in (tmp_path / "tiny" / "published").iterdir()}
    assert repository.files == written
    assert b"# pets" in written["README.md"]
    assert "model.safetensors" in written
