"""Inputs after public reports of other people's trouble, one a name: each is read right, or refused with the cause.

Those that are sent to a server are in tests/unit/serve/test_reported_requests.py.
"""

from __future__ import annotations

import functools
import json
import re
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganaug_ray.classify.image_files import IMAGE, OTHER_FILE, list_parts, read_batches
from ganaug_ray.config.loader import load_job
from ganaug_ray.data import images
from ganaug_ray.data.ingest.scan import Survey, survey_without_storing
from tests.helpers.image_files import encode, exif

N = 20  # images of a class
LABELS = ("cat", "dog")
BOTH = {"cat": N, "dog": N}
SIDEWAYS = (0x0112, 3, 1, struct.pack("<H", 6))  # the tag of orientation


@dataclass(frozen=True)
class Case:
    """What is made of an input.

    Attributes:
        build: writes it to a folder; returns the section data of a job.
        kept: class -> images.
        rejected: reason -> images.
        passed_over: reason -> files that are no images.
        says: a part of a remark or note, as a regular expression; empty where nothing is to be said.
        check: of the survey and the folder, what else is right.
    """

    build: Callable[[Path], Mapping[str, Any]]
    kept: Mapping[str, int] = field(default_factory=lambda: BOTH)
    rejected: Mapping[str, int] = field(default_factory=dict)
    passed_over: Mapping[str, int] = field(default_factory=dict)
    says: str = ""
    check: Callable[[Survey, Path], None] = lambda survey, root: None


@functools.cache
def photo(label: str, number: int) -> Image.Image:
    """Return a picture of soft spots and grain, as a photograph has them; another number gives another one."""
    rng = np.random.default_rng([LABELS.index(label), number])
    spots = Image.fromarray(rng.integers(20, 230, (6, 6, 3), np.uint8)).resize((48, 48), Image.Resampling.BICUBIC)
    return Image.fromarray(np.asarray(spots) // 2 + rng.integers(30, 90, (48, 48, 3), np.uint8))


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def put_folder(root: Path, n: int = N) -> Mapping[str, Any]:
    for label in LABELS:
        for i in range(n):
            put(root / label / f"{label}{i}.jpg", encode(photo(label, i), "JPEG"))
    return {"source": str(root)}


def put_each(root: Path, suffix: str, write: Callable[[str, int], bytes]) -> Mapping[str, Any]:
    for label in LABELS:
        for i in range(N):
            put(root / label / f"{i}{suffix}", write(label, i))
    return {"source": str(root)}


def put_zip(path: Path, name: Callable[[str, int], str]) -> Mapping[str, Any]:
    with zipfile.ZipFile(path, "w") as archive:
        for label in LABELS:
            for i in range(N):
                entry = zipfile.ZipInfo("x")
                entry.filename = name(label, i)
                archive.writestr(entry, encode(photo(label, i), "JPEG"))
    return {"source": str(path)}


def put_rows(root: Path, labels: Mapping[str, object], metadata: Mapping[bytes, bytes] | None = None) -> Mapping:
    rows = [
        {"image": {"bytes": encode(photo(label, i), "JPEG"), "path": None}, "label": labels[label]}
        for label in LABELS
        for i in range(N)
    ]
    root.mkdir()
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(metadata), root / "rows.parquet")
    return {"source": str(root / "rows.parquet")}


def put_table(root: Path, text: str) -> Mapping[str, Any]:
    put(root / "labels.csv", text.encode())
    return {**put_folder(root / "images"), "label_from": {"csv": str(root / "labels.csv")}}


def build_two_links_back(root: Path) -> Mapping[str, Any]:
    data = put_folder(root)
    for label in LABELS:
        (root / label / "all").symlink_to("..")
    return data


def build_links_to_nothing(root: Path) -> Mapping[str, Any]:
    data = put_folder(root, 12)
    for i in range(12, N):
        (root / "dog" / f"dog{i}.jpg").symlink_to(f"../../elsewhere/dog{i}.jpg")
    return {**data, "max_rejected": 0.3}


