"""The advice in a message on arms, followed in the same experiment or, where it says so, in another."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from ganaug_ray.augment import arms, pseudo_labels
from ganaug_ray.config import MixConfig
from ganaug_ray.config.loader import load_job
from ganaug_ray.config.yaml_text import parse_yaml
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.pipeline import training_stages
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.stage import StageContext
from ganaug_ray.runtime.executors import map_on_cpu
from tests.conftest import DIGITS, TINY


@pytest.mark.parametrize("key", ["augment.strategy", "arms.a.strategy"])
def test_equal_classes_are_mixed_or_released(key: str, digits: Folder, tmp_path: Path) -> None:
    """Where no class lacks images, the mix goes on in the folder, and images that make them unequal in another."""

    def claim(folder: str, *settings: str) -> Pipeline:
        job = load_job(DIGITS, [*TINY, "augment.per_class=null", "arms.a.kind=synthetic", *settings])
        run = Run(Folder.from_uri(tmp_path / folder))
        run.claim_folder(job)
        return Pipeline(job, run, Terminal())

    balanced = claim("run", f"{key}=balance")
    (tmp_path / "run" / "dataset").symlink_to(str(digits))
    with pytest.raises(UserError, match=r"take mix, or remove data\.train_per_class, .* in another --out"):
        balanced.prepare_data()
    claim("run", f"{key}=mix").prepare_data()
    claim("other", f"{key}=balance", "data.train_per_class=null").prepare_data()


def test_lower_confidence_labels_images(experiment: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the teacher is sure of no image, the folder takes the confidence that the message names."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    settings = [*TINY, "data.unlabelled=unused", "arms.p.kind=pseudo"]
    job = load_job(DIGITS, [*settings, "augment.pseudo_confidence=0.99"])
    run.claim_folder(job)
    for name in ("dataset", "models/teacher"):
        shutil.copytree(f"{experiment.root}/{name}", tmp_path / "run" / name)
    shown = image_store.read_images(run.dataset / "test", 50)
    images = (shown.images, shown.labels * 0 - 1, shown.ids, shown.paths, shown.provenance)
    image_store.write_images((run.dataset / "unlabelled").create(), image_store.LabelledImages(*images), "real")

    monkeypatch.setattr(StageContext, "choose_device_executor", lambda context, stage: map_on_cpu)
    with pytest.raises(StageFailed, match=r"lower augment\.pseudo_confidence to") as caught:
        training_stages._label_images(Pipeline(job, run, Terminal()).context)
    match = re.search(r"pseudo_confidence to (\S+) or less", str(caught.value))
    assert match, caught.value
    lower = load_job(DIGITS, [*settings, f"augment.pseudo_confidence={match[1]}"])
    run.claim_folder(lower)
    training_stages._label_images(Pipeline(lower, run, Terminal()).context)
    assert len(image_store.read_images(run.pseudo / pseudo_labels.PSEUDO_ONLY_FOLDER))


def test_arm_has_advised_classes() -> None:
    """Where no class is rare, or one is misspelt, an arm takes the classes that the message names."""
    counts = {"cat": 8, "dog": 6}

    def check(classes: object) -> None:
        arms.check_classes("a", MixConfig.model_validate({"classes": classes}), counts, rare=[])

    with pytest.raises(UserError, match="name some, such as") as caught:
        check("rare")
    example = str(caught.value).partition("such as ")[2].partition(",")[0]
    assert example == "[dog]"
    check(parse_yaml(f"classes: {example}", "the advice")["classes"])
    with pytest.raises(UserError, match="found 'cow', expected one of ") as caught:
        check(["cow"])
    check(str(caught.value).partition("expected one of ")[2].split(", "))
