"""From raw images to a split store: what is kept, what is rejected, and who goes where."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganaug_ray.config import DataConfig, SplitConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import images
from ganaug_ray.data.ingest.scan import survey_without_storing as survey
from ganaug_ray.data.loading import image_store, tensors
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.errors import UserError
from tests.helpers import records
from tests.helpers.dealing import assign


def picture(seed: int, size: tuple[int, int] = (48, 40), mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def cats_and_dogs(tmp_path: Path) -> Path:
    """Ten pictures a class, in folders."""
    root = tmp_path / "pictures"
    for number, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for index in range(10):
            picture(100 * number + index).save(root / name / f"{index}.png")
    return root


def test_class_folders_become_a_store(cats_and_dogs: Path, tmp_path: Path) -> None:
    """Class folders become a dataset with every image in exactly one split."""
    out = Folder.from_uri(tmp_path / "dataset")
    record = prepare_dataset(DataConfig(source=[str(cats_and_dogs)], split=SplitConfig(val=0.2, test=0.3)), out)
    assert record.classes == ["cat", "dog"]
    assert {name: sum(own.values()) for name, own in record.counts.items()} == {
        "train": 10, "val": 4, "test": 6, "unused": 0,
    }  # fmt: skip
    ids = [id_ for name in ("train", "val", "test") for id_ in image_store.read_images(out / name).ids]
    assert len(ids) == len(set(ids)) == 20
    table = out.read_table("split.parquet")
    assert set(table.column("id").to_pylist()) == set(ids)
    assert image_store.read_images(out / "train").images.shape == (10, 32, 32, 3)


def test_same_input_gives_same_bytes(cats_and_dogs: Path, tmp_path: Path) -> None:
    """The same input gives the same stored bytes and the same hash."""
    config = DataConfig(source=[str(cats_and_dogs)])
    one, two = Folder.from_uri(tmp_path / "one"), Folder.from_uri(tmp_path / "two")
    assert prepare_dataset(config, one).hash == prepare_dataset(config, two).hash
    for part in ("train", "val", "test"):
        assert (one / part).read_bytes("part-00000.parquet") == (two / part).read_bytes("part-00000.parquet")


def test_bad_files_have_reject_reasons(cats_and_dogs: Path, tmp_path: Path) -> None:
    """Bad files are rejected with their reasons, and no good image is lost."""
    clean = set(survey(DataConfig(source=[str(cats_and_dogs)])).usable["id"].to_pylist())
    whole = io.BytesIO()
    picture(999).save(whole, "JPEG")
    (cats_and_dogs / "cat" / "empty.jpg").write_bytes(b"")
    (cats_and_dogs / "cat" / "page.jpg").write_text("<html>not found</html>")
    (cats_and_dogs / "cat" / "cut.jpg").write_bytes(whole.getvalue()[:-400])
    (cats_and_dogs / "cat" / "copy.png").write_bytes((cats_and_dogs / "cat" / "0.png").read_bytes())
    (cats_and_dogs / "stray.png").write_bytes((cats_and_dogs / "cat" / "1.png").read_bytes())
    (cats_and_dogs / "cat" / ".DS_Store").write_bytes(b"junk")
    out = Folder.from_uri(tmp_path / "dataset")
    prepare_dataset(DataConfig(source=[str(cats_and_dogs)]), out)
    rejected = out.read_table("rejected.parquet").to_pylist()
    assert {row["path"]: row["reason"] for row in rejected} == {
        "cat/empty.jpg": "empty",
        "cat/page.jpg": "not an image",
        "cat/cut.jpg": "truncated or damaged",
        "cat/copy.png": "duplicate",
        "stray.png": "no class",
    }
    assert set(survey(DataConfig(source=[str(cats_and_dogs)])).usable["id"].to_pylist()) == clean


def test_conflicting_labels_reject_the_picture(cats_and_dogs: Path) -> None:
    """A picture that lies under two labels is used under neither."""
    (cats_and_dogs / "dog" / "really-a-cat.png").write_bytes((cats_and_dogs / "cat" / "3.png").read_bytes())
    found = survey(DataConfig(source=[str(cats_and_dogs)]))
    assert found.count_rejects() == {"label conflict": 2}
    assert sum(found.count_images()["train"].values()) + sum(found.count_images()["val"].values()) <= 19
    assert not {"cat/3.png", "dog/really-a-cat.png"} & set(found.usable["path"].to_pylist())


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_mode_becomes_grey_or_colour(mode: str) -> None:
    """An image of any mode is read as grey or as colour."""
    sink = io.BytesIO()
    picture(1, mode=mode if mode != "LA" else "L").convert(mode).save(sink, "TIFF")
    assert images.decode(sink.getvalue()).image.mode == ("L" if mode in ("L", "1", "LA") else "RGB")


def test_postscript_is_not_read() -> None:
    """A format that would start another program, such as PostScript, is not read as an image."""
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(images.UnreadableError, match="unsupported format"):
        images.decode(script)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
def test_common_image_formats_are_read(name: str) -> None:
    """All common image formats are read."""
    sink = io.BytesIO()
    picture(1).save(sink, name)
    assert images.decode(sink.getvalue()).image.size == (48, 40)


def test_sixteen_bit_grey_is_scaled() -> None:
    """Sixteen-bit grey is scaled to eight bits, not clipped."""
    sink = io.BytesIO()
    Image.fromarray(np.array([[0, 32896], [65535, 257]], np.uint16)).save(sink, "PNG")
    assert np.asarray(images.decode(sink.getvalue()).image).tolist() == [[0, 128], [255, 1]]


def test_transparency_and_rotation_are_applied() -> None:
    """Transparent pixels become white, and the EXIF rotation is applied."""
    sink = io.BytesIO()
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(sink, "PNG")
    assert np.asarray(images.decode(sink.getvalue()).image).min() == 255
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    Image.new("RGB", (20, 10)).save(turned, "JPEG", exif=exif)
    assert images.decode(turned.getvalue()).image.size == (10, 20)


def test_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decompression bomb is refused before it is decoded."""
    sink = io.BytesIO()
    Image.new("L", (500, 500)).save(sink, "PNG")
    monkeypatch.setattr(images, "MAX_PIXELS", 100_000)
    with pytest.raises(images.UnreadableError, match="too large"):
        images.decode(sink.getvalue())


