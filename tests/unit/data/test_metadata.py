"""Facts on the classes find their class however its name is written, and never another's."""

from __future__ import annotations

import csv
import os
import unicodedata
from pathlib import Path

import pytest

from ganaug_ray.data.card.class_metadata import join_classes
from ganaug_ray.errors import UserError

ARTWORKS = Path(os.environ.get("GANAUG_DATA") or Path(__file__).parents[4] / "shared" / "data") / "artworks"
DÜRER = ("Albrecht Dürer", "Albrecht_Dürer", "Albrecht_Duerer", "albrecht durer", "ALBRECHT-DÜRER")


def table(tmp_path: Path, *names: str, column: str = "name") -> str:
    path = tmp_path / "facts.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(
            [("id", column, "genre"), *((i, name, f"of {name}") for i, name in enumerate(names))]
        )
    return str(path)


def met(tmp_path: Path, classes: list[str], *names: str) -> dict[str, str]:
    rows, missing = join_classes(classes, table(tmp_path, *names))
    assert [name for name in classes if name not in rows] == missing
    return {name: row["genre"].removeprefix("of ") for name, row in rows.items()}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("written", DÜRER)
@pytest.mark.parametrize("listed", DÜRER)
def test_all_name_spellings_match(tmp_path: Path, written: str, listed: str, form: str) -> None:
    """All ways to write a name with an umlaut match."""
    written = unicodedata.normalize(form, written)
    assert met(tmp_path, ["Degas", written], "Dorer", listed, "Duerr") == {written: listed}


@pytest.mark.parametrize(
    ("written", "listed"),
    [
        ("Manuel", "Manul"),
        ("Manul", "Manuel"),
        ("Michael", "Michal"),
        ("Chloe", "Chlo"),
        ("Sue", "Su"),
        ("Noah", "Noh"),
    ],
)
def test_natural_e_is_no_umlaut(tmp_path: Path, written: str, listed: str) -> None:
    """An e that belongs to a name is not taken for part of an umlaut."""
    assert met(tmp_path, [written], listed) == {}


def test_closest_spelling_wins_the_row(tmp_path: Path) -> None:
    """Of several matching spellings the closest one wins."""
    names = ["Müller", "Mueller", "Muller"]
    assert met(tmp_path, names, *names) == {name: name for name in names}
    assert met(tmp_path, names, "MUELLER") == {"Mueller": "MUELLER"}, "a row is one class's alone"


def test_other_scripts_and_letters_match(tmp_path: Path) -> None:
    """Names in other scripts and with other Latin letters match."""
    assert met(tmp_path, ["猫", "Łódź", "Gron_Soren"], "猫", "lodz", "Grøn Søren") == {
        "猫": "猫",
        "Łódź": "lodz",
        "Gron_Soren": "Grøn Søren",
    }


def test_ambiguous_class_names_both_rows(tmp_path: Path) -> None:
    """A class that could be two rows is an error that names both."""
    with pytest.raises(UserError, match=r"facts.csv: class 'Muller' could be 'Mùller' or 'Müller'"):
        join_classes(["Muller"], table(tmp_path, "Mùller", "Müller"))


def test_ambiguous_row_names_both_classes(tmp_path: Path) -> None:
    """A row that could belong to two classes is an error that names both."""
    with pytest.raises(UserError, match=r"facts.csv: the row 'Müller' could be of class 'Mueller' or 'Muller'"):
        join_classes(["Mueller", "Muller"], table(tmp_path, "Müller"))


def test_row_keeps_its_columns(tmp_path: Path) -> None:
    """A row keeps its columns, also with quotes, line breaks and missing values."""
    path = tmp_path / "facts.csv"
    path.write_text(
        '\ufeffname,years,bio\n"Klee, Paul", 1879 - 1940 ,"two\nlines",one too many\nMiro\n\n', encoding="utf-8"
    )
    rows, missing = join_classes(["Klee,_Paul", "Miró", "Goya"], str(path))
    assert rows == {"Klee,_Paul": {"years": "1879 - 1940", "bio": "two\nlines"}, "Miró": {"years": "", "bio": ""}}
    assert missing == ["Goya"]


@pytest.mark.parametrize("column", ["name", "class", "label", " Name "])
def test_name_column_has_aliases(tmp_path: Path, column: str) -> None:
    """The column of names may be called name, class or label."""
    assert join_classes(["cat"], table(tmp_path, "Cat", column=column))[0] == {"cat": {"id": "0", "genre": "of Cat"}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"id,artist\n1,Klee\n", "found the columns id, artist; expected one of name, class, label"),
        (b"", "found nothing; expected one of name, class, label"),
        ("name\nDürer\n".encode("latin-1"), "is not UTF-8 text"),
        (b"name,genre\nPaul Klee,a\npaul_klee,b\n", "two rows for one class, 'Paul Klee' and 'paul_klee' (line 3)"),
        (b'name,genre\nKlee,"never closed\n', "is not a CSV table (line 1"),
        (None, "there is no such file"),
    ],
)
def test_wrong_metadata_file_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    """A wrong metadata file is an error of one line that names the file."""
    path = tmp_path / "facts.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        join_classes(["Klee"], str(path))
    assert str(path) in str(error.value)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not ARTWORKS.exists(), reason="the table of the artists is not on this machine")
@pytest.mark.parametrize("dürer", ["Albrecht_Duerer", "Albrecht_Dürer", unicodedata.normalize("NFD", "Albrecht_Dürer")])
def test_all_fifty_painters_match(dürer: str) -> None:
    """All fifty painters find their row in the table of artists."""
    with (ARTWORKS / "resized-index.csv").open(encoding="utf-8") as stream:
        classes = sorted(
            {row["file"].rsplit("_", 1)[0].replace("Albrecht_Duerer", dürer) for row in csv.DictReader(stream)}
        )
    rows, missing = join_classes(classes, str(ARTWORKS / "artists.csv"))
    assert missing == []
    assert len(rows) == 50
    assert rows[dürer]["nationality"] == "German"
    assert rows["Vincent_van_Gogh"]["years"] == "1853 – 1890"
