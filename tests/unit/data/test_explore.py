"""The dataset card says what is in the folder, whatever the names in it, and reads no more than it has to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ganaug_ray.data.card import dataset_card, figures, tables
from tests.helpers.card import Dataset, Page, level, png

HOSTILE = '<script>alert("x")</script>'


PETS = {"cat": (30, 4, 6, 1000), "dog": (25, 3, 7, 990)}


@pytest.fixture
def pets(tmp_path: Path) -> Dataset:
    """To be changed before its card is made."""
    return Dataset(tmp_path / "dataset", PETS)


@pytest.fixture(scope="module")
def plain_card(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The card of the same without any change."""
    return Dataset(tmp_path_factory.mktemp("pets") / "dataset", PETS).card()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every plot is the same small picture: for the words of a card, whose plots other tests draw."""
    monkeypatch.setattr(figures, "encode_figure", lambda draw, theme=None: png(0))


@pytest.mark.usefixtures("undrawn")
def test_headline_counts_images_and_labels(pets: Dataset) -> None:
    """The headline counts the images and the labels that are used."""
    for number in range(35):
        pets.reject("empty", f"cat/{number}.jpg")
    text = pets.card().text("top")
    assert "Dataset card: pictures 2,100 images found: 2,065 kept, 35 rejected" in text
    assert "62 labels are used in all: 55 to train on, and 7 for validation" in text
    assert "The labels of the 13 test images are used for measuring only." in text
    assert "32 × 32, colour" in text


def test_every_split_and_class_is_counted(plain_card: Page) -> None:
    """The card counts the images of every split and of every class."""
    for row in ("train 55 2.66 %", "val 7 0.339 %", "test 13 0.63 %", "unused 1,990 96.4 %", "kept 2,065"):
        assert row in plain_card.text("splits")
    for row in ("cat 30 4 6 1,000 1,040", "dog 25 3 7 990 1,025", "all 55 7 13 1,990 2,065"):
        assert row in plain_card.text("classes")


NOTHING = "Nothing stands out: no class has 3 times the images of another or fewer than 20 to train on"


@pytest.mark.usefixtures("undrawn")
def test_balanced_data_causes_no_warning(pets: Dataset) -> None:
    """Where nothing in the data stands out, a sentence says so."""
    pets.twin(("a.jpg", "cat", "train"), ("b.jpg", "cat", "train"))
    assert NOTHING in pets.card().text("top")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("per_class", "words"),
    [
        (
            {"cat": (84, 5, 7, 0), "dog": (24, 3, 5, 0)},
            "the largest class, cat (96), has 3 times the images of the smallest, dog (32).",
        ),
        ({"cat": (40, 5, 50, 900), "dog": (24, 3, 5, 0)}, "smallest, dog (32), though not in training"),
        ({"cat": (19, 2, 2, 9), "dog": (21, 2, 2, 9)}, "1 class has fewer than 20 training images (cat)"),
        (
            {"ant": (7, 2, 2, 0), "bee": (5, 2, 2, 0), "cat": (8, 2, 2, 0), "dog": (6, 2, 2, 0), "eel": (9, 2, 2, 0)},
            "5 classes have fewer than 20 training images (bee, dog, ant and 2 more)",
        ),
    ],
)  # fmt: skip
def test_uneven_classes_cause_a_warning(tmp_path: Path, per_class: dict[str, Any], words: str) -> None:
    """A warning names classes that are uneven or very small."""
    text = Dataset(tmp_path / "dataset", per_class).card().text("top")
    assert "Worth a look: " in text
    assert words in text
    assert NOTHING not in text


@pytest.mark.usefixtures("undrawn")
def test_conflicting_labels_cause_a_warning(pets: Dataset) -> None:
    """A warning counts pictures under two labels and near-duplicates in two splits."""
    pets.reject("label conflict", "cat/tom.jpg")
    pets.reject("label conflict", "dog/rex.jpg")
    pets.twin(("a.jpg", "cat", "train"), ("b.jpg", "dog", "train"))
    pets.twin(("c.jpg", "cat", "train"), ("d.jpg", "cat", "test"))
    assert (
        "Worth a look: 2 images were left out because the same picture lies under two labels; "
        "near-duplicates lie under two classes (1 group); near-duplicates lie in two splits (1 group)."
    ) in pets.card().text("top")


@pytest.mark.usefixtures("undrawn")
def test_long_tables_are_shortened(pets: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long table ends after a stated number of rows."""
    monkeypatch.setattr(dataset_card, "MAX_LISTED_CLASSES", 1)
    facts = tmp_path / "facts.csv"
    facts.write_text("name,sound\ncat,meow\ndog,woof\n", encoding="utf-8")
    page = pets.card(str(facts))
    table = page.text("classes").partition("Every class by split")[2]
    assert "cat 30" in table
    assert "dog" not in table
    assert "The first class; 1 more in dataset.json." in table
    assert "woof" not in page.text("metadata")
    assert "The first 1 of 2 are shown." in page.text("metadata")
    facts.write_text("name\ncow\n", encoding="utf-8")
    assert "No metadata for: cat and 1 more." in pets.card(str(facts)).text("metadata")


