"""Several splits of the same images: no image is tested in two of them, and training overlaps as little as it can."""

import itertools
from collections import Counter

import pyarrow as pa
import pytest

from ganaug_ray.config import DataConfig, SplitConfig
from ganaug_ray.config.loader import load_job
from ganaug_ray.data.ingest import split
from ganaug_ray.errors import UserError
from ganaug_ray.verdict.split_overlap import measure_overlap
from tests.conftest import DIGITS as JOB
from tests.helpers.dealing import assign
from tests.helpers.refusals import refuse


def deal(n: int, folds: int, cap: int | None = None, together: dict[str, str] | None = None) -> list[dict[str, str]]:
    ids = {name: [f"{name}{i:04d}" for i in range(n)] for name in "ab"}
    configs = [SplitConfig(val=0.1, test=0.2, fold=fold, folds=folds) for fold in range(folds)]
    return [assign(ids, config, cap, cap and 5, together=together) for config in configs]


def members(dealt: dict[str, str], part: str) -> set[str]:
    return {id_ for id_, where in dealt.items() if where == part}


@pytest.mark.parametrize("n", [180, 13, 101])
def test_five_splits_test_disjoint_images(n: int) -> None:
    """Five splits test a fifth of the images each, and no image twice."""
    splits = deal(n, 5)
    tested = Counter(id_ for own in splits for id_ in members(own, "test"))
    assert set(tested.values()) == {1}
    assert len(tested) >= 2 * (n - 1), "all but what rounding leaves"
    for own in splits:
        assert min(Counter((id_[0], part) for id_, part in own.items()).values()) >= split.MIN_ROWS_PER_CLASS


def test_scarce_training_sets_are_disjoint() -> None:
    """Scarce training images are shared by no two splits."""
    splits = deal(180, 5, cap=20)
    assert all(len(members(own, "train")) == 40 for own in splits)
    assert measure_overlap(splits).train == 0
    assert measure_overlap(deal(180, 5)).train > 0.5


def test_first_split_equals_single_split() -> None:
    """The first of several splits is the split of a job that has only one."""
    assert deal(180, 5, cap=20)[0] == deal(180, 1, cap=20)[0]


@pytest.mark.parametrize("n", [16, 101, 180])
def test_added_splits_leave_others_alone(n: int) -> None:
    """A split is the same whatever the number of splits, also where near-duplicates are dealt out together."""
    together = {f"{name}{i:04d}": f"{name}{i // 3}" for name in "ab" for i in range(0, n, 2)}
    five = deal(n, 5, together=together)
    for folds in range(1, 5):
        assert deal(n, folds, together=together) == five[:folds]


def test_rare_class_is_tested_in_single_split() -> None:
    """A class whose first images are near-duplicates of each other tests others where there is one split alone."""
    ranked = rank_ids([f"a{i:04d}" for i in range(11)])
    together = dict.fromkeys(ranked[:7], "first of a")
    ids = {"a": ranked, "b": [f"b{i:04d}" for i in range(30)]}
    dealt = assign(ids, SplitConfig(test=0.2), together=together)
    tested = members(dealt, "test") & set(ranked)
    assert len(tested) == split.MIN_ROWS_PER_CLASS
    assert tested < set(ranked[7:])


def rank_ids(ids: list[str]) -> list[str]:
    """Ids in the order in which they are dealt out, each by itself."""
    draws = split.hash_ids(pa.chunked_array([ids], pa.string()), SplitConfig())
    return [ids[row] for row in draws.argsort()]


@pytest.mark.parametrize("images", [30, 8])
def test_single_split_tests_its_share(images: int) -> None:
    """A single split tests its share of the images, wherever groups of near-duplicates lie among them."""
    for rename in "qrstuvwxyz":
        together = {f"a{i:04d}": f"{rename}{i // images}" for i in range(100) if images == 8 or i < images}
        (own,) = deal(100, 1, together=together)
        tested = sum(id_[0] == "a" for id_ in members(own, "test"))
        assert tested + 1 >= split.MIN_WINDOW_SHARE * 20, rename


def test_groups_stay_whole_across_splits() -> None:
    """Groups of near-duplicates stay whole in every split and are tested once."""
    together = {f"{name}{i:04d}": f"{name}{i // 7}" for name in "ab" for i in range(100)}
    together |= {"a0150": "across", "b0150": "across", "b0151": "across"}
    splits = deal(180, 5, together=together)
    for own in splits:
        assert all(len(parts) == 1 for parts in parts_of_groups(own, together).values())
        assert {part: len(members(own, part)) for part in split.SPLITS} == pytest.approx(
            {"train": 252, "val": 36, "test": 72}, abs=14
        )
    for one, other in itertools.combinations(splits, 2):
        assert not members(one, "test") & members(other, "test")


def parts_of_groups(dealt: dict[str, str], together: dict[str, str]) -> dict[str, set[str]]:
    return {group: {dealt[id_] for id_, name in together.items() if name == group} for group in together.values()}


def test_class_too_small_is_named() -> None:
    """A class that is too small for so many test sets is an error that names it."""
    with pytest.raises(UserError, match=r"class 'a' has 7 usable images.* the test sets of 5 splits need 2 each"):
        deal(7, 5)


@pytest.mark.parametrize("way", ["add images of it that differ", "take its images out of the source"])
def test_class_of_near_duplicates_gets_others_or_goes(way: str) -> None:
    """A class of nothing but near-duplicates cannot be split; with other images it can, and so can the rest."""
    ids = {name: [f"{name}{i}" for i in range(12)] for name in "abc"}
    together = dict.fromkeys(ids["a"], "one group")
    refuse(
        f"class 'a': too many of its images are near-duplicates.*{way}", assign, ids, SplitConfig(), together=together
    )
    if way.startswith("add"):
        ids["a"] += [f"a-other{i}" for i in range(6)]
    else:
        del ids["a"]
    dealt = assign(ids, SplitConfig(), together=together)
    assert {(id_[0], part) for id_, part in dealt.items()} == set(itertools.product(ids, split.SPLITS))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["data.split.folds=5", "data.split.test=0.5"], "would overlap; data.split.test is 0.5, at most 0.2 of"),
        (["data.split={given: true, folds: 3}"], "compare.splits 3: data.split is given"),
        (["data.split.folds=3", "data.extends=old/dataset"], "compare.splits 3: data.extends"),
        (["data.split.folds=3", "data.split.fold=3"], "fold 3 of 3"),
    ],
)
def test_overlapping_splits_are_refused(settings: list[str], words: str) -> None:
    """Splits whose test images would overlap are refused."""
    with pytest.raises(UserError) as error:
        load_job(JOB, settings)
    assert words in str(error.value)


def test_derived_fold_changes_split_only() -> None:
    """The data settings of another split differ in the split and in nothing else."""
    data = load_job(JOB).data
    anew = data.derive_fold(1, 2)
    assert (anew.split.fold, anew.split.folds) == (1, 2)
    assert anew.model_copy(update={"split": data.split}) == data
    with pytest.raises(ValueError, match="would overlap"):
        DataConfig(source=["x"], split=SplitConfig(test=0.3)).derive_fold(0, 4)


def test_images_tested_twice_are_refused() -> None:
    """Splits of a source that changed between them have no verdict where they test an image twice."""
    with pytest.raises(UserError, match=r"data\.source or ganaug changed"):
        measure_overlap([{"a": "train", "b": "test"}, {"a": "test", "b": "test"}])
