"""verdict.json: whether the added images helped, which model is the champion, and every comparison behind it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from ganaug_ray.core.records.stored_record import Part, StageRecord
from ganaug_ray.core.storage import Folder


class Repeat(Part):
    """Which of an arm's models."""

    split: int
    """Of the images."""
    seed: int
    """Of the training."""


class ScoredRepeat(Repeat):
    """A model and its figures."""

    val: dict[str, float]
    """Metric -> figure on validation images."""
    test: dict[str, float]
    """Metric -> figure on test images."""


class ArmFigures(Part):
    """An arm's figures."""

    repeats: list[ScoredRepeat]
    """Of each model: every seed in every split."""
    mean: dict[str, float]
    """Metric -> mean figure on test images."""


class ChosenArm(Part):
    """The candidate that is best on validation images."""

    arm: str
    """Its name."""


class Champion(Repeat):
    """The model to ship."""

    arm: str
    """Of which arm."""
    reason: str
    """Why this one, in words."""
    figures: dict[str, dict[str, float]]
    """val and test -> metric -> figure."""


class ArmComparison(Part):
    """An arm against the baseline; its estimates are extra keys, those of ``verdict.comparison.Comparison``."""

    arm: str
    """Which is compared."""
    role: str
    """chosen, candidate or control."""


class ClassEstimate(Part):
    """A change of a figure of one class; what else is known of it are extra keys."""

    mean: float
    """Over splits and seeds, in [-1, 1]."""


class ClassComparison(Part):
    """What an arm changed in one class; its name, F1 and verdict are extra keys."""

    recall: ClassEstimate
    """On test images."""


class JudgedGenerator(Part):
    """What a generator is worth; see ``gan.generator_verdict``."""

    name: str
    """Of its folder: gan, gan-pseudo or generator."""
    colour: Literal["red", "amber", "green", "unknown"]
    """The worst of all splits. red: not usable."""
    sentence: str
    """The same in words."""
    splits: dict[str, str]
    """Number of a split -> its colour."""
    undrawn: list[str]
    """Classes that it did not draw, in the worst split."""
    arms: list[str]
    """That have its images, trained or not."""


class VerdictRecord(StageRecord):
    """The verdict of an experiment."""

    FILE: ClassVar[str] = "verdict.json"

    verdict: str | None
    """helped, no worthwhile gain, unclear, hurt or not enough repeats; None: no arm was a candidate."""
    metric: str
    """Key of the metric that decides."""
    sentence: str
    """The verdict with its figures, in words."""
    answered_at: str = ""
    """When the arms were compared: ISO 8601 with a time zone; empty in older files."""
    action: str = ""
    """What to do now, in words."""
    details: str = ""
    """How often it was measured, and what that can show, in words."""
    covers: str
    """Which chance the interval covers, in words."""
    worthwhile: float = 0.01
    """Least gain in the metric that is worth having, above zero."""
    ever_compared: int = 0
    """Candidates that were ever compared on these test images."""
    looks: int = 1
    """Looks at the verdict, planned or taken, that its interval allows for."""
    smallest_visible_gain: float | None
    """Gain that this many repeats would show, in [0, 1]."""
    chosen: ChosenArm | None
    """None: no arm was a candidate."""
    champion: Champion
    """The model to ship."""
    comparisons: list[ArmComparison]
    """Every arm but the baseline, by the deciding metric."""
    other_metrics: list[ArmComparison]
    """The same by every other metric."""
    classes: dict[str, list[ClassComparison]]
    """Arm -> each class, in order of their numbers."""
    rare: list[str]
    """Classes that are rare in training."""
    pairs: list[dict[str, Any]]
    """McNemar's test of each pair of models."""
    arms: dict[str, ArmFigures]
    """Arm -> its figures, the baseline first."""
    titles: dict[str, str] = Field(default_factory=dict)
    """Arm -> what its classifiers are trained on, in words; empty in files from before arms had such names."""
    baseline: str
    """The arm that others are held against."""
    splits: int
    """Ways to deal out the images."""
    seeds: int
    """Trainings of an arm in each split."""
    generators: list[JudgedGenerator] = Field(default_factory=list)
    """What the generators behind the arms are worth; without those that nothing was measured of."""
    left_out: list[str] = Field(default_factory=list)
    """Arms that were not trained, as their generator is not usable."""
    overlap: dict[str, float] | None
    """What the splits share, see ``verdict.split_overlap.SplitOverlap``; None: there is one."""

    def name_arm(self, arm: str) -> str:
        """Return what an arm's classifiers are trained on, in words; of an older file the arm's own name."""
        return self.titles.get(arm, arm)

    def find_time(self, folder: Folder) -> datetime:
        """Return when the arms were compared, in this machine's time zone; of an older file, when it was written."""
        if self.answered_at:
            return datetime.fromisoformat(self.answered_at).astimezone()
        return folder.find_write_time(self.FILE)
