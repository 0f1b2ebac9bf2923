"""The section search: how settings are searched for. A search space file says which ones and their bounds."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ganaug_ray.config.base import Config, Count

AlgorithmName = Literal["tpe", "random", "grid", "pbt"]
DEFAULT_TRIALS = 16  # where neither trials nor hours are given


class SearchConfig(Config):
    """The section search: how `ganaug search` spends its budget."""

    algorithm: AlgorithmName = "tpe"
    """How settings are chosen. tpe: by the results of earlier trials (Bergstra et al. 2011). random: at random. grid:
    every combination of the choices. pbt, for gan.lr: the worst trials continue from the networks of the best, at
    another rate (Jaderberg et al. 2017)."""
    trials: Count | None = None
    """How many settings are tried; absent: 16, or all of a grid."""
    hours: Annotated[float, Field(gt=0)] | None = None
    """Budget in hours, instead of trials. Trials that are unfinished then continue if the search is run again with
    more hours."""
    objective: Literal["kid", "cas"] = "kid"
    """What decides in a GAN search. kid: the KID of its samples against validation images. cas: the validation accuracy
    of a classifier that is trained on its samples."""
    seeds: Count = 2
    """Trainings of each setting, on each split, in searches for the mix or the classifier."""
    workers: Count = 1
    """Processes of a trial. Use more than one only for trainings that are too large for one process: otherwise trials
    of one process each, side by side, finish sooner."""
    stop_early: bool = True
    """Stop trials that fall behind (ASHA: Li et al. 2018, arXiv 1810.05934)."""
    tracking: str | None = None
    """mlflow:URI of a server that gets every trial; TensorBoard files are always written."""

    @model_validator(mode="after")
    def _check_budget(self) -> Self:
        if self.trials is not None and self.hours is not None:
            raise ValueError("give one budget: trials or hours")
        return self