def test_many_classes_are_summarised(tmp_path: Path) -> None:
    """Of many classes the largest and the smallest are drawn, and the rest is summed up."""
    sizes = {f"class {k:03d}": (2 + k, 1, 1, 0) for k in range(200)}
    page = Dataset(tmp_path / "dataset", sizes, channels=1).card()
    drawn = page.text("classes").partition("Every class by split")[0]
    names = re.findall(r"class \d{3}", drawn)
    assert names == [f"class {k:03d}" for k in (*range(199, 179, -1), *range(19, -1, -1))]
    assert "160 classes between, 16,560 images" in drawn
    assert "The 20 largest and the 20 smallest of 200 classes are drawn." in drawn
    assert len(page.pictures["samples"]) == 6 * 8 + sum(min(8, 2 + k) for k in range(6))
    assert "class 199 201 images" in page.text("samples")
    assert "Of 200 classes, those with the most and the fewest training images are shown, 12 in all." in page.text(
        "samples"
    )
    assert len(page.pictures["means"]) == 48
    assert "48 of 200 classes are shown" in page.text("means")


def test_two_classes_are_both_drawn(plain_card: Page) -> None:
    """Of two classes the chart has both, and leaves none out in between."""
    drawn = plain_card.text("classes").partition("Every class by split")[0]
    assert "cat 1,040 dog 1,025" in drawn
    assert "between" not in drawn


def test_samples_match_their_class(plain_card: Page) -> None:
    """Samples and mean images are of the training images of their class."""
    assert [alt for alt, _ in plain_card.pictures["samples"]] == ["cat"] * 8 + ["dog"] * 8
    assert [image.getpixel((3, 3)) for _, image in plain_card.pictures["samples"]] == [
        (level(label, number),) * 3 for label in range(2) for number in range(8)
    ]
    means = {alt: image.getpixel((3, 3)) for alt, image in plain_card.pictures["means"]}
    assert means == {"Mean of cat": (29,) * 3, "Mean of dog": (84,) * 3}
    text = plain_card.text("means")
    assert "cat 30 images dog 25 images" in text
    assert "The mean of all 55 training images" in text


@pytest.mark.usefixtures("undrawn")
def test_sample_size_is_stated(pets: Dataset) -> None:
    """The card says how many of the images its samples and means are taken from."""
    pets.record["counts"]["train"] = {"cat": 30_000, "dog": 25_000}
    page = pets.card()
    assert "one row a class. From the first 55 of 55,000 training images" in page.text("samples")
    assert "The mean of the first 55 of 55,000 training images" in page.text("means")


def test_class_without_samples_stays_empty(pets: Dataset) -> None:
    """A class without any sample image has an empty row."""
    pets.record["classes"] = [*pets.classes, "emu"]
    for own in pets.record["counts"].values():
        own["emu"] = 30
    page = pets.card()
    assert "emu 30 images" in page.text("samples")
    assert len(page.pictures["means"]) == 2


def test_native_sizes_are_drawn_and_described(pets: Dataset) -> None:
    """The card draws the native sizes and ratios, and counts small images and formats."""
    for row in pets.rows[:2]:
        row |= {"width": 2000, "height": 500, "format": "PNG"}
    page = pets.card()
    assert [alt.partition(":")[0] for alt, _ in page.pictures["sizes"]] == [
        "Native sizes", "How many images have which ratio of width to height",
    ]  # fmt: skip
    text = page.text("sizes")
    assert "the smallest is 40 × 30, the largest 2000 × 500" in text
    assert "2,063 images had a shorter side than that" in text
    assert re.search(r"images lose [\d.]+ % of their area", text)
    assert "Formats: 2,063 JPEG, 2 PNG." in text
    assert page.tags["source"] == 2, "the same in light ink on dark paper"


def test_uniform_size_needs_no_plot(pets: Dataset) -> None:
    """Images that all have the same size need no plot of sizes."""
    for row in pets.rows:
        row |= {"width": 8, "height": 8}
    page = pets.card()
    assert "All images are 8 × 8 pixels. They are stored at 32 × 32." in page.text("sizes")
    assert "sizes" not in page.pictures


@pytest.mark.usefixtures("undrawn")
def test_file_notes_are_limited(pets: Dataset) -> None:
    """Notes on files are listed up to a limit, and the rest is counted."""
    for row in pets.rows[:23]:
        row["note"] = "named .jpg, is PNG"
    text = pets.card().text("sizes")
    assert "Notes on 23 files" in text
    assert "cat/train0.jpg named .jpg, is PNG" in text
    assert "23 × named .jpg, is PNG." in text
    assert text.count("named .jpg, is PNG") == 1 + tables.MAX_LISTED_ROWS == 21
    assert "And 3 more" in text