def test_crop_pad_and_stretch() -> None:
    """A wide image is cropped to its middle, padded in black, or stretched to a square."""
    wide = Image.new("RGB", (200, 100), "white")
    assert np.asarray(images.resize_to_square(wide, 50, "crop")).min() > 250
    padded = np.asarray(images.resize_to_square(wide, 50, "pad"))
    assert padded[0].max() < 5
    assert padded[25].min() > 250
    assert images.resize_to_square(wide, 50, "stretch").size == (50, 50)


def test_pixels_survive_network_conversion() -> None:
    """Pixels that are converted for the network and back are unchanged."""
    import torch

    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(tensors.from_network(tensors.to_network(pixels)), pixels)


def names(n: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{i:04d}" for i in range(n)]


def test_split_quotas_are_exact() -> None:
    """The quotas of the splits are exact, and no class misses a split."""
    ids = {"many": names(1000, "m"), "few": names(6, "f")}
    dealt = assign(ids, SplitConfig(val=0.1, test=0.2), None, None)
    counts = {part: sum(dealt[id_] == part for id_ in ids["many"]) for part in ("train", "val", "test")}
    assert counts == {"train": 700, "val": 100, "test": 200}
    assert {part: sum(dealt[id_] == part for id_ in ids["few"]) for part in ("train", "val", "test")} == {
        "train": 2, "val": 2, "test": 2,
    }  # fmt: skip


def test_scarcity_preserves_test_split() -> None:
    """Fewer training images leave the test split as it is, and smaller training sets are part of larger ones."""
    ids = {"a": names(500, "a"), "b": names(500, "b")}
    config = SplitConfig(val=0.1, test=0.2)
    full, scarce, scarcer = (assign(ids, config, cap, cap and 5) for cap in (None, 100, 20))

    def part(dealt: dict[str, str], name: str) -> set[str]:
        return {id_ for id_, where in dealt.items() if where == name}

    assert part(full, "test") == part(scarce, "test") == part(scarcer, "test")
    assert len(part(scarcer, "train")) == 40
    assert part(scarcer, "train") < part(scarce, "train") < part(full, "train")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "there is no such folder"),
        ({"cat/page.jpg": 0}, "no readable image"),
        ({f"cat/{i}.png": i + 1 for i in range(9)}, "single class 'cat'"),
        ({f"{c}/{i}.png": 50 * n + i + 1 for n, c in enumerate("ab") for i in range(9 - 6 * n)}, "'b' has 3"),
    ],
)
def test_unusable_source_says_why(tmp_path: Path, files: dict[str, int], words: str) -> None:
    """A source that cannot be used is an error that says why, and nothing is half-written."""
    for name, seed in files.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(path) if seed else path.write_text("<html>")
    with pytest.raises(UserError, match=words):
        prepare_dataset(DataConfig(source=[str(tmp_path / "source")]), Folder.from_uri(tmp_path / "out"))
    assert not (tmp_path / "out").exists(), "nothing is half-written"