def write_twelve_bits(label: str, i: int) -> bytes:
    return encode(Image.fromarray(np.asarray(photo(label, i).convert("L"), np.uint16) * 16), "PNG")


def write_near_infrared(label: str, i: int) -> bytes:
    """Four samples, and no tag that says what the fourth is."""
    image = photo(label, i).copy()
    image.putalpha(Image.new("L", image.size, 60))
    content = encode(image, "TIFF")
    return content.replace(struct.pack("<HH", 338, 3), struct.pack("<HH", 65000, 3))


def build_test_without_labels(root: Path) -> Mapping[str, Any]:
    put_folder(root / "train")
    for i in range(N, 2 * N):
        put(root / "test" / f"{i}.jpg", encode(photo("dog", i), "JPEG"))
    return {"source": str(root)}


def build_two_labels(root: Path) -> Mapping[str, Any]:
    rows = [f"{label}/{label}{i}.jpg,{label}" for label in LABELS for i in range(N)]
    return put_table(root, "\n".join(["image,label", *rows, *(f"cat/cat{i}.jpg,dog" for i in range(8))]) + "\n")


def write_odd_exif(label: str, i: int) -> bytes:
    odd = [(0x0100, 2, 3, b"48\0")] if i % 2 else []  # a width that is text
    return encode(photo(label, i), "JPEG", quality=95, subsampling=0, exif=exif(SIDEWAYS, *odd))


def build_class_label(root: Path) -> Mapping[str, Any]:
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    schema = json.dumps({"info": {"features": features}}).encode()
    return put_rows(root, {"cat": 0, "dog": 1}, {b"huggingface": schema})


def build_folder_in_front(root: Path) -> Mapping[str, Any]:
    rows = [f"images/{label}/{label}{i}.jpg, {label}" for label in LABELS for i in range(N)]
    return put_table(root, "\n".join(["image, label", *rows]) + "\n")


def build_yes_and_no(root: Path) -> Mapping[str, Any]:
    put_folder(root)
    (root / "cat").rename(root / "yes")
    (root / "dog").rename(root / "no")
    return {"source": str(root), "imbalance": {"factor": 2, "rare": ["no"]}}


def build_foreign_zip_names(root: Path) -> Mapping[str, Any]:
    """Names in GBK, as Windows writes them in China, and nothing in the archive that says so."""
    root.mkdir()
    data = put_zip(root / "pets.zip", lambda label, i: f"{'mmmm' if label == 'cat' else 'gggg'}/{i}.jpg")
    content = (root / "pets.zip").read_bytes()
    for ascii_name, name in ((b"mmmm/", "猫咪/"), (b"gggg/", "小狗/")):
        content = content.replace(ascii_name, name.encode("gbk"))
    (root / "pets.zip").write_bytes(content)
    return data


def build_similar_names(root: Path) -> Mapping[str, Any]:
    put_folder(root)
    for i in range(N, 2 * N):
        put(root / "Cat" / f"{i}.jpg", encode(photo("cat", i), "JPEG"))
    return {"source": str(root)}


