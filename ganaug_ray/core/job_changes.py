"""What a changed setting means for the stages of an experiment: which changes are refused, and what is made again.

A change is refused where a finished stage was made with the setting, or an interrupted training can go on with it. What
else there is of an unfinished stage was made with the old one and is deleted. Two finished things give way as long as
no model was trained on the GAN's images: pools of images, which are made again, and the end of a GAN's training, which
goes on to a later one.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ganaug_ray.config import Job
from ganaug_ray.config.augment import KIND_TRAITS
from ganaug_ray.config.base import SCALING_KEYS
from ganaug_ray.config.job import AUGMENT_TRIALS, BASELINE_ARM, TEACHER
from ganaug_ray.config.synthetic_sources import OWN_GAN
from ganaug_ray.core.storage import Folder

# These say how the work is spread or what is done of it, and change nothing of what is there.
FREE_KEYS = {
    *(f"gan.{name}" for name in SCALING_KEYS),
    *(f"classifier.{name}" for name in SCALING_KEYS),
    "data.executor",
    "data.loader",
    "data.max_rejected",  # a data set that is there was within it, and images that are read later may not be
    "data.resident_limit",
    "augment.use_anyway",  # it says which arms are trained
}
LENGTH_KEYS = {"gan.steps", "gan.epochs"}
# Which stages a setting shaped, by the beginning of its key: the first that fits. Other settings shape none of them.
_SHAPED_BY = {
    "data.": r"dataset",
    "seed": r"dataset|pseudo|gan|gan-pseudo|synthetic.*|models/.*",
    "gan.": r"gan|gan-pseudo",
    "augment.pseudo_confidence": r"pseudo",
    "augment.images.images": r"images",
    "augment.generator": r"generator",
    "augment.": r"synthetic",
    "classifier.": r"models/.*",
}
# Which stages of a folder a stage that failed has left, by its name on the terminal.
_LEFT_BY = {
    "prepare": r"dataset",
    "teach": rf"models/{TEACHER}/.*",
    "train-gan": r"gan|gan-pseudo",
    "label": r"pseudo",
    "generate": r"synthetic.*",
    "import": r"images.*",
    "adopt": r"generator",
}
_ANY_MODEL = r"models/.*"  # left by the others: train, choose, sizes, compare-models
_POOL = re.compile(r"synthetic.*")
_SOURCE = re.compile(r"augment\.images(\.[^.]+)?|augment\.generator")  # as a whole, added or left out


def complete_settings(previous: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a stored job in today's form: settings that are newer than it had their defaults.

    What is no job any more is returned as it is.
    """
    with suppress(ValidationError):
        return dump_settings(Job.model_validate(_fill_old_defaults(previous)))
    return previous


def dump_settings(job: Job) -> dict[str, Any]:
    """Return what is compared of two jobs: arms that follow from the augment section are arms like others."""
    settings = job.model_copy(update={"arms": job.compared_arms}).model_dump(exclude_none=True)
    settings["data"]["split"].setdefault("given", False)  # what was done before a plan decided it
    return settings


def _fill_old_defaults(previous: dict[str, Any]) -> dict[str, Any]:
    """Give a stored job the settings that are newer than it and whose default is not what was done before them."""
    classifier = previous.get("classifier")
    return previous | {"classifier": {"keep": "best", **classifier}} if isinstance(classifier, dict) else previous


@dataclass(frozen=True)
class MadeStage:
    """What a stage has left in the experiment's folder, finished or not.

    Attributes:
        name: of the stage, such as gan or models/real+classic/seed-0, alike in all splits.
        path: in the experiment's folder.
        folder: of the stage.
        marker: the file that says that it is finished.
        is_finished: whether that is there.
    """

    name: str
    path: str
    folder: Folder
    marker: str
    is_finished: bool

    def count_steps(self) -> int:
        """Count the steps that a training can go on from."""
        from ganaug_ray.core import checkpoint  # it imports torch, which a finished experiment does without

        return checkpoint.read_newest_step(self.folder / "checkpoints")