def test_extension_moves_no_old_row(tmp_path: Path) -> None:
    """Extending a dataset by a thousand images moves no old row and fills the splits with new ones."""

    def fill(n: int) -> Path:
        for number, name in enumerate(("cat", "dog")):
            (tmp_path / "grows" / name).mkdir(parents=True, exist_ok=True)
            for i in range(n):
                picture(1000 * number + i).save(tmp_path / "grows" / name / f"{i}.png")
        return tmp_path / "grows"

    def split_of(out: str) -> dict[str, str]:
        table = Folder.from_uri(tmp_path / out).read_table("split.parquet").to_pylist()
        return {row["id"]: row["split"] for row in table}

    config = DataConfig(source=[str(fill(30))], split=SplitConfig(val=0.2, test=0.3), train_per_class=12)
    prepare_dataset(config, Folder.from_uri(tmp_path / "old"))
    fill(530)
    longer = config.model_copy(update={"extends": str(tmp_path / "old"), "train_per_class": 40})
    record = prepare_dataset(longer, Folder.from_uri(tmp_path / "new"))
    old, new = split_of("old"), split_of("new")
    assert len(old) == 60
    assert len(new) == 1060
    assert {id_: new[id_] for id_ in old} == old
    assert record.counts["test"] == {"cat": 159, "dog": 159}
    assert record.counts["train"] == {"cat": 40, "dog": 40}
    again = config.model_copy(update={"train_per_class": 40})
    prepare_dataset(again, Folder.from_uri(tmp_path / "anew"))
    anew = split_of("anew")
    assert any(anew[id_] != old[id_] for id_ in old), "without extends they would have moved"
    with pytest.raises(UserError, match="no finished dataset"):
        prepare_dataset(
            config.model_copy(update={"extends": str(tmp_path / "nowhere")}), Folder.from_uri(tmp_path / "x")
        )


def given_folders(root: Path, counts: dict[str, int]) -> Path:
    seed = 0
    for part, n in counts.items():
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                seed += 1
                picture(seed).save(root / part / name / f"{i}.png")
    return root


def test_given_splits_reject_leaks(tmp_path: Path) -> None:
    """Given splits are used as they are, and copies that leak into training are rejected."""
    root = given_folders(tmp_path / "given", {"train": 10, "val": 3, "test": 4})
    (root / "train" / "cat" / "from_test.png").write_bytes((root / "test" / "cat" / "0.png").read_bytes())
    (root / "train" / "dog" / "from_val.png").write_bytes((root / "val" / "dog" / "1.png").read_bytes())
    (root / "val" / "dog" / "too.png").write_bytes((root / "test" / "dog" / "3.png").read_bytes())
    (root / "train" / "dog" / "twice.png").write_bytes((root / "train" / "dog" / "5.png").read_bytes())
    found = survey(DataConfig(source=[str(root)], split=SplitConfig(given=True)))
    assert dict(zip(*(found.rejected[name].to_pylist() for name in ("path", "reason")), strict=True)) == {
        "train/cat/from_test.png": "leak",
        "train/dog/from_val.png": "leak",
        "val/dog/too.png": "leak",
        "train/dog/twice.png": "duplicate",
    }
    assert {part: sum(own.values()) for part, own in found.count_images().items()} == {
        "train": 20, "val": 6, "test": 8, "unused": 0,
    }  # fmt: skip
    assert all(row["split"] == row["path"].split("/")[0] for row in found.usable.to_pylist())


def test_missing_validation_comes_from_training(tmp_path: Path) -> None:
    """Without a validation folder its share is taken from training, and the test split is left alone."""
    root = given_folders(tmp_path / "given", {"train": 20, "test": 4})
    found = survey(DataConfig(source=[str(root)], split=SplitConfig(given=True, val=0.25), train_per_class=10))
    counts = {part: sum(own.values()) for part, own in found.count_images().items()}
    assert counts == {"train": 20, "val": 10, "test": 8, "unused": 10}
    only = given_folders(tmp_path / "only", {"train": 9})
    with pytest.raises(UserError, match="no test"):
        survey(DataConfig(source=[str(only)], split=SplitConfig(given=True)))


