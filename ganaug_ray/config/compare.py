"""The section compare."""

from typing import Annotated, Literal

from pydantic import Field

from ganaug_ray.config.base import Config, Count, Share

MAX_SEEDS = 100
AIMS = ("visible_gain", "budget_minutes")  # of a plan: each stands in place of splits and seeds


class CompareConfig(Config):
    """The section compare: how many trainings there are, and by which metric arms are compared."""

    splits: Annotated[int, Field(ge=1, le=20)] = 1
    """Times that the images are dealt out anew, with a data set, a teacher and a GAN for each; no two share a test
    image. Where the job gives neither splits nor seeds, they are planned: up to 5,000 images get five splits with two
    seeds, so that every image is tested; more images get one split with five seeds."""
    seeds: Annotated[int, Field(ge=1, le=MAX_SEEDS)] = 3
    """Trainings of each arm on each split; an answer needs three seeds of one split, or three splits."""
    visible_gain: Share | None = None
    """In place of splits and seeds: the cheapest plan that can see this gain in accuracy; 0.01 is one point."""
    budget_minutes: Annotated[float, Field(gt=0)] | None = None
    """In place of splits and seeds: the sharpest plan with which this machine is estimated to do the run in that time.
    With visible_gain too: the cheapest one within it that can see the gain."""
    planned_seeds: Count | None = None
    """Set in job.yaml: the seeds that a comparison was planned with, or that its looks began with."""
    planned_splits: Count | None = None
    """Set in job.yaml: the splits that a comparison was planned with, or that its looks began with."""
    sizes: Annotated[list[Annotated[int, Field(ge=2)]], Field(max_length=10)] = Field(default_factory=list)
    """Other numbers of training images a class at which all is done again, to see how many real images the synthetic
    ones are worth."""
    looks: Annotated[int, Field(ge=1, le=5)] = 1
    """Times that the verdict may be looked at while seeds and splits are added. With more looks, the interval of each
    is wider."""
    metric: Literal["accuracy", "macro_f1", "rare_f1", "calibrated_cross_entropy", "calibrated_brier"] = "accuracy"
    """The metric that decides. The calibrated ones are proper scores: they see changes in the probabilities of answers
    that stay the same, and are reported beside any metric."""
    worthwhile: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """The least gain in the metric that is worth having: 0.01 is one point of accuracy, or 0.01 nats of
    cross-entropy. Where the gain is below it with 95 % confidence, one-sided, the answer is a firm no."""
