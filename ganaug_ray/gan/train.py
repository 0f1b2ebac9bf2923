"""The train-gan stage: the ranks of one GAN under Ray Train."""

from ganaug_ray import ranks
from ganaug_ray.data import store
from ganaug_ray.data.batches import refuse_streamed
from ganaug_ray.data.sampling import Sampling
from ganaug_ray.errors import StageFailed
from ganaug_ray.gan.worker import Training, work
from ganaug_ray.guard import Diverged
from ganaug_ray.storage import Folder


def train_gan(training: Training) -> None:
    """Train to the end, from the newest checkpoint if there is one.

    Raises:
        UserError: balanced sampling of images that are too many to be kept in memory.
        StageFailed: the losses diverged, or workers were lost more often than restarts help.
    """
    shards = store.survey(Folder.at(training.dataset) / "train")
    refuse_streamed(shards, training.resident_gb, Sampling(training.config.sampling == "balanced"))
    out = Folder.at(training.out).make()
    try:
        ranks.run(work, training, training.config.workers, out)
    except Diverged as error:
        kept = "the last good checkpoint is kept in gan/checkpoints"
        raise StageFailed(f"{error}; {kept}. Try a lower gan.lr than {training.config.recipe.lr_g:g}") from error