def write_many_frames(label: str, i: int) -> bytes:
    frames = [photo(label, n) for n in (i, i + 100)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


def check_scale(survey: Survey, root: Path) -> None:
    assert survey.value_range is not None
    assert (survey.value_range.low, survey.value_range.high) == (0, 4095)
    assert min(survey.usable["brightness"].to_pylist()) > 0.2


def check_colours(survey: Survey, root: Path) -> None:
    decoded = np.asarray(images.decode((root / "cat" / "3.tif").read_bytes()).image)
    assert (decoded == np.asarray(photo("cat", 3))).all()


def check_upright(survey: Survey, root: Path) -> None:
    for i in (2, 3):
        decoded = np.asarray(images.decode((root / "cat" / f"{i}.jpg").read_bytes()).image).astype(int)
        expected = np.asarray(photo("cat", i).transpose(Image.Transpose.ROTATE_270))
        assert np.abs(decoded - expected).mean() < 5


CASES = {
    "two-links-back": Case(
        build_two_links_back, passed_over={"link that leads back": 2}, says="2 links lead to folders"
    ),
    "links-to-nothing": Case(build_links_to_nothing, {"cat": 12, "dog": 12}, {"link to nothing": 8}),
    "twelve-bits": Case(
        lambda root: put_each(root, ".png", write_twelve_bits), says="values 0 to 4095 scaled", check=check_scale
    ),
    "near-infrared": Case(
        lambda root: put_each(root, ".tif", write_near_infrared), says="beyond the third", check=check_colours
    ),
    "test-without-labels": Case(
        build_test_without_labels, rejected={"no class": N}, says="no class in test: .* split: given needs a folder"
    ),
    "two-labels": Case(build_two_labels, {"cat": N - 8, "dog": N}, {"label conflict": 8}),
    "odd-exif": Case(lambda root: put_each(root, ".jpg", write_odd_exif), check=check_upright),
    "backslashes": Case(lambda root: put_zip(root, lambda label, i: f"pets\\{label}\\{label}{i}.jpg")),
    "hash-in-the-name": Case(
        lambda root: put_zip(root.with_name("photos #2.zip"), lambda label, i: f"{label}/{i}.jpg")
    ),
    "binary-labels": Case(lambda root: put_rows(root, {"cat": b"cat", "dog": b"dog"})),
    "class-label": Case(build_class_label),
    "folder-in-front": Case(build_folder_in_front),
    "yes-and-no": Case(build_yes_and_no, {"yes": N, "no": N}),
    "zip-names-in-gbk": Case(
        build_foreign_zip_names,
        {name.encode("gbk").decode("cp437"): N for name in ("猫咪", "小狗")},
        says="40 names, .* in an unknown encoding, so classes may be misnamed",
    ),
    "Cat-beside-cat": Case(
        build_similar_names, {"Cat": N, "cat": N, "dog": N}, says="Cat and cat are two classes whose names are almost"
    ),
    "no-end-mark": Case(
        lambda root: put_each(root, ".jpg", lambda label, i: encode(photo(label, i), "JPEG")[:-2]),
        says="end mark missing",
    ),
    "gif-of-many-frames": Case(
        lambda root: put_each(root, ".gif", write_many_frames), says="frames beyond the first left out"
    ),
}


WITH_TABLE = ("two-labels", "folder-in-front")  # of labels, which predict does not read


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Path, Any]:
    """A case, the folder or file that it is built in, and the section data of its job as it is loaded."""
    chosen = CASES[request.param]
    root = tmp_path_factory.mktemp("case")
    suffix = ".zip" if request.param == "backslashes" else ""
    data = {"image_size": 32, **chosen.build(root / f"pics{suffix}")}
    job = {"data": data, "gan": {"steps": 20}, "classifier": {"steps": 20}}
    (root / "job.yaml").write_text(json.dumps(job).replace('["no"]', "[no]"))  # JSON is YAML; no is false there
    return chosen, root / "pics", load_job(root / "job.yaml").data


def test_reported_source_is_read_right(case: tuple[Case, Path, Any]) -> None:
    """Each image of the source is kept in its class, or rejected with the reason; the rest is counted, and told."""
    expected, root, data = case
    survey = survey_without_storing(data)
    assert Counter(survey.usable["label"].to_pylist()) == expected.kept
    assert survey.count_rejects() == expected.rejected
    assert survey.passed_over == expected.passed_over
    said = [*survey.remarks, *survey.count_notes()]
    assert any(re.search(expected.says, sentence) for sentence in said) if expected.says else True, said
    expected.check(survey, root)


@pytest.mark.parametrize("case", [name for name in CASES if name not in WITH_TABLE], indirect=True)
def test_reported_source_is_predicted_whole(case: tuple[Case, Path, Any]) -> None:
    """``predict`` finds as many images in the same source, with or without a reason, and passes over the same."""
    expected, _, data = case
    kinds = [
        kind for part in list_parts(data.source) for batch in read_batches(part) for kind in batch["kind"].to_pylist()
    ]
    found = sum(expected.kept.values()) + sum(expected.rejected.values())
    assert (kinds.count(IMAGE), kinds.count(OTHER_FILE)) == (found, sum(expected.passed_over.values()))
