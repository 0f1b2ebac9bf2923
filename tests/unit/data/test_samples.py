"""Samples of more than 8 bits, signed ones and floats: one scale for a data set, known, set, or refused."""

from __future__ import annotations

import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from PIL import Image

from ganaug_ray.config import DataConfig, Job, loader
from ganaug_ray.core.records import DatasetRecord, ValueRange
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import images, tiff_tags
from ganaug_ray.data.ingest import audit, scan, shard_writer
from ganaug_ray.data.ingest import value_range as scales
from ganaug_ray.data.ingest.external import read_images
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.errors import UserError
from ganaug_ray.runtime.executors import map_serially
from tests.helpers import image_files, records
from tests.helpers.image_files import encode, png16, png_chunk, tiff

GREY = np.asarray(Image.linear_gradient("L").resize((60, 40)))
RGB = np.stack([GREY, GREY // 2, 255 - GREY], -1)
RGBA = np.concatenate([RGB, np.full_like(GREY, 255)[..., None]], -1)
BANDS = np.concatenate([RGB, GREY[..., None] // 4], -1)  # the fourth is near infrared
TWELVE_BITS = ValueRange(low=0, high=4095)


def wide(pixels: np.ndarray, bits: int = 16) -> np.ndarray:
    return np.round(pixels / 255 * (2**bits - 1)).astype(np.uint16)


def pnm(magic: str, maxval: int, pixels: np.ndarray) -> bytes:
    return f"{magic} 60 40 {maxval}\n".encode() + pixels.astype(">u2").tobytes()


def assert_decoded(content: bytes, expected: np.ndarray, value_range: ValueRange | None = None) -> None:
    pixels = np.asarray(images.decode(content, value_range=value_range).image)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_samples_keep_their_values(order: str, compress: bool) -> None:
    """TIFF samples of every depth, sign and order of bytes become the grey levels they stand for."""

    def file(pixels: np.ndarray, **options: int) -> bytes:
        return tiff(pixels, order, compress, **options)

    signed = ValueRange(low=-2048, high=2047)
    assert_decoded(file(wide(GREY)), GREY)
    assert_decoded(file(wide(RGB)), RGB)
    assert_decoded(file(wide(RGB, 12)), RGB, TWELVE_BITS)
    assert_decoded(file((GREY.astype(int) - 128).astype(np.int8)), GREY)
    assert_decoded(file(wide(GREY, 12).astype(np.int16) - 2048), GREY, signed)
    assert_decoded(file(wide(GREY, 12).astype(np.int32) - 2048), GREY, signed)
    assert_decoded(file((GREY / 255).astype(np.float32)), GREY)
    assert_decoded(file((GREY / 127.5 - 1).astype(np.float32)), GREY, ValueRange(low=-1, high=1))
    assert_decoded(file((1 - GREY / 255).astype(np.float32), photometric=0), GREY)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png16(wide(GREY, 12)), GREY),
        (png16(wide(RGB, 12)), RGB),
        (png16(np.stack([wide(GREY, 12), np.full_like(wide(GREY), 65535)], -1)), GREY),
        (png16(np.concatenate([wide(RGB, 12), wide(RGBA[..., 3:])], -1)), RGB),
        (pnm("P5", 4095, wide(GREY, 12)), GREY),
        (pnm("P5", 65535, wide(GREY, 12)), GREY),
        (pnm("P6", 4095, wide(RGB, 12)), RGB),
        (pnm("P6", 65535, wide(RGB, 12)), RGB),
        (encode(wide(GREY, 12), "JPEG2000"), GREY),
    ],
)
def test_known_scale_reaches_all_formats(content: bytes, expected: np.ndarray) -> None:
    """Twelve bits in files of sixteen are scaled by the range that is known, colours not by their high byte alone."""
    assert_decoded(content, expected, TWELVE_BITS)


def test_one_bit_is_black_and_white() -> None:
    """Images of one bit are black and white in every format that has them."""
    halves = Image.fromarray(np.arange(64).reshape(8, 8) % 8 > 3)
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        assert np.unique(np.asarray(images.decode(encode(halves, kind)).image)).tolist() == [0, 255]


@pytest.mark.parametrize("extra", [None, [0]])
@pytest.mark.parametrize("bits", [8, 16])
def test_fourth_band_is_no_transparency(extra: list[int] | None, bits: int) -> None:
    """A TIFF image's fourth band that is not said to be alpha is left out, with a note."""
    pixels = BANDS if bits == 8 else wide(BANDS)
    decoded = images.decode(tiff(pixels, extra=extra))
    assert "bands beyond the third left out" in decoded.notes
    assert np.abs(np.asarray(decoded.image).astype(int) - RGB).max() <= 1
    half = tiff(np.concatenate([pixels[..., :3], pixels[..., :1] * 0], -1), extra=[2])
    assert np.asarray(images.decode(half).image).min() == 255, "said to be alpha"
    assert any("on white" in note for note in images.decode(half).notes)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.concatenate([RGB, RGB], -1), "6 × 8 bits a pixel, integers; save one or three of its bands as PNG"),
        ((RGB / 255).astype(np.float32), "3 × 32 bits a pixel, floats; save it as 16-bit PNG"),
        (np.concatenate([RGB, RGB[..., :2]], -1).astype(np.uint16), "5 × 16 bits a pixel, integers; save one or three"),
        ((GREY / 255).astype(np.float64), "1 × 64 bits a pixel, floats"),
    ],
)
def test_undecodable_samples_are_described(pixels: np.ndarray, words: str) -> None:
    """What Pillow cannot decode is refused with a description of its samples, not as damaged or no image."""
    with pytest.raises(images.UnreadableError, match="cannot be decoded") as raised:
        images.decode(tiff(pixels))
    assert words in raised.value.detail


