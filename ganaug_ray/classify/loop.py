"""Training a classifier: torch only. Where the batches come from and where the figures go is the caller's business."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ganaug_ray import checkpoints, randomness
from ganaug_ray.classify import transforms
from ganaug_ray.classify.networks import Network
from ganaug_ray.classify.tuning import Tuning
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.data.batches import Batch, Resident
from ganaug_ray.guard import FiniteGuard
from ganaug_ray.parallel import Place


@dataclass(frozen=True)
class Best:
    """The look at validation that counts: highest accuracy, then lowest loss."""

    step: int
    accuracy: float
    loss: float
    weights: checkpoints.Tensors

    def beats(self, other: "Best | None") -> bool:
        """Whether this one is to be kept rather than the other."""
        return other is None or (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


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
) -> Best:
    """Train and return the weights of the best look at validation. The same on every rank.

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

    Raises:
        Diverged: a loss was not finite on some rank.
    """
    tuning = Tuning(network, config, steps, place)
    guard = FiniteGuard(place, tuning.optimizer)
    average = averaged(network, config)
    best: Best | None = None
    looks_since_best = 0
    for step in range(steps):
        model = tuning.begin(step)
        batch = batches(step)
        x_BCHW = transforms.augment(batch, config, (seed, "augment", step))
        blended = transforms.blend(x_BCHW, batch, config, network.classes, place, (seed, "blend", step))
        randomness.seed_layers(place.device, seed, "dropout", step, place.rank)
        tuning.optimizer.zero_grad()
        sums = torch.zeros(3, device=place.device)  # loss, hits and rows that count, of this rank's
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
        guard.check(sums[0])
        tuning.optimizer.step()
        guard.end_step()
        if average is not None:
            average.update_parameters(network)

        now, last = step + 1, step + 1 == steps
        row: dict[str, Any] = {}
        if now % config.log_every == 0 or last:
            guard.raise_if_tripped(step)
            total_loss, hits, counted = place.sum(sums).tolist()
            row |= {"loss": total_loss / batch.total, "accuracy": hits / counted}
        if now % config.evaluate_every == 0 or last:
            guard.raise_if_tripped(step)
            candidate = network if average is None else cast(Network, average.module)
            look = Best(now, *evaluate(candidate, val, place), {})
            tuning.look(look.loss)
            looks_since_best += 1
            if look.beats(best):
                best = Best(now, look.accuracy, look.loss, checkpoints.pack({"network": candidate}))
                keep(best)
                looks_since_best = 0
            row |= {"val_accuracy": look.accuracy, "val_loss": look.loss}
        if row:
            report({"step": now, **row})
        if looks_since_best == config.patience:
            break
    assert best is not None, "the last step looks at validation"
    return best


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
