"""Training a classifier: torch only. Where the batches come from and where the figures go is the caller's business."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ganaug_ray.classify import batch_augmentation, split_batch_norm
from ganaug_ray.classify.networks import Network
from ganaug_ray.classify.optimization import Tuning
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.core import checkpoint, rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.finite_guard import FiniteGuard
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.data.loading.resident_loader import Resident

TUNING, LOOKS, BEST = "tuning", "looks", "best/"  # of a checkpoint, beside what learns


@dataclass(frozen=True)
class Best:
    """The look at validation that counts: highest accuracy, then lowest loss."""

    step: int
    accuracy: float
    loss: float
    weights: checkpoint.Tensors

    def beats(self, other: "Best | None") -> bool:
        """Whether this one is to be kept rather than the other."""
        return other is None or (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


Save = Callable[[int, dict[str, checkpoint.Stateful], checkpoint.Tensors], None]
"""Called on every rank after a look that training goes on from: the steps done, what learns, and where it stands."""


def _nothing(step: int, parts: dict[str, checkpoint.Stateful], stand: checkpoint.Tensors) -> None:
    """Keep no checkpoint."""


def train(
    network: Network,
    batches: Callable[[int], Batch],
    val: Resident,
    config: ClassifierConfig,
    steps: int,
    seed: int,
    place: Place,
    report: Callable[[dict[str, Any]], None],
    keep: Callable[[Best], None] = lambda best: None,
    weights_K: torch.Tensor | None = None,
    start: checkpoint.Checkpoint | None = None,
    save: Save = _nothing,
) -> Best:
    """Train, from a checkpoint if there is one, and return the weights of the best look at validation.

    The same on every rank, and after a resume.

    Args:
        network: on the place's device; its weights are changed.
        batches: step -> this rank's part of the global batch.
        val: the whole validation split.
        config: optimizer, augmentation and intervals.
        steps: optimizer steps; all of them are done, unless config.patience ends training early.
        seed: of augmentation draws and dropout.
        place: this rank.
        report: called with a row of figures at log steps and looks at validation, on every rank.
        keep: called with each look that is the best so far, on every rank.
        weights_K: what a row of each class counts in the loss; absent: one.
        start: of what ``save`` was given.
        save: see Save.

    Raises:
        Diverged: a loss was not finite on some rank.
    """
    tuning = Tuning(network, config, steps, place)
    guard = FiniteGuard(place, tuning.optimizer)
    average, looks = averaged(network, config), Looks(keep)
    parts: dict[str, checkpoint.Stateful] = {"network": network, "optimizer": tuning.optimizer}
    parts |= {} if average is None else {"average": average}
    first = 0
    if start is not None:
        checkpoint.unpack(start.tensors, parts)
        tuning.stand = start.tensors[TUNING]
        looks.restore(start.tensors)
        first = start.step
    for step in range(first, steps):
        sums, total = _gradients(network, tuning, batches, config, step, seed, place, weights_K)
        guard.check(sums[0])
        tuning.optimizer.step()
        guard.end_step()
        if average is not None:
            average.update_parameters(network)

        now, last = step + 1, step + 1 == steps
        row: dict[str, Any] = {}
        if now % config.log_every == 0 or last:
            guard.raise_if_tripped(step)
            loss, hits, counted = place.sum(sums).tolist()
            row |= {"loss": loss / total, "accuracy": hits / counted}
        look = now % config.evaluate_every == 0 or last
        if look:
            guard.raise_if_tripped(step)
            for learned in filter(None, (network, average)):
                split_batch_norm.average(learned, place)
            candidate = network if average is None else cast(Network, average.module)
            accuracy, val_loss = evaluate(candidate, val, place)
            tuning.look(val_loss)
            looks.add(now, accuracy, val_loss, candidate)
            row |= {"val_accuracy": accuracy, "val_loss": val_loss}
        if row:
            report({"step": now, **row})
        if last or looks.since_best == config.patience:
            break
        if look:
            save(now, parts, {TUNING: tuning.stand, **looks.tensors()})
    assert looks.best is not None, "the last step looks at validation"
    return looks.best


def _gradients(
    network: Network,
    tuning: Tuning,
    batches: Callable[[int], Batch],
    config: ClassifierConfig,
    step: int,
    seed: int,
    place: Place,
    weights_K: torch.Tensor | None,
) -> tuple[torch.Tensor, int]:
    """Make a step's gradients. Return loss, hits and rows that count, of this rank's, [3]; and rows of the batch."""
    model = tuning.begin(step)
    batch = batches(step)
    x_BCHW = batch_augmentation.augment(batch, config, (seed, "augment", step))
    blended = batch_augmentation.blend(x_BCHW, batch, config, network.classes, place, (seed, "blend", step))
    rng.seed_layers(place.device, seed, "dropout", step, place.rank)
    tuning.optimizer.zero_grad()
    sums = torch.zeros(3, device=place.device)
    for part in range(config.accumulate):
        x_BCHW, targets_BK, weight_B = (rows[part :: config.accumulate] for rows in blended)
        with place.exchanging(model, now=part + 1 == config.accumulate):
            with place.autocast(config.precision):
                logits_BK = model(x_BCHW, batch.real_of_part(part, config.accumulate))
            loss_B = F.cross_entropy(
                logits_BK.float(), targets_BK, weights_K, reduction="none", label_smoothing=config.label_smoothing
            )
            loss = (loss_B * weight_B).sum()
            # A sum over the global batch, exact also where the ranks' parts differ in size: DDP takes the mean.
            (loss * (place.world / batch.total)).backward()
        hits_B, counts_B = logits_BK.argmax(1) == targets_BK.argmax(1), weight_B > 0
        sums += torch.stack([loss.detach(), (hits_B & counts_B).sum(), counts_B.sum()])
    return sums, batch.total


class Looks:
    """What the looks at validation have come to.

    Args:
        keep: called with each that is the best so far.
    """

    def __init__(self, keep: Callable[[Best], None]) -> None:
        self._keep = keep
        self.best: Best | None = None
        self.since_best = 0

    def add(self, step: int, accuracy: float, loss: float, network: Network) -> None:
        """Take note of one."""
        self.since_best += 1
        if Best(step, accuracy, loss, {}).beats(self.best):
            self.best = Best(step, accuracy, loss, checkpoint.pack({"network": network}))
            self.since_best = 0
            self._keep(self.best)

    def tensors(self) -> checkpoint.Tensors:
        """For a checkpoint, after the first one."""
        assert self.best is not None
        figures = [self.best.step, self.best.accuracy, self.best.loss, self.since_best]
        weights = {f"{BEST}{name}": value for name, value in self.best.weights.items()}
        return {LOOKS: torch.tensor(figures, dtype=torch.float64), **weights}

    def restore(self, tensors: checkpoint.Tensors) -> None:
        """Take back what ``tensors`` gave."""
        step, accuracy, loss, since_best = tensors[LOOKS].tolist()
        weights = {name.removeprefix(BEST): value for name, value in tensors.items() if name.startswith(BEST)}
        self.best, self.since_best = Best(int(step), accuracy, loss, weights), int(since_best)
        self._keep(self.best)


def averaged(network: Network, config: ClassifierConfig) -> AveragedModel | None:
    """Return a moving average of the network, with its batch-norm statistics, or None where none is wanted."""
    if not config.ema_half_life:
        return None
    decay = 0.5 ** (config.batch_size / config.ema_half_life)
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


@torch.no_grad()
def evaluate(network: Network, rows: Resident, place: Place) -> tuple[float, float]:
    """Return (accuracy, mean cross-entropy) over all rows; each rank does its share and all learn the result."""
    network.eval()
    share = place.share(len(rows))
    sums = torch.zeros(2, dtype=torch.float64, device=place.device)
    for start in range(share.start, share.stop, network.batch):
        x_BCHW, y_B = rows.take(slice(start, min(start + network.batch, share.stop)))
        logits_BK = network(x_BCHW)
        sums[0] += (logits_BK.argmax(1) == y_B).sum()
        sums[1] += F.cross_entropy(logits_BK, y_B, reduction="sum")
    place.sum(sums)
    return sums[0].item() / len(rows), sums[1].item() / len(rows)
