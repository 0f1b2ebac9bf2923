"""Weights to start from: all of them fit, or the run ends before any training."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save_file

from ganaug_ray.augment import arms
from ganaug_ray.classify import backbones, initial_weights, networks, train_worker
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.resident_loader import open_real_feed
from ganaug_ray.errors import UserError
from tests.conftest import DIGITS, TINY

ARCH = "timm:test_resnet"
SMALL = [*TINY, f"classifier.arch={ARCH}", "classifier.input_size=32", "classifier.steps=4", "augment.ratio=0"]


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A weights file as a library publishes it: with a head for 1,000 classes."""
    import timm

    torch.manual_seed(5)
    weights = timm.create_model("test_resnet", num_classes=1000).state_dict()
    torch.save(weights, tmp_path / "published.pth")
    return tmp_path / "published.pth", weights


def run_of(digits: Folder, tmp_path: Path) -> Run:
    run = Run(Folder.from_uri(tmp_path / "run").create())
    (tmp_path / "run" / "dataset").symlink_to(str(digits))
    return run


def job_with(*overrides: str) -> Job:
    return load_job(DIGITS, [*SMALL, *overrides])


def train(job: Job, run: Run) -> dict[str, Any]:
    out = run.locate_model(arms.REAL, 0)
    out.create()
    batches = functools.partial(open_real_feed, str(run.dataset), 16, 1.0, 0)
    train_worker.train_and_finish(
        train_worker.ClassifierTraining(
            "real", 0, job.classifier, str(run.dataset), str(out), batches, {}, str(run.models)
        ),
        Place(),
    )
    return out.read_json("model.json")


@pytest.mark.parametrize("kind", ["plain", "safetensors", "wrapped", "of several devices"])
def test_weights_file_fills_the_backbone(
    kind: str, published: tuple[Path, dict[str, torch.Tensor]], digits: Folder, tmp_path: Path
) -> None:
    """A backbone has the weights of the file, in every usual format, and a head of its own."""
    path, weights = published
    if kind == "safetensors":
        path = tmp_path / "published.safetensors"
        save_file(weights, path)
    elif kind == "wrapped":
        torch.save({"epoch": 3, "state_dict": weights}, path)
    elif kind == "of several devices":
        torch.save({f"module.{key}": value for key, value in weights.items()}, path)
    run = run_of(digits, tmp_path)
    # All but the head is frozen to the end: what is saved is what was read, batch norm included.
    job = job_with(f"classifier.weights={path}", "classifier.freeze_steps=4")
    report = initial_weights.prepare_weights(job, run)
    assert report
    assert report["new"] == ["head.2.weight", "head.2.bias"]
    assert sorted(report["left_out"]) == ["backbone.fc.bias", "backbone.fc.weight"]
    record = train(job, run)
    assert record["start"]["matched"] == report["matched"]
    assert record["start"]["hash"] == report["hash"]
    saved = load(run.locate_model(arms.REAL, 0).read_bytes("model.safetensors"))
    for key, value in weights.items():
        if not key.startswith("fc.") and not key.endswith("num_batches_tracked"):
            assert torch.equal(saved[f"network.backbone.{key}"], value), key
    assert saved["network.head.2.weight"].shape[0] == 10


def test_changed_weights_are_read_anew(
    digits: Folder, tmp_path: Path, published: tuple[Path, dict[str, torch.Tensor]]
) -> None:
    """What was prepared of other weights, before any model was trained, is not what models start from."""
    file, weights = published
    other = tmp_path / "other.pth"
    torch.save({name: tensor + 1 for name, tensor in weights.items()}, other)
    run = run_of(digits, tmp_path)
    first, again, changed = (
        initial_weights.prepare_weights(job_with(f"classifier.weights={path}"), run) for path in (file, file, other)
    )
    assert first is not None
    assert changed is not None
    assert again == first
    assert changed["hash"] != first["hash"]


def test_workers_refuse_silent_fresh_start(digits: Folder, tmp_path: Path) -> None:
    """Workers refuse to start from random weights where a weights file was requested."""
    job, run = job_with("classifier.weights=somewhere.pth"), run_of(digits, tmp_path)
    batches = functools.partial(open_real_feed, str(run.dataset), 16, 1.0, 0)
    with pytest.raises(AssertionError, match="never a silent fresh start"):
        train_worker.train_and_finish(
            train_worker.ClassifierTraining("real", 0, job.classifier, str(run.dataset), str(tmp_path), batches, {}),
            Place(),
        )