@pytest.mark.parametrize(("number", "name"), [(34712, "JPEG 2000"), (50002, "JPEG XL"), (61000, "number 61000")])
def test_unread_compression_of_tiff_is_named(number: int, name: str) -> None:
    """A TIFF file that is compressed in a way that Pillow does not know is refused by the name of that."""
    with pytest.raises(images.UnreadableError, match="cannot be decoded") as raised:
        images.decode(tiff(GREY, tags={259: (3, [number])}))
    assert raised.value.detail.startswith(f"TIFF: its compression, {name}, is not read (1 × 8 bits a pixel")


def test_compression_that_libtiff_lacks_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where libtiff was built without a compression, a file that has it is not called damaged."""
    monkeypatch.setattr(tiff_tags, "_can_write", lambda compression: False)
    with pytest.raises(images.UnreadableError, match="cannot be decoded") as raised:
        images.decode(tiff(GREY, tags={259: (3, [50001])}))
    assert raised.value.detail.startswith("TIFF: its compression, webp, is not read; save it in another")


def test_grey_multiplied_by_alpha_is_read() -> None:
    """Grey levels that are multiplied by their alpha are divided by it, and laid on white."""
    pixels = np.stack([np.full((20, 20), 60, np.uint8), np.full((20, 20), 120, np.uint8)], -1)
    decoded = images.decode(tiff(pixels, extra=[1]))
    assert decoded.notes == ("transparent pixels laid on white",)
    assert np.abs(np.asarray(decoded.image).astype(int) - (60 + 255 - 120)).max() <= 1


def test_later_frames_are_noted() -> None:
    """Of an image of several frames the first is read, and a note says so."""
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        moving = encode(RGB, kind, save_all=True, append_images=[Image.fromarray(255 - RGB)])
        decoded = images.decode(moving)
        assert decoded.notes == ("frames beyond the first left out",)
        assert np.abs(np.asarray(decoded.image).mean() - RGB.mean()) < 3


def pictures(root: Path, write: object, n: int = 8) -> str:
    """Fill a folder with pictures of two classes; ``write`` makes a file's bytes of a grey picture."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for number in range(n):
            tile = Image.fromarray(rng.integers(0, 256, (6, 6), np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)
            pixels = np.asarray(tile).copy()
            pixels[0, :2] = 0, 255
            (root / label / f"{number}.tif").write_bytes(write(pixels))  # type: ignore[operator]
    return str(root)


SCALES = {
    "10 bits": (lambda grey: tiff(wide(grey, 10)), (0, 1023), "integer"),
    "12 bits": (lambda grey: png16(wide(grey, 12)), (0, 4095), "integer"),
    "14 bits": (lambda grey: png16(np.stack([wide(grey, 14)] * 3, -1)), (0, 16383), "integer"),
    "16 bits": (lambda grey: png16(wide(grey)), (0, 65535), "integer"),
    "signed 8": (lambda grey: tiff((grey.astype(int) - 128).astype(np.int8)), (-128, 127), "integer"),
    "signed 16": (lambda grey: tiff((wide(grey).astype(int) - 32768).astype(np.int16)), (-32768, 32767), "integer"),
    "unsigned in signed": (lambda grey: tiff(wide(grey, 12).astype(np.int16)), (0, 4095), "integer"),
    "unit floats": (lambda grey: tiff((grey / 255).astype(np.float32)), (0, 1), "float"),
    "signed floats": (lambda grey: tiff((grey / 127.5 - 1).astype(np.float32)), (-1, 1), "float"),
}


def survey_pixels(config: DataConfig, staged: Folder) -> tuple[scan.Survey, dict[str, np.ndarray]]:
    """Survey a source; return the grey pixels of each path too."""
    found = scan.survey_source(config, staged.create())
    pixels = shard_writer.read_pixels(staged, found.usable, config.image_size, found.channels)[..., 0]
    return found, dict(zip(found.usable["path"].to_pylist(), pixels, strict=True))


@pytest.mark.parametrize("name", SCALES)
def test_scale_is_inferred_from_dataset(tmp_path: Path, name: str) -> None:
    """A data set's scale is the narrowest usual one that all of its samples fit in and that they fill."""
    write, (low, high), kind = SCALES[name]
    plain = DataConfig(source=[pictures(tmp_path / "eight", lambda grey: encode(grey, "PNG"))])
    _, expected = survey_pixels(plain, Folder.from_uri(tmp_path / "plain"))
    config = DataConfig(source=[pictures(tmp_path / "wide", write)])
    found, scaled = survey_pixels(config, Folder.from_uri(tmp_path / "staged"))
    assert found.value_range == ValueRange(low=low, high=high, samples=[kind])
    assert found.count_notes()[f"values {low} to {high} scaled to 0 to 255"] == 16
    assert scaled.keys() == expected.keys()
    for path, pixels in scaled.items():
        assert np.abs(pixels.astype(int) - expected[path]).max() <= 1


def test_scale_is_recorded_and_shown(tmp_path: Path) -> None:
    """The scale is in dataset.json, and with its number of images on the card."""
    out = Folder.from_uri(tmp_path / "out")
    prepare_dataset(DataConfig(source=[pictures(tmp_path / "wide", SCALES["12 bits"][0])]), out)
    record = DatasetRecord.read(out)
    assert record.value_range == ValueRange(low=0, high=4095, samples=["integer"])
    assert set(record.notes.values()) == {16}
    named, scaled = sorted(record.notes)
    assert "is PNG" in named
    assert "0 to 4095" in scaled
    assert f"16&nbsp;× {scaled}" in out.read_bytes("card.html").decode()


CALLS = itertools.count(1)


def odd_one(grey: np.ndarray) -> bytes:
    """Twelve bits, but for one image of sixteen with a hot pixel."""
    pixels = wide(grey, 12)
    if next(CALLS) % 16 == 0:
        pixels[5, 5] = 65535
    return tiff(pixels)


def alternate(grey: np.ndarray) -> bytes:
    """Floats and integers in turn."""
    return tiff(wide(grey) if next(CALLS) % 2 else grey.astype(np.float32) * 257)


@pytest.mark.parametrize(
    ("write", "words", "fitting"),
    [
        (
            lambda grey: tiff((grey * 3.0).astype(np.float32)),
            "samples of 16 images reach from 0 to 765",
            [0, 765],
        ),
        (lambda grey: tiff((grey / 2550).astype(np.float32)), "reach from 0 to 0.1", [0, 0.1]),
        (lambda grey: tiff(wide(grey, 12).astype(np.int16) - 1024), "reach from -1024 to 3071", [-1024, 3071]),
        (odd_one, "to 65535 .*, in half of them to 4095", [0, 4095]),
        (alternate, "some images have floats and others integers", [0, 65535]),
    ],
)
def test_unknowable_scale_names_the_setting(tmp_path: Path, write: object, words: str, fitting: list[float]) -> None:
    """A scale that cannot be known is refused in a sentence that names the setting, and works once it is set."""
    source = pictures(tmp_path / "wide", write)
    with pytest.raises(UserError, match=f"data.source .*{words}.*[;,] set data.value_range: \\[low, high\\]"):
        scan.survey_without_storing(DataConfig(source=[source]))
    config = DataConfig(source=[source], value_range=fitting)
    found, pixels = survey_pixels(config, Folder.from_uri(tmp_path / "staged"))
    assert found.value_range == ValueRange(low=fitting[0], high=fitting[1], is_set=True)
    low, high = fitting
    assert [n for note, n in found.count_notes().items() if f"{low:g} to {high:g} scaled" in note] == [16]
    assert 100 < np.mean(list(pixels.values())) < 155


@pytest.mark.parametrize(
    ("cat", "dog", "fitting"),
    [("12 bits", "16 bits", [0, 65535]), ("14 bits", "16 bits", [0, 65535]), ("unit floats", "signed floats", [-1, 1])],
)
def test_classes_of_unequal_scales_are_refused(tmp_path: Path, cat: str, dog: str, fitting: list[float]) -> None:
    """A class written in another scale than the others is refused, and read once the scale is set."""
    names = iter([cat] * 8 + [dog] * 8)
    source = pictures(tmp_path / "wide", lambda grey: SCALES[next(names)][0](grey))
    with pytest.raises(
        UserError, match=r"several scales: all samples of cat .*; .*set data.value_range: \[low, high\]"
    ):
        scan.survey_without_storing(DataConfig(source=[source]))
    assert len(scan.survey_without_storing(DataConfig(source=[source], value_range=fitting)).usable) == 16


@pytest.mark.parametrize(
    ("first", "second", "fitting"),
    [("12 bits", "16 bits", [0, 65535]), ("14 bits", "16 bits", [0, 65535]), ("unit floats", "signed floats", [-1, 1])],
)
def test_unequal_scales_in_a_class_are_refused(tmp_path: Path, first: str, second: str, fitting: list[float]) -> None:
    """Images of one class in two scales are refused, and read once the scale is set."""
    names = itertools.cycle([first, second])
    source = pictures(tmp_path / "wide", lambda grey: SCALES[next(names)][0](grey))
    with pytest.raises(
        UserError, match=r"images of cat seem to have several scales: 4 of 8 stay within .*; .*set data.value_range: \["
    ):
        scan.survey_without_storing(DataConfig(source=[source]))
    assert len(scan.survey_without_storing(DataConfig(source=[source], value_range=fitting)).usable) == 16


@pytest.mark.parametrize(
    ("highs", "is_refused"),
    [
        ([4095] * 4 + [60000] * 8, True),
        ([255] * 4 + [60000] * 8, True),
        ([4095] * 3 + [60000] * 8, False),  # a few dark ones
        ([4095] * 4 + [60000] * 20, False),
        ([3000 * 1.2**step for step in range(17)] + [60000] * 8, False),  # every brightness there is
        ([4095] * 4 + [5000] * 4 + [60000] * 12, False),
    ],
)
def test_dark_images_are_no_other_scale(highs: list[float], is_refused: bool) -> None:
    """Images seem to have a narrower scale where many end with it, and hardly any shortly behind it."""
    rows = [
        {"path": f"{number}.png", "label": "cat", "reason": None, "dtype": "uint16", "low": 0.0, "high": float(high)}
        for number, high in enumerate(highs)
    ]
    records = pa.Table.from_pylist(rows, audit.RECORD_SCHEMA)
    if is_refused:
        with pytest.raises(UserError, match="several scales"):
            scales.infer_range(records, "data.source x")
    else:
        assert scales.infer_range(records, "data.source x") == ValueRange(low=0, high=65535, samples=["integer"])


def test_few_dark_images_are_noted(tmp_path: Path) -> None:
    """A single image of a narrower scale is kept, as it may be dark in truth, and noted."""
    calls = itertools.count(1)
    source = pictures(tmp_path / "wide", lambda grey: png16(wide(grey, 8 if next(calls) % 8 == 0 else 16)))
    found = scan.survey_without_storing(DataConfig(source=[source]))
    assert found.value_range == ValueRange(low=0, high=65535, samples=["integer"])
    assert found.count_notes()["all values within a quarter of that range, as if written in a narrower one"] == 2


def test_class_of_dark_files_is_told(tmp_path: Path) -> None:
    """Of plain 8-bit files one class that is dark in every image, and no other, is remarked."""
    calls = itertools.count()
    source = pictures(tmp_path / "in", lambda grey: encode(grey // 16 if next(calls) < 8 else grey, "PNG"))
    (remark,) = scan.survey_without_storing(DataConfig(source=[source])).remarks
    assert remark.startswith("all images of cat are dark and those of other classes are not")


def test_set_range_survives_the_job_file(tmp_path: Path) -> None:
    """A range that is set is the same after the job is written and read; one that is upside down is refused."""
    sections = {"gan": {"steps": 1}, "classifier": {"steps": 1}}
    job = Job.model_validate({"data": {"source": "x", "value_range": [-1, 1]}, **sections})
    again = Job.model_validate(yaml.safe_load(loader.dump_job(job)))
    assert again.data.value_range == [-1, 1]
    with pytest.raises(ValueError, match="lower one first"):
        DataConfig(source=["x"], value_range=[5, 5])


def test_values_beyond_range_are_noted(tmp_path: Path) -> None:
    """Values that the set range cuts off are noted, and infinite ones are rejected with the reason."""
    source = pictures(tmp_path / "wide", lambda grey: tiff(wide(grey, 12)))
    nothing = np.full((32, 32), np.nan, np.float32)
    (tmp_path / "wide" / "cat" / "hole.tif").write_bytes(tiff(nothing))
    found = scan.survey_without_storing(DataConfig(source=[source], value_range=[0, 1000]))
    assert found.count_notes()["values beyond the range cut off"] == 16
    assert found.count_rejects() == {"not a number": 1}


def test_unlabelled_images_of_other_scale_are_told(tmp_path: Path) -> None:
    """Images without labels are brought to the labelled ones' scale; where that cuts them off, a remark says so."""
    labelled = pictures(tmp_path / "labelled", lambda grey: png16(wide(grey, 12)))
    pool = pictures(tmp_path / "pool", lambda grey: png16(wide(255 - grey)))
    out = Folder.from_uri(tmp_path / "out")
    record = prepare_dataset(DataConfig(source=[labelled], unlabelled=[pool]), out)
    (remark,) = record.remarks
    assert "the range of the labelled ones, 0 to 4095: 16 × values beyond the range cut off" in remark
    assert record.unlabelled_notes["values beyond the range cut off"] == record.unlabelled == 16
    assert "values beyond the range cut off" in out.read_table("unlabelled.parquet")["note"][0].as_py()


def packed_twelve_bits(grey: np.ndarray) -> bytes:
    """A TIFF file of 12 bits a sample, which says so itself."""
    pairs = wide(grey, 12).reshape(-1, 2).astype(int)
    data = b"".join((first << 12 | second).to_bytes(3) for first, second in pairs.tolist())
    height, width = grey.shape
    packed = np.frombuffer(data, np.uint8).reshape(height, -1)
    return tiff(packed, tags={256: (4, [width]), 258: (3, [12])})


@pytest.mark.parametrize("write", [packed_twelve_bits, lambda grey: image_files.pnm(wide(grey, 12), 4095)])
def test_overruled_files_are_noted(tmp_path: Path, write: object) -> None:
    """Files that say themselves what is white, and are scaled by a set range that is another, have a note."""
    source = pictures(tmp_path / "wide", write)
    wrong = scan.survey_without_storing(DataConfig(source=[source], value_range=[0, 65535]))
    assert wrong.count_notes()["its file says 0 to 4095, which data.value_range overrules"] == 16
    assert not any("is not used" in remark for remark in wrong.remarks)
    for value_range in ([0, 4095], "auto"):
        right = scan.survey_without_storing(DataConfig(source=[source], value_range=value_range))
        assert not any("overrules" in note for note in right.count_notes())


def test_extension_keeps_the_old_scale(tmp_path: Path) -> None:
    """A data set that extends an earlier one has its scale, though the new files alone would have another."""
    old = pictures(tmp_path / "old", lambda grey: png16(wide(grey, 12)))
    prepare_dataset(DataConfig(source=[old]), Folder.from_uri(tmp_path / "first"))
    dim = pictures(tmp_path / "dim", lambda grey: png16(wide(grey, 10)))
    config = DataConfig(source=[old, dim], extends=str(tmp_path / "first"))
    assert scan.survey_without_storing(config).value_range == ValueRange(low=0, high=4095, samples=["integer"])


def test_prediction_uses_the_saved_scale(tmp_path: Path) -> None:
    """A model reads new files by the scale of its training images, and refuses another kind of samples."""
    from ganaug_ray.classify.predict import Classifier

    classifier = Classifier.__new__(Classifier)
    scale = ValueRange(low=0, high=4095, samples=["integer"])
    classifier.spec = records.make_spec(channels=1, image_size=40, resize="stretch", value_range=scale)
    plain = classifier.preprocess(encode(GREY, "PNG"))
    assert np.abs(classifier.preprocess(png16(wide(GREY, 12))).astype(int) - plain).max() <= 1
    assert np.abs(classifier.preprocess(Image.fromarray(wide(GREY, 12))).astype(int) - plain).max() <= 1
    floats = (GREY / 255).astype(np.float32)
    for sent in (tiff(floats), Image.fromarray(floats)):
        with pytest.raises(images.UnreadableError, match="unknown value range") as refusal:
            classifier.preprocess(sent)
        assert refusal.value.detail.endswith("; send plain 8 bits, or integer samples from 0 to 4095")
    source = pictures(tmp_path / "dim", lambda grey: png16(wide(grey, 10)))
    staged = Folder.from_uri(tmp_path / "staged").create()
    others = read_images(DataConfig(source=[source]), source, classifier.spec, staged, map_serially, ())
    brightest = int(others.images[:].max())
    assert abs(brightest - 64) < 6, "dim by the model's scale, though these alone are of 10 bits"


def test_void_alpha_of_bmp_is_ignored() -> None:
    """A BMP file whose fourth byte is 0 throughout has no transparency; one that has some is laid on white."""
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 60, -40, 1, 32, 3, RGBA.nbytes, 0, 0, 0, 0) + masks + bytes(52)
    start = b"BM" + struct.pack("<IHHI", 122 + RGBA.nbytes, 0, 0, 122) + header
    void = np.concatenate([RGB[..., ::-1], np.zeros_like(GREY)[..., None]], -1)
    decoded = images.decode(start + void.tobytes())
    assert (np.asarray(decoded.image) == RGB).all()
    assert decoded.notes == ("transparency of 0 throughout ignored",)
    void[0, 0, 3] = 255
    assert images.decode(start + void.tobytes()).notes == ("transparent pixels laid on white",)


@pytest.mark.parametrize(("bits", "transparent"), [(2, 1), (4, 3), (8, 100)])
def test_transparent_narrow_value_is_white(bits: int, transparent: int) -> None:
    """Grey of few bits that its PNG file calls transparent is laid on white, which a note says."""
    width = 64
    header = b"".join(value.to_bytes(size) for value, size in ((width, 4), (2, 4), (bits, 1), (0, 1), (0, 3)))
    filled = int("".join(f"{transparent:0{bits}b}" for _ in range(width)), 2).to_bytes(width * bits // 8)
    rows = b"\0" + filled + b"\0" + bytes(len(filled))  # the second is black
    content = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"tRNS", transparent.to_bytes(2))
    content += png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    decoded = images.decode(content)
    assert np.asarray(decoded.image).tolist() == [[255] * width, [0] * width]
    assert "transparent pixels laid on white" in decoded.notes
