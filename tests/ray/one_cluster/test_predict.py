"""``ganaug predict`` through Ray Data: a row an image, in order, whatever the images are."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganaug_ray.classify import batch_inference
from ganaug_ray.classify.image_answers import predict_in_process
from ganaug_ray.classify.image_files import list_parts
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core import model_registry
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.errors import UserError
from ganaug_ray.runtime.hardware import Hardware

pytestmark = pytest.mark.usefixtures("cluster")

TWO_CPUS = Hardware.of_one_machine(2)


def png(seed: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def test_predict_accepts_files_folders_and_archives(experiment: Run, tmp_path: Path) -> None:
    """Files, folders and archives give one row for each image, and bad images say why they are bad."""
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for i in range(300):  # more than a part and more than a batch
        (tmp_path / "folder" / "deep" / f"{i:03d}.png").write_bytes(png(i))
    (tmp_path / "single.png").write_bytes(png(5))
    (tmp_path / "folder" / "bad.jpg").write_bytes(b"<html>")
    (tmp_path / "empty.png").touch()
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("x/good.png", png(7))
        archive.writestr("x/broken.png", png(7)[:90])
    model = model_registry.resolve_model(str(experiment.root))
    where = [str(tmp_path / name) for name in ("folder", "single.png", "empty.png", "some.zip")]
    shares: list[float] = []
    parts = list_parts(where)
    predicted = batch_inference.predict_images(model, parts, TWO_CPUS, lambda share, words: shares.append(share))
    rows = predicted.table.to_pylist()

    names = [row["path"].removeprefix(f"{tmp_path}/") for row in rows]
    inside = [f"folder/deep/{i:03d}.png" for i in range(300)]
    assert names == [
        "single.png",
        "empty.png",
        "folder/bad.jpg",
        *inside,
        "some.zip/x/broken.png",
        "some.zip/x/good.png",
    ]
    by_name = dict(zip(names, rows, strict=True))
    errors = {name: row["error"] for name, row in by_name.items() if row["error"] is not None}
    assert set(errors) == {"empty.png", "folder/bad.jpg", "some.zip/x/broken.png"}
    assert errors["empty.png"] == "empty"
    assert "begins with b'<html>'" in errors["folder/bad.jpg"]
    assert all(by_name[name][key] is None for name in errors for key in ("label", "probability", "probabilities"))
    classifier = Classifier.load(model)
    for name, seed in (("single.png", 5), ("folder/deep/299.png", 299), ("some.zip/x/good.png", 7)):
        (expected,) = classifier.predict([png(seed)])
        assert by_name[name]["label"] == expected.label
        assert by_name[name]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
        assert by_name[name]["probability"] == pytest.approx(max(expected.probabilities.values()), abs=1e-5)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0

    here = predict_in_process(model, parts, lambda share, words: None)
    assert here == predicted, "the same to the bit without Ray"


def test_missing_inputs_are_named(experiment: Run, tmp_path: Path) -> None:
    """A missing image or model is an error that names it."""
    with pytest.raises(UserError, match=r"nowhere\.png: .*file or folder"):
        list_parts([str(tmp_path / "nowhere.png")])
    with pytest.raises(UserError, match="no experiment"):
        model_registry.resolve_model(str(tmp_path))