def test_store_round_trip_is_lossless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store keeps the shape, the pixels and every column of its images."""
    monkeypatch.setattr(image_store, "MAX_ROWS_PER_SHARD", 3)
    rng = np.random.default_rng(0)
    rows = image_store.LabelledImages(
        rng.integers(0, 256, (7, 5, 4, 3), np.uint8), np.arange(7), names(7), names(7, "p"), names(7, "v")
    )
    folder = Folder.from_uri(tmp_path)
    image_store.write_images(folder, rows, "real")
    assert folder.list_files(".parquet") == [f"part-0000{i}.parquet" for i in range(3)]
    back = image_store.read_images(folder)
    assert np.array_equal(back.images, rows.images)
    assert back.labels.tolist() == list(range(7))
    assert (back.ids, back.paths, back.provenance) == (rows.ids, rows.paths, rows.provenance)


def test_wrong_extension_is_noted(cats_and_dogs: Path, tmp_path: Path) -> None:
    """A file with a wrong extension is kept, and a note says so."""
    (cats_and_dogs / "cat" / "0.png").rename(cats_and_dogs / "cat" / "0.JPG")
    (cats_and_dogs / "cat" / "1.png").rename(cats_and_dogs / "cat" / "no-extension")
    out = Folder.from_uri(tmp_path / "out")
    assert prepare_dataset(DataConfig(source=[str(cats_and_dogs)]), out).rejected == {}
    notes = {row["path"]: row["note"] for row in out.read_table("split.parquet").to_pylist()}
    assert {path: note for path, note in notes.items() if note} == {"cat/0.JPG": "named .jpg, is PNG"}


def test_statistics_describe_training_pixels(cats_and_dogs: Path, tmp_path: Path) -> None:
    """The recorded mean and standard deviation are those of the training pixels."""
    out = Folder.from_uri(tmp_path / "out")
    record = prepare_dataset(DataConfig(source=[str(cats_and_dogs)]), out)
    pixels = image_store.read_images(out / "train").images / 255
    assert np.allclose(record.mean, pixels.mean((0, 1, 2)), atol=1e-5)
    assert np.allclose(record.std, pixels.std((0, 1, 2)), atol=1e-5)


def test_encoded_store_is_lossless(tmp_path: Path) -> None:
    """An encoded store holds the same pixels in less space."""
    smooth = Image.linear_gradient("L").convert("RGB")
    for index in range(24):
        folder = tmp_path / "source" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        smooth.rotate(7 * index).save(folder / f"{index}.png")
    config = DataConfig(source=[str(tmp_path / "source")], image_size=64)
    raw, encoded = Folder.from_uri(tmp_path / "raw"), Folder.from_uri(tmp_path / "encoded")
    assert (
        prepare_dataset(config, raw).hash
        == prepare_dataset(config.model_copy(update={"store": "encoded"}), encoded).hash
    )
    one, other = image_store.read_images(raw / "train"), image_store.read_images(encoded / "train")
    assert one.ids == other.ids
    assert (one.images == other.images).all()
    sizes = [len((folder / "train").read_bytes("part-00000.parquet")) for folder in (raw, encoded)]
    assert sizes[1] < sizes[0]


def test_jpeg_ids_ignore_image_size(
    tmp_path: Path,
) -> None:
    """A large JPEG has the same id at every image size, so that an extension recognises it."""
    wide = Image.linear_gradient("L").resize((900, 700)).convert("RGB")
    for index in range(16):
        folder = tmp_path / "source" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        wide.rotate(11 * index).save(folder / f"{index}.jpg", quality=90)
    config = DataConfig(source=[str(tmp_path / "source")])
    ids = [survey(config.model_copy(update={"image_size": size})).usable["id"].to_pylist() for size in (32, 128, 400)]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids[0])) == 16


def test_prediction_decodes_jpeg_like_training(tmp_path: Path) -> None:
    """Prediction decodes a JPEG to the same pixels as training."""
    from ganaug_ray.classify.predict import Classifier

    sink = io.BytesIO()
    Image.radial_gradient("L").resize((700, 500)).convert("RGB").save(sink, "JPEG")
    folder = tmp_path / "source"
    for name in "ab":
        (folder / name).mkdir(parents=True)
        for index in range(6):
            picture(index + 50 * ord(name)).save(folder / name / f"{index}.png")
    (folder / "a" / "wide.jpg").write_bytes(sink.getvalue())
    out = Folder.from_uri(tmp_path / "out")
    prepare_dataset(DataConfig(source=[str(folder)], image_size=64), out)
    rows = [image_store.read_images(out / part) for part in ("train", "val", "test")]
    stored = next(r.images[r.paths.index("a/wide.jpg")] for r in rows if "a/wide.jpg" in r.paths)
    classifier = Classifier.__new__(Classifier)
    classifier.spec = records.make_spec(channels=3, image_size=64)
    assert (classifier.preprocess(sink.getvalue()) == stored).all()
