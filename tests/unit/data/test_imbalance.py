"""Classes made rare on purpose: in training alone, and as the job says."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganaug_ray.config import DataConfig, ImbalanceConfig, SplitConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest.imbalance import list_rare_classes
from ganaug_ray.data.ingest.scan import survey_without_storing
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.errors import UserError

CLASSES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sixty pictures of each of three classes."""
    root = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir()
        for i in range(60):
            Image.fromarray(draw.integers(0, 256, (16, 16), np.uint8)).save(root / name / f"{i}.png")
    return str(root)


def config_of(source: str, **settings: object) -> DataConfig:
    return DataConfig.model_validate(
        {"source": source, "split": SplitConfig(val=0.1, test=0.2), "train_per_class": 40} | settings
    )


def parts(config: DataConfig) -> dict[str, str]:
    kept = survey_without_storing(config).usable
    return dict(zip(kept["id"].to_pylist(), kept["split"].to_pylist(), strict=True))


def test_named_classes_become_rare(pictures: str, tmp_path: Path) -> None:
    """Named classes are thinned in training and in no other split."""
    config = config_of(pictures, imbalance=ImbalanceConfig(factor=10, rare=["owl", "cat"]))
    record = prepare_dataset(config, Folder.from_uri(tmp_path / "dataset"))
    assert record.counts["train"] == {"cat": 4, "dog": 40, "owl": 4}
    assert record.counts["unused"] == {"cat": 38, "dog": 2, "owl": 38}
    for part in ("val", "test"):
        assert record.counts[part] == dict.fromkeys(CLASSES, {"val": 6, "test": 12}[part])
    assert record.rare == ["cat", "owl"]
    card = (tmp_path / "dataset" / "card.html").read_text(encoding="utf-8")
    assert re.search(r"in training, .*dog \(40\), .*\b10 times .*cat \(4\)", card)


def test_unnamed_tail_is_exponential(pictures: str, tmp_path: Path) -> None:
    """Without named classes the sizes fall exponentially in the order of the classes."""
    record = prepare_dataset(
        config_of(pictures, imbalance=ImbalanceConfig(factor=16)), Folder.from_uri(tmp_path / "dataset")
    )
    assert record.counts["train"] == {"cat": 40, "dog": 10, "owl": 2}
    assert record.rare == ["owl"], "fewer than half of the mean of 17.3; dog has more"


def test_small_classes_are_rare_in_every_split(tmp_path: Path) -> None:
    """Classes that have few images by themselves are rare, and the same ones in all splits of the images."""
    few_owls = {"train": {"cat": 60, "dog": 60, "owl": 22}, "val": {"cat": 10, "dog": 10, "owl": 2}}
    counts = {**few_owls, "test": {"cat": 20, "dog": 20, "owl": 6}, "unused": {"cat": 0, "dog": 0, "owl": 0}}
    config = config_of(str(tmp_path)).model_copy(update={"train_per_class": None})
    assert list_rare_classes(counts, config) == ["owl"], "22 of a mean of 47"
    fold = config.model_copy(update={"split": SplitConfig(folds=5)})
    counts["train"]["owl"] = 25
    assert list_rare_classes(counts, config) == []
    assert list_rare_classes(counts, fold) == ["owl"], "33 of a mean of 71, whichever part they are in"
    capped = fold.model_copy(update={"train_per_class": 20})
    assert list_rare_classes(counts, capped) == [], "all have as many left"


def test_equal_classes_are_not_rare(pictures: str, tmp_path: Path) -> None:
    """No class is rare where all are equally large."""
    assert prepare_dataset(config_of(pictures), Folder.from_uri(tmp_path / "dataset")).rare == []


def test_larger_factor_leaves_nested_rows(pictures: str) -> None:
    """The images that a larger factor leaves are part of those that a smaller one leaves."""
    dealt = [parts(config_of(pictures))]
    dealt += [parts(config_of(pictures, imbalance=ImbalanceConfig(factor=factor, rare=["dog"]))) for factor in (4, 10)]
    trained = [{id_ for id_, part in own.items() if part == "train"} for own in dealt]
    assert trained[2] < trained[1] < trained[0]
    assert len({frozenset(id_ for id_, part in own.items() if part in ("val", "test")) for own in dealt}) == 1


@pytest.mark.parametrize(
    ("imbalance", "words"),
    [
        ({"factor": 10, "rare": ["owll"]}, "found 'owll', which is not a class; did you mean owl?"),
        ({"factor": 40, "rare": ["dog"]}, "class 'dog' would keep 1 of 40 training images, at least 2"),
        ({"factor": 40}, "class 'owl' would keep 1 of 40"),
    ],
)
def test_impossible_imbalance_says_why(pictures: str, imbalance: dict, words: str) -> None:
    """A class name or a factor that is impossible is an error that says why."""
    with pytest.raises(UserError, match=r"data\.imbalance") as error:
        survey_without_storing(config_of(pictures, imbalance=ImbalanceConfig.model_validate(imbalance)))
    assert words in str(error.value)


def test_imbalance_cannot_extend_dataset(pictures: str) -> None:
    """An imbalance together with an earlier dataset to extend is refused."""
    with pytest.raises(ValueError, match="one of imbalance and extends"):
        config_of(pictures, imbalance=ImbalanceConfig(factor=2), extends="old/dataset")