class JobChanges:
    """The consequences of changed settings.

    Args:
        stages: all that has been begun in the folder.
        arms: of the job that the folder was made with: name -> settings.
        failed_stage: the name of the stage that failed last, and was not interrupted; None where none did.

    Attributes:
        refusals: a sentence a change that cannot be; with any of them nothing is to be done.
    """

    def __init__(
        self, stages: list[MadeStage], arms: Mapping[str, Mapping[str, Any]], failed_stage: str | None = None
    ) -> None:
        self._stages = stages
        self._failed = None if failed_stage is None else re.compile(_LEFT_BY.get(failed_stage, _ANY_MODEL))
        trained = [
            stage.name.split("/")[1] for stage in stages if stage.is_finished and stage.name.startswith("models/")
        ]
        self._has_synthetic_models = any(_is_synthetic(arm, arms) for arm in trained)
        self._has_gan_models = any(_is_synthetic(arm, arms) and _uses_gan(arm, arms) for arm in trained)
        self._deleted: dict[str, tuple[MadeStage, str]] = {}
        self._reopened: dict[str, tuple[MadeStage, str]] = {}
        self.refusals: list[str] = []

    def add_change(self, key: str, before: Any, after: Any) -> None:
        """Take in that a setting is another one than before."""
        if key in FREE_KEYS:
            return
        words = f"{key} is {before} there and {after} in this job"
        shaped = _compile_shaped(key)
        if key.startswith(("arms.", "augment.")):
            self._delete_unfinished_pools(words)
        if _SOURCE.fullmatch(key) and None in (before, after):  # whoever uses a source sees what its folder is of
            return
        if key.startswith("arms.") and after is None:  # an arm that is no longer compared
            return
        can_go_on = key in LENGTH_KEYS and bool(before and after and after > before) and not self._has_gan_models
        for stage in self._stages:
            if shaped.fullmatch(stage.name):
                self._decide_consequence(stage, words, can_go_on)
        if can_go_on and self._reopened:
            for stage in self._stages:
                if _POOL.fullmatch(stage.name):
                    self._deleted[stage.path] = stage, words

    def _delete_unfinished_pools(self, words: str) -> None:
        """Delete pools that were not finished: they are named after settings, and may be asked for no more."""
        for stage in self._stages:
            if _POOL.fullmatch(stage.name) and not stage.is_finished:
                self._deleted[stage.path] = stage, words

    def _decide_consequence(self, stage: MadeStage, words: str, can_go_on: bool) -> None:
        """Decide what a changed setting means for a stage that it shaped: trained on, deleted or the change refused."""
        if stage.name.startswith("gan") and can_go_on:
            self._reopened[stage.path] = stage, words
            return
        has_failed = self._failed is not None and self._failed.fullmatch(stage.name)
        if not stage.is_finished and not has_failed:
            steps = stage.count_steps()
            if steps:
                self._refuse(
                    words, f"{stage.path} was interrupted after step {steps}; delete {stage.folder} to begin anew"
                )
                return
        if not stage.is_finished or (_POOL.fullmatch(stage.name) and not self._has_synthetic_models):
            self._deleted[stage.path] = stage, words
            return
        self._refuse(words, f"{stage.path} is made")

    def _refuse(self, words: str, reason: str) -> None:
        if not self.refusals or not self.refusals[-1].startswith(words):
            self.refusals.append(f"{words} ({reason})")

    def apply(self, notify: Callable[[str], None]) -> None:
        """Delete what was made with other settings, and notify of each in a sentence."""
        for path, (stage, words) in self._deleted.items():
            stage.folder.delete_file(stage.marker)  # first: a crash leaves no stage that seems to be finished
            stage.folder.fs.delete_dir(stage.folder.path)
            notify(f"{path} was made with other settings and is deleted: {words}")
        for path, (stage, words) in self._reopened.items():
            if stage.is_finished:
                stage.folder.delete_file(stage.marker)
                notify(f"{path} is trained for longer: {words}")


def _compile_shaped(key: str) -> re.Pattern[str]:
    if named := re.match(r"augment\.images\.(?!images\b)([^.]+)", key):
        return re.compile(f"images-{re.escape(named[1])}")
    if key.startswith("arms."):
        return re.compile(f"models/{re.escape(key.split('.')[1])}/.*")
    return re.compile(next((stages for begin, stages in _SHAPED_BY.items() if key.startswith(begin)), ""))


def _is_synthetic(arm: str, arms: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether an arm's models had synthetic images; of an arm that is no longer in the job that is supposed."""
    if arm in (BASELINE_ARM, TEACHER, *AUGMENT_TRIALS):
        return False
    kind = (arms.get(arm) or {}).get("kind")
    return kind not in KIND_TRAITS or KIND_TRAITS[kind].is_synthetic


def _uses_gan(arm: str, arms: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether an arm's synthetic images are those of the GAN that the job trains."""
    return (arms.get(arm) or {}).get("source", OWN_GAN) == OWN_GAN
