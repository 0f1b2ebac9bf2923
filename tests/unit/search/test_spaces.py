"""What may be searched, and the mistakes that are named before any work starts."""

from pathlib import Path

import pytest

from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.errors import UserError
from ganaug_ray.search import search_space
from tests.conftest import DIGITS, SPACES


def space(tmp_path: Path, text: str, job: Job, kind: search_space.SearchKind = "gan") -> search_space.SearchSpace:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return search_space.load_space(path, kind, job)


@pytest.mark.parametrize("kind", list(search_space.SECTION_BY_KIND))
def test_shipped_spaces_fit_quickstart_job(kind: search_space.SearchKind) -> None:
    """The search spaces that are shipped fit the job of the quickstart."""
    job = load_job(DIGITS)
    assert search_space.load_space(SPACES / f"{kind}.yaml", kind, job).dimensions


def test_gan_space_contains_published_settings() -> None:
    """The shipped space of the GAN contains the published learning rates and lengths."""
    job = load_job(DIGITS)
    found = search_space.load_space(SPACES / "gan.yaml", "gan", job)
    (rate,) = found.dimensions
    assert {2e-4, 1e-4} <= set(rate.values)
    assert found.length == "gan.epochs"
    assert {80, 100, 200} <= set(found.budgets)


@pytest.mark.parametrize(
    ("kind", "line", "words"),
    [
        ("gan", "gan.lrr: {uniform: [0.1, 0.2]}", ["gan.lrr", "did you mean lr"]),
        ("gan", "gan.lr: {uniform: [0.2, 0.1]}", ["gan.lr", "the lower one first"]),
        ("gan", "gan.lr: {log_uniform: [0, 0.1]}", ["gan.lr", "above 0"]),
        ("gan", "gan.lr: {log_uniform: [0.1, 7]}", ["gan.lr", "7", "less than or equal to 1"]),
        ("gan", "gan.lr: {normal: [0.1, 0.2]}", ["gan.lr", "normal", "log_uniform"]),
        ("gan", "gan.lr: {log_unifrom: [0.1, 0.2]}", ["did you mean log_uniform"]),
        ("gan", "gan.lr: 1e-4", ["gan.lr", "distribution"]),
        ("gan", "gan.filters: {integers: [4.5, 8]}", ["gan.filters", "whole numbers"]),
        ("gan", "gan.filters: {uniform: [4, 8.5]}", ["gan.filters", "8.5", "whole number"]),
        ("gan", "gan.preset: {choice: []}", ["gan.preset", "one value or more"]),
        ("gan", "gan.preset: {choice: [dcgan, best]}", ["gan.preset", "'best'"]),
        ("gan", "gan.workers: {choice: [1, 2]}", ["gan.workers", "set it in the job"]),
        ("gan", "classifier.lr: {choice: [0.1]}", ["classifier.lr", "section gan"]),
        ("gan", "gan.epochs: {uniform: [10, 20]}", ["gan.epochs", "curve"]),
        ("classifier", "classifier.steps: {choice: [10, 20]}", ["classifier.steps", "cosine", "learning rate"]),
        ("mix", "augment.classes: {choice: [all, gaining]}", ["augment.classes", "gaining"]),
        ("mix", "augment.weight: {choice: [0.5], when: {augment.ratio: [1]}}", ["augment.ratio", "above this one"]),
    ],
)
def test_space_mistake_names_its_key(
    tmp_path: Path, tiny_job: Job, kind: search_space.SearchKind, line: str, words: list[str]
) -> None:
    """A mistake in a search space is an error of at most two lines that names file and key."""
    with pytest.raises(UserError) as mistake:
        space(tmp_path, f"space:\n  {line}\n", tiny_job, kind)
    for word in ["space.yaml", *words]:
        assert word in str(mistake.value)
    assert len(str(mistake.value).splitlines()) <= 2


def test_incompatible_settings_need_condition(tmp_path: Path, tiny_job: Job) -> None:
    """Settings that exclude each other are refused unless a condition keeps them apart."""
    text = "space:\n  augment.strategy: {choice: [mix, pretrain]}\n  augment.weight: {uniform: [0.2, 0.8]%s}\n"
    job = tiny_job.model_copy(update={"augment": tiny_job.augment.model_copy(update={"per_class": None})})
    with pytest.raises(UserError, match=r"strategy pretrain.*\n.*do not go together"):
        space(tmp_path, text % "", job, "mix")
    found = space(tmp_path, text % ", when: {augment.strategy: mix}", job, "mix")
    assert list(found.iterate_combinations()) == [
        {"augment.strategy": "mix", "augment.weight": 0.2},
        {"augment.strategy": "mix", "augment.weight": 0.8},
        {"augment.strategy": "pretrain"},
    ]


def test_length_replaces_length_of_job(tmp_path: Path, tiny_job: Job) -> None:
    """A length in the space replaces that of the job and is no dimension of the search."""
    assert tiny_job.gan.steps
    found = space(tmp_path, "space:\n  gan.lr: {choice: [1e-4]}\n  gan.epochs: {integers: [2, 30]}\n", tiny_job)
    assert [each.key for each in found.dimensions] == ["gan.lr"]
    assert found.budgets[0] == 2
    assert found.budgets[-1] == 30
    assert len(found.budgets) == search_space.MAX_BUDGETS
