"""Kaggle's 'Best Artworks of All Time' in its own shape: one flat folder, the painter in the file's name."""

from __future__ import annotations

import csv
import hashlib
import unicodedata
from collections import Counter

import numpy as np
import pytest

from ganaug_ray.config import DataConfig, LabelFrom
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.prepare import prepare_dataset
from tests.helpers.dirty import PUBLIC, encoded, noise

ARTWORKS = PUBLIC / "artworks"
PAINTINGS = {
    "Albrecht_Dürer_1.jpg": (432, 614),
    "Edgar_Degas_1.jpg": (754, 711),
    "Pierre-Auguste_Renoir_1.jpg": (1195, 994),
    "Vincent_van_Gogh_1.jpg": (614, 802),
}

pytestmark = pytest.mark.skipif(not ARTWORKS.exists(), reason="the index of the artworks is not on this machine")


def index() -> dict[str, str]:
    """File name -> SHA-256 of all 8,355 images.

    The list is plain ASCII: who uploaded that copy wrote Albrecht_Duerer. Kaggle's own files are of Albrecht_Dürer, as
    artists.csv says, with ü as one letter or as u and two dots; here both are put back in turn. What tools that unpack
    that zip make of it, Albrecht_Du╠êrer and Albrecht_DuΓòá├¬rer, is not in the list: it would be a class of its own.
    """
    names = {}
    with (ARTWORKS / "resized-index.csv").open(encoding="utf-8") as stream:
        for number, row in enumerate(csv.DictReader(stream)):
            form = ("NFC", "NFD")[number % 2]
            names[unicodedata.normalize(form, row["file"].replace("Duerer", "Dürer"))] = row["sha256"]
    return names


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Small pictures, each another, under all the real names; the four paintings at hand are themselves."""
    root = tmp_path_factory.mktemp("artworks")
    (root / "resized").mkdir()
    rng = np.random.default_rng(0)
    names = index()
    for name in names:
        (root / "resized" / name).write_bytes(encoded(noise(rng, 24, 20), "JPEG"))
    for name in PAINTINGS:
        painting = (ARTWORKS / "resized" / name).read_bytes()
        assert hashlib.sha256(painting).hexdigest() == names[name], "the data set's own bytes"
        (root / "resized" / name).write_bytes(painting)
    by_name = LabelFrom(regex=r"^(?P<label>.+)_\d+\.jpg$")
    prepare_dataset(DataConfig(source=[str(root / "resized")], label_from=by_name), Folder.from_uri(root / "dataset"))
    return Folder.from_uri(root / "dataset")


def test_fifty_painters_become_classes(dataset: Folder) -> None:
    """The fifty painters become fifty classes of the right sizes, and no image is rejected."""
    record = dataset.read_json("dataset.json")
    painters = Counter(unicodedata.normalize("NFC", name).rsplit("_", 1)[0] for name in index())
    assert len(record["classes"]) == len(painters) == 50
    assert sum((Counter(own) for own in record["counts"].values()), Counter()) == painters
    assert (painters["Vincent_van_Gogh"], painters["Albrecht_Dürer"], painters["Jackson_Pollock"]) == (877, 328, 24)
    assert record["rejected"] == {}


def test_artist_table_matches_classes(dataset: Folder) -> None:
    """Every painter of the table is a class."""
    with (ARTWORKS / "artists.csv").open(encoding="utf-8") as stream:
        artists = {row["name"].replace(" ", "_") for row in csv.DictReader(stream)}
    assert artists == set(dataset.read_json("dataset.json")["classes"])


def test_real_paintings_keep_their_sizes(dataset: Folder) -> None:
    """The real paintings are recorded with their original sizes and format."""
    rows = {row["path"]: row for row in dataset.read_table("split.parquet").to_pylist()}
    assert {name: (rows[name]["width"], rows[name]["height"]) for name in PAINTINGS} == PAINTINGS
    assert {rows[name]["format"] for name in PAINTINGS} == {"JPEG"}
    assert rows["Albrecht_Dürer_1.jpg"]["class"] == "Albrecht_Dürer"
    assert dataset.read_json("dataset.json")["channels"] == 3, "the Dürer is grey, the others are not"
