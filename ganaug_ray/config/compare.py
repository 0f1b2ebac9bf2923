"""The section compare."""

from typing import Annotated, Literal

from pydantic import Field

from ganaug_ray.config.base import Config, Count, Share

MAX_SEEDS = 100
AIMS = ("visible_gain", "budget_minutes")  # of a plan: each stands in place of splits and seeds


class CompareConfig(Config):
    """The section compare: how many trainings there are, and by which metric arms are compared."""

    splits: Annotated[int, Field(ge=1, le=20)] = 1
    """How many different splits of the images into training, validation and test are compared, each with its own
    teacher and GAN; no two share a test image. Where the job gives neither splits nor seeds, they are planned: up to
    5,000 images get five splits with two seeds, so that every image is tested; more images get one split with five
    seeds."""
    seeds: Annotated[int, Field(ge=1, le=MAX_SEEDS)] = 3
    """Trainings of each arm on each split; an answer needs three seeds of one split, or three splits."""
    visible_gain: Share | None = None
    """In place of splits and seeds: the cheapest plan that can see this gain in accuracy; 0.01 is one point."""
    budget_minutes: Annotated[float, Field(gt=0)] | None = None
    """In place of splits and seeds: the plan that can see the smallest gain in a run of at most this time, as estimated
    on this machine. With visible_gain too: the cheapest plan within this time that can see that gain."""
    planned_seeds: Count | None = None
    """Written to job.yaml by a run: the seeds that the comparison was planned with, or that its first look had."""
    planned_splits: Count | None = None
    """Written to job.yaml by a run: the splits that the comparison was planned with, or that its first look had."""
    sizes: Annotated[list[Annotated[int, Field(ge=2)]], Field(max_length=10)] = Field(default_factory=list)
    """Further numbers of training images a class. The comparison is repeated with each, to see how many real images the
    synthetic ones are worth."""
    looks: Annotated[int, Field(ge=1, le=5)] = 1
    """How often the verdict may be looked at while seeds and splits are added. More looks make the interval of each
    wider."""
    metric: Literal["accuracy", "macro_f1", "rare_f1", "calibrated_cross_entropy", "calibrated_brier"] = "accuracy"
    """The metric that decides. The calibrated ones are proper scores: they show changes in probabilities even where the
    answers stay the same, and they are always reported."""
    worthwhile: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """The least gain in the metric that is worth having: 0.01 is one point of accuracy, or 0.01 nats of
    cross-entropy. Where the gain is below it with 95 % confidence, one-sided, the answer is a firm no."""
