"""The README and the documentation stay short, in plain sentences, without words that make readers stumble."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import mean

import pytest

from tests.conftest import ROOT
from tests.helpers.prose import count_words, list_sentences, list_strings, read_prose, read_template

README = ROOT / "README.md"
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("[!_]*/**/*.md")])
FILES_OF_THE_PROJECT = [ROOT / f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY")]
TEMPLATES = sorted((ROOT / "ganaug_ray").glob("*/**/page/*.html"))
MAX_README_WORDS = 900
MAX_PAGE_WORDS = 1500
MAX_MEAN_SENTENCE = 16  # words
MAX_SENTENCE = 40  # words, of any page
MIN_REPEAT_WORDS = 9  # different ones; shorter sentences may be alike
REPEAT_SHARE = 0.75  # of the different words of two sentences that both have
# Turns that are no English, then words that tell nothing. Plain words take their place.
NO_ENGLISH = [
    r"\bso many (?!as\b)", r"\bof which (?!the\b|one\b)", r"\bis told of\b", r"\bthe \w+er the more\b",
    r"\bone is said to\b", r"\bare said to\b", r"\bin as far as\b", r"\bthe \w+er for it\b",
]  # fmt: skip
BANNED = [
    *NO_ENGLISH, r"\bthe former\b", r"\bthe latter two\b", r"\bin order to\b", r"\butili[sz]e", r"\bleverage",
    r"\bsimply\b", r"\bobviously\b", r"\bof course\b", r"\bjust\b", r"\bplease\b", r"\bseamless",
    r"\brobust(?!ness)", r"\bblazing", r"\bstate.of.the.art\b", r"\band/or\b", r"\be\.g\.", r"\bi\.e\.", r"\betc\.",
    r"\bvia\b", r"\bat hand\b", r"\bfor it\b[.,]", r"\bwhereby\b", r"\bthereof\b",
]  # fmt: skip


def find_banned_turns(text: str) -> list[str]:
    return [match[0] for pattern in BANNED for match in re.finditer(pattern, text, re.IGNORECASE)]


def test_readme_is_one_short_page() -> None:
    """The README has at most 900 words, in sentences of at most 16 words on average."""
    prose = read_prose(README)
    assert count_words(README.read_text()) <= MAX_README_WORDS
    assert mean(map(count_words, list_sentences(prose))) <= MAX_MEAN_SENTENCE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_are_short_and_plain(page: Path) -> None:
    """Each page has at most 1,500 words with its code, and sentences that are read once."""
    assert count_words(page.read_text()) <= MAX_PAGE_WORDS
    sentences = list_sentences(read_prose(page))
    assert mean(map(count_words, sentences)) <= MAX_MEAN_SENTENCE
    assert [sentence for sentence in sentences if count_words(sentence) > MAX_SENTENCE] == []


def test_no_banned_turns_in_settings_and_options() -> None:
    """What `ganaug explain` and `ganaug VERB --help` say has none of the turns that are no English."""
    texts = [(ROOT / "ganaug_ray" / "examples" / f"{name}.schema.json").read_text() for name in ("job", "space")]
    texts += [path.read_text() for path in (ROOT / "ganaug_ray" / "cli").glob("*.py")]
    assert [match[0] for text in texts for match in re.finditer("|".join(NO_ENGLISH), text, re.IGNORECASE)] == []


@pytest.mark.parametrize("page", [README, *FILES_OF_THE_PROJECT, *PAGES], ids=lambda page: page.stem)
def test_no_banned_turns(page: Path) -> None:
    """No page has a turn of the list above."""
    assert find_banned_turns(read_prose(page)) == []


@pytest.mark.parametrize("page", TEMPLATES, ids=lambda page: page.name)
def test_no_banned_turns_on_pages(page: Path) -> None:
    """Nor has a page that a run or the server makes."""
    assert find_banned_turns(read_template(page.read_text())) == []


def test_no_banned_turns_in_messages() -> None:
    """Nor has a sentence that the code puts together: of errors, remarks and verdicts."""
    turns = {}
    for path in (ROOT / "ganaug_ray").rglob("*.py"):
        if found := find_banned_turns("\n".join(list_strings(path.read_text()))):
            turns[path.name] = found
    assert turns == {}


def test_no_sentence_is_said_twice() -> None:
    """No two pages have sentences with nearly the same words."""
    sentences = [
        (page.name, sentence, frozenset(re.findall(r"\w+", sentence.lower())))
        for page in [README, *PAGES]
        for sentence in list_sentences(read_prose(page))
    ]
    long = sorted((entry for entry in sentences if len(entry[2]) >= MIN_REPEAT_WORDS), key=lambda entry: len(entry[2]))
    repeats = []
    for number, (page, sentence, words) in enumerate(long):
        for other_page, other, other_words in long[number + 1 :]:
            if len(words) < REPEAT_SHARE * len(other_words):
                break  # those that follow are longer still
            if page != other_page and len(words & other_words) >= REPEAT_SHARE * len(words | other_words):
                repeats.append((page, sentence, other_page, other))
    assert repeats == []


def test_links_of_the_readme_lead_somewhere() -> None:
    """The README's links to files lead to files. Those of the other pages are checked when the site is built."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", README.read_text()):
        if "://" not in target:
            assert (ROOT / target).exists(), target