def test_misfit_weights_name_the_differences(
    published: tuple[Path, dict[str, torch.Tensor]], digits: Folder, tmp_path: Path
) -> None:
    """Weights that do not fit are an error that names what is missing, unexpected or of another shape."""
    path, weights = published
    spoilt = dict(weights)
    spoilt["conv1.0.weight" if "conv1.0.weight" in weights else "conv1.weight"] = torch.zeros(3, 3)
    del spoilt["layer1.0.bn1.weight"]
    spoilt["extra.weight"] = torch.zeros(1)
    torch.save(spoilt, path)
    with pytest.raises(UserError) as caught:
        initial_weights.prepare_weights(job_with(f"classifier.weights={path}"), run_of(digits, tmp_path))
    message = str(caught.value)
    words = [str(path), "1 missing (backbone.layer1.0.bn1.weight)", "1 unexpected (backbone.extra.weight)", "[3, 3]"]
    assert all(word in message for word in words), message
    assert len(message.splitlines()) <= 2
    assert not (tmp_path / "run" / "models").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such file"),
        (b"not weights", "not a file of weights"),
        ({"state_dict": {"a": 1}}, "holds no state_dict"),
        ("unsafe", "not a file of weights"),
    ],
)
def test_invalid_weights_file_is_refused(content: Any, words: str, digits: Folder, tmp_path: Path) -> None:
    """A file that holds no weights is refused, and no code in it is run."""
    path = tmp_path / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "unsafe":
        torch.save({"state_dict": Path("/")}, path)  # a class that torch does not unpickle
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=words) as caught:
        initial_weights.prepare_weights(job_with(f"classifier.weights={path}"), run_of(digits, tmp_path))
    assert "classifier.weights" in str(caught.value)


def test_offline_pretrained_weights_name_alternative(
    digits: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network connection, pretrained weights are an error that names the alternative."""

    def offline(arch: str) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(backbones, "fetch_weights", offline)
    with pytest.raises(UserError, match=r"pretrained.*cannot be fetched.*give the path of a file"):
        initial_weights.prepare_weights(job_with("classifier.weights=pretrained"), run_of(digits, tmp_path))


def test_fetched_weights_fit_the_network(digits: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pretrained weights that a library fetches fit the network."""
    fetched = backbones.build_trunk(ARCH).network.state_dict()
    monkeypatch.setattr(backbones, "fetch_weights", lambda arch: fetched)
    report = initial_weights.prepare_weights(job_with("classifier.weights=pretrained"), run_of(digits, tmp_path))
    assert report
    assert report["source"] == "pretrained"
    assert not report["left_out"]


@pytest.mark.parametrize("wish", ["experiment", "registry", "model", "champion"])
def test_warm_start_includes_the_head(
    wish: str, experiment: Run, tiny_job: Job, tmp_path: Path, digits: Folder
) -> None:
    """A warm start continues from another model with all of its weights, the head included."""
    champion = experiment.root.read_json("verdict.json")["champion"]
    model = experiment.locate_model(champion["arm"], champion["seed"])
    where = {"experiment": experiment.root, "registry": experiment.registry, "model": model, "champion": "champion"}
    run = run_of(digits, tmp_path)
    extends = [f"data.extends={experiment.dataset}"] if wish == "champion" else []
    job = load_job(DIGITS, [*TINY, f"classifier.init_from={where[wish]}", *extends])
    report = initial_weights.prepare_weights(job, run)
    assert report
    assert report["new"] == report["notes"] == []
    network = networks.build_network("cnn", 1, 10, 0.0, networks.NetworkInput(32))
    initial_weights.load_weights(network, run.models)
    theirs = Classifier.load(model).network.state_dict()
    ours = network.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items() if "num_batches" not in key)


def test_warm_start_needs_matching_model(experiment: Run, digits: Folder, tmp_path: Path) -> None:
    """A warm start needs a model with the same classes and architecture."""
    champion = experiment.root.read_json("verdict.json")["champion"]
    model = experiment.locate_model(champion["arm"], champion["seed"])
    changed = Folder.from_uri(tmp_path / "changed").create()
    record = model.read_json("model.json")
    changed.write_json("model.json", {**record, "classes": [*record["classes"][:-1], "ten"]})
    run = run_of(digits, tmp_path)
    with pytest.raises(UserError, match=r"init_from.*classes are 10: .*here are 10: "):
        initial_weights.prepare_weights(load_job(DIGITS, [*TINY, f"classifier.init_from={changed}"]), run)
    with pytest.raises(UserError, match=r"init_from.*arch is cnn, here is timm:test_resnet"):
        initial_weights.prepare_weights(job_with(f"classifier.init_from={model}"), run)
    with pytest.raises(UserError, match=r"init_from champion: no experiment"):
        initial_weights.prepare_weights(load_job(DIGITS, [*TINY, "classifier.init_from=champion"]), run)


def test_weights_path_follows_job_file(tmp_path: Path) -> None:
    """A relative path of a weights file is relative to the job file."""
    text = "data: {source: sklearn:digits}\ngan: {steps: 1}\nclassifier: {steps: 1, weights: w/x.pth}\n"
    (tmp_path / "job.yaml").write_text(text)
    assert load_job(tmp_path / "job.yaml").classifier.weights == f"{tmp_path}/w/x.pth"


def test_damaged_model_names_its_folder(experiment: Run, tmp_path: Path) -> None:
    """A damaged model is an error that names its folder."""
    model = experiment.locate_model("real+classic", 0)
    changed = Folder.from_uri(tmp_path / "changed").create()
    changed.write_bytes("model.safetensors", model.read_bytes("model.safetensors"))
    changed.write_json("model.json", {**model.read_json("model.json"), "classes": ["a", "b"]})
    with pytest.raises(UserError, match=r"changed: not a model.*size mismatch"):
        Classifier.load(changed)
