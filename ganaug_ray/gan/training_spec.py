"""The description of one GAN to train, as plain data."""

from dataclasses import asdict, dataclass

from ganaug_ray.config import GanConfig
from ganaug_ray.config.base import SCALING_KEYS
from ganaug_ray.core import experiment_dir

START_FILE = "start.safetensors"  # weights of both networks, in the folder ``start``


@dataclass(frozen=True)
class GanTraining:
    """One GAN to train, as plain data that can be sent to any process."""

    config: GanConfig
    size: int
    seed: int
    dataset: str
    teacher: str
    out: str
    resident_gb: float
    """GB of training images that a worker keeps in memory; more are streamed."""
    inputs: dict[str, str]
    """Hashes of the data set, the teacher and, if there are any, the weights that it starts from."""
    snapshot_steps: tuple[int, ...] = ()
    """Steps at which the generator is looked at, beside every config.snapshot_every."""
    start: str | None = None
    """Folder with the weights that it starts from, see ``augment.warm_start``; absent: fresh ones."""
    until: int | None = None
    """Steps after which it pauses, at a look; absent: the whole training."""

    def fingerprint(self) -> str:
        """Return a hash of all that decides the weights at a step; a checkpoint with another hash is not used.

        The length of the training is no part of it: a checkpoint serves a longer training too.
        """
        unused = {*SCALING_KEYS, "steps", "epochs", "init_from"}  # what it starts from is among the inputs
        config = self.config.model_dump(exclude=unused) | asdict(self.config.recipe)
        if self.config.then:
            config["then_in"] = "steps" if self.config.steps is not None else "epochs"
        return experiment_dir.compute_fingerprint(config, self.size, self.seed, self.inputs)