@pytest.mark.usefixtures("undrawn")
def test_rejected_files_are_shown_by_reason(pets: Dataset) -> None:
    """Rejected files are counted and listed by reason, those with a picture first."""
    for number in range(9):
        pets.reject("duplicate", f"cat/copy{number}.jpg", png(200) if number > 2 else None, "same pixels as cat/1.jpg")
    pets.reject("empty", "dog/nothing.jpg")
    page = pets.card()
    text = page.text("rejected")
    assert "10 of 2,075 images (0.482 %) were left out: 9 × duplicate, 1 × empty." in text
    assert "duplicate 9 cat/copy3.jpg same pixels as cat/1.jpg" in text, "those with a picture first"
    assert "And 3 more: see rejected.parquet." in text
    assert "empty 1 dog/nothing.jpg" in text
    assert [image.getpixel((5, 5)) for _, image in page.pictures["rejected"]] == [200] * 6


def test_absence_of_problems_is_stated(plain_card: Page) -> None:
    """Where no image was rejected and no two look alike, the card says so."""
    assert "No image was rejected." in plain_card.text("rejected")
    assert "No two kept images look alike." in plain_card.text("near-duplicates")


@pytest.mark.usefixtures("undrawn")
def test_near_duplicates_are_shown_together(pets: Dataset) -> None:
    """Near-duplicates are shown side by side, first those across classes or splits."""
    pets.twin(*((f"many/{k}.jpg", "cat", "train") for k in range(8)))
    for number in range(13):
        pets.twin((f"pair/{number}.jpg", "dog", "val"), (f"pair/{number}b.jpg", "dog", "val"))
    pets.twin(("one.jpg", "dog", "train"), ("two.jpg", "dog", "test"))
    pets.twin(("tom.jpg", "cat", "train"), ("rex.jpg", "dog", "train"))
    page = pets.card()
    text = page.text("near-duplicates")
    assert "38 kept images look alike, in 16 groups" in text
    at = [text.index(words) for words in (
        "2 images under more than one class cat · train first tom.jpg dog · train distance 1.5 rex.jpg",
        "2 images in more than one split dog · train first one.jpg dog · test distance 1.5 two.jpg",
        "8 images cat · train first many/0.jpg",
        "And 2 more of this group.",
        "2 images dog · val first pair/0.jpg",
        "And 4 groups more: see near_duplicates.parquet.",
    )]  # fmt: skip
    assert at == sorted(at), "what is to be looked at first, then the largest"
    assert len(page.pictures["near-duplicates"]) == 2 + 2 + 6 + 9 * 2


@pytest.mark.usefixtures("undrawn")
def test_images_per_source_are_counted(pets: Dataset) -> None:
    """The card counts the kept and the rejected images of every source."""
    for number, row in enumerate(pets.rows[:50]):
        row["provenance"] = f"s3://bucket/{number // 2:02d}.tar"
    pets.reject("empty", "x.jpg")
    text = pets.card().text("sources")
    assert "pictures 2,015 1" in text
    assert "s3://bucket/00.tar 2 0" in text
    assert "And 6 more sources" in text


@pytest.mark.usefixtures("undrawn")
def test_metadata_is_shown_per_class(pets: Dataset, plain_card: Page, tmp_path: Path) -> None:
    """Metadata is shown next to the classes, and classes without any are named."""
    facts = tmp_path / "facts.csv"
    facts.write_text(f'id,name,genre,bio\n77,Cat,"Purring,Sleeping",{"long " * 20}\n78,Cow,Mooing,\n', encoding="utf-8")
    text = pets.card(str(facts)).text("metadata")
    assert "No metadata for: dog." in text
    assert "class images genre cat 1,040 Purring, Sleeping" in text
    assert "From facts.csv" in text
    assert not re.search("bio|long long|Mooing|77", text)
    assert plain_card.text("metadata") == ""


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    """Names with markup in them are shown as text and never run as a script."""
    hostile = Dataset(tmp_path / "dataset", {HOSTILE: (4, 2, 2, 0), '" onerror="x': (3, 2, 2, 0)})
    hostile.record["source"] = [HOSTILE]
    for row in hostile.rows:
        row |= {"path": HOSTILE, "provenance": HOSTILE, "note": HOSTILE, "format": HOSTILE}
    hostile.reject(HOSTILE, HOSTILE, None, HOSTILE)
    hostile.twin((HOSTILE, HOSTILE, "train"), (HOSTILE, '" onerror="x', "train"))
    facts = tmp_path / "facts.csv"
    facts.write_text(
        f'name,{HOSTILE}\n"{HOSTILE.replace(chr(34), chr(34) * 2)}",{HOSTILE}\n'.replace('t("x")', "t('x')")
    )
    page = hostile.card(str(facts))
    assert page.tags["script"] == 0
    sections = ("top", "classes", "samples", "means", "sizes", "rejected", "near-duplicates", "sources", "metadata")
    for section in sections:
        assert "<script>alert(" in page.text(section)


def test_card_is_self_contained(pets: Dataset) -> None:
    """The card needs no other file, no script and no network."""
    pets.reject("duplicate", "a.jpg", png(1))
    pets.twin(("one.jpg", "dog", "train"), ("two.jpg", "dog", "test"))
    page = pets.card()
    assert page.links
    assert all(re.match("data:image/(png|jpeg);base64,", link) for link in page.links)
    assert page.tags["script"] == page.tags["link"] == 0
    assert "url(" not in (pets.path / "card.html").read_text(encoding="utf-8")
