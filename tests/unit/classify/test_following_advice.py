"""The advice in a message on the weights that a classifier starts from, followed in the same folder."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from ganaug_ray.classify import backbones, compared_models, initial_weights, networks, onnx_export
from ganaug_ray.config.loader import load_job
from ganaug_ray.core import model_registry
from ganaug_ray.core.checkpoint import pack_states
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from tests.conftest import DIGITS, ROOT, TINY
from tests.helpers import records
from tests.helpers.refusals import refuse

ARCH = "timm:test_resnet"


def prepare(run: Run, *settings: str) -> object:
    """Find the weights that a job of these settings starts from, as its training does."""
    job = load_job(DIGITS, [*TINY, f"classifier.arch={ARCH}", "classifier.input_size=32", *settings])
    run.claim_folder(job)
    if not run.dataset.has_file("dataset.json"):
        records.write_dataset(run.dataset.create())
    return initial_weights.prepare_weights(job, run)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_file_replaces_published_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no network, the path of a file of the same weights is taken."""
    run = Run(Folder.from_uri(tmp_path / "run"))

    def fetch(arch: str) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(backbones, "fetch_weights", fetch)
    with pytest.raises(UserError, match="with no network, give the path of a file"):
        prepare(run, "classifier.weights=pretrained")
    weights = backbones.build_trunk(ARCH).network.state_dict()
    if name.endswith(".pth"):
        torch.save(weights, tmp_path / name)
    else:
        save_file(weights, tmp_path / name)
    assert prepare(run, f"classifier.weights={tmp_path / name}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such file"),
        ("a network", "not a file of weights"),
        ("a list", "holds no state_dict, a mapping from names to tensors"),
        ("another network", f"not weights of {ARCH}: "),
    ],
)
def test_file_of_weights_is_what_is_expected(content: str | None, words: str, tmp_path: Path) -> None:
    """A file that holds no weights, or those of another network, is taken once it holds what the message names."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    path = tmp_path / "weights.pth"
    network = backbones.build_trunk(ARCH).network
    if content is not None:
        wrong = {"a network": network, "a list": list(network.parameters())}
        torch.save(wrong.get(content, {"conv1.weight": torch.zeros(1)}), path)
    with pytest.raises(UserError, match=re.escape(words)):
        prepare(run, f"classifier.weights={path}")
    torch.save(network.state_dict(), path)
    assert prepare(run, f"classifier.weights={path}")


@pytest.mark.parametrize("kind", ["experiment", "registry", "model"])
def test_start_is_a_promoted_model(kind: str, tmp_path: Path) -> None:
    """An experiment without a promoted model is no start; once one is promoted, what the message names is."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    other = Run(Folder.from_uri(tmp_path / "other"))
    other.claim_folder(load_job(DIGITS, TINY))
    with pytest.raises(UserError, match="no experiment with a promoted model, registry or model") as caught:
        prepare(run, f"classifier.init_from={other.root}")
    assert kind in str(caught.value)
    network = networks.build_network(ARCH, 1, 2, 0.0, networks.choose_input(ARCH, 32, 32, False))
    model = other.locate_model("real+classic", 0).create()
    model.write_bytes("model.safetensors", save(pack_states({"network": network})))
    records.write_model(model, arch=ARCH)
    model_registry.promote_model(other.registry, model, {})
    start = {"experiment": other.root, "registry": other.registry, "model": model}[kind]
    assert prepare(run, f"classifier.init_from={start}")


@pytest.mark.parametrize(
    ("key", "other"), [("arch", "cnn"), ("classes", ["a", "c"]), ("classes", ["b", "a"]), ("channels", 3)]
)
def test_start_has_the_same_form(key: str, other: object, tmp_path: Path) -> None:
    """A model that differs in what the message names is no start; one that has the same is."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    network = networks.build_network(ARCH, 1, 2, 0.0, networks.choose_input(ARCH, 32, 32, False))
    models = Folder.from_uri(tmp_path / "wrong").create(), Folder.from_uri(tmp_path / "right").create()
    for model, changes in zip(models, ({key: other}, {}), strict=True):
        model.write_bytes("model.safetensors", save(pack_states({"network": network})))
        records.write_model(model, **({"arch": ARCH} | changes))
    refuse(
        f"; give a model with the same {key}( in the same order)?$", prepare, run, f"classifier.init_from={models[0]}"
    )
    assert prepare(run, f"classifier.init_from={models[1]}")


def test_models_are_exported_once_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages of the message a model is not exported; with them, which are here, it is."""
    model = Folder.from_uri(tmp_path / "model").create()
    network = networks.build_network("cnn", 1, 2, 0.0, networks.choose_input("cnn", 32, None, False))
    model.write_bytes("model.safetensors", save(pack_states({"network": network})))
    records.write_model(model)
    for name in ("onnx", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(UserError, match=f"export needs {name}: pip install (.*)$") as caught:
                onnx_export.export_onnx(model, str(tmp_path / "model.onnx"))
        assert {"onnx", "onnxruntime"} == set(str(caught.value).partition("pip install ")[2].split())
    (tmp_path / "file").touch()
    refuse("; give another --out$", onnx_export.export_onnx, model, str(tmp_path / "file" / "model.onnx"))
    assert onnx_export.export_onnx(model, str(tmp_path / "model.onnx")) <= 1e-4
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["export"]
    assert all(any(name in need for need in declared) for name in ("onnx", "onnxruntime"))


def test_models_are_compared_as_exemplified() -> None:
    """A job without models to compare takes those of the example."""
    with pytest.raises(UserError, match="models: the job has no such section; name two or more, such as") as caught:
        compared_models.list_pairs(load_job(DIGITS, TINY))
    example = str(caught.value).partition("such as ")[2]
    job = load_job(DIGITS, [*TINY, f"models={example}"])
    assert {name for name, _ in compared_models.list_pairs(job)} == {"cnn", "resnet"}
