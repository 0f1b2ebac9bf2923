"""Training a classifier: torch only. Where the batches come from and where the figures go is the caller's business."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ganaug_ray import checkpoints, randomness
from ganaug_ray.classify import transforms
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.data.batches import Batch, Resident
from ganaug_ray.guard import FiniteGuard
from ganaug_ray.parallel import Place

WARM_UP = 0.05  # of all steps
EVALUATION_BATCH = 512


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
    network: nn.Module,
    batches: Callable[[int], Batch],
    val: Resident,
    config: ClassifierConfig,
    steps: int,
    seed: int,
    place: Place,
    report: Callable[[dict[str, Any]], None],
) -> Best:
    """Train for all steps and return the weights of the best look at validation. The same on every rank.

    Args:
        network: on the place's device; its weights are changed.
        batches: step -> this rank's part of the global batch.
        val: the whole validation split.
        config: optimizer, augmentation and intervals.
        steps: optimizer steps; there is no early stopping, so that arms can be compared.
        seed: of augmentation draws and dropout.
        place: this rank.
        report: called with a row of figures at log steps and looks at validation, on every rank.

    Raises:
        Diverged: a loss was not finite on some rank.
    """
    model = place.wrap(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=torch.tensor(config.lr), weight_decay=config.weight_decay, fused=True
    )
    guard = FiniteGuard(place, optimizer)
    best: Best | None = None
    for step in range(steps):
        network.train()
        optimizer.param_groups[0]["lr"].fill_(config.lr * schedule(step, steps))
        torch.manual_seed(randomness.number(seed, "dropout", step, place.rank))
        batch = batches(step)
        x_BCHW = transforms.augment(batch, config, (seed, "augment", step))
        logits_BK = model(x_BCHW)
        # A sum over the global batch, exact also where the ranks' parts differ in size: DDP takes the mean over ranks.
        loss = F.cross_entropy(logits_BK, batch.y_B, reduction="sum") * (place.world / batch.total)
        optimizer.zero_grad()
        loss.backward()
        guard.check(loss)
        optimizer.step()
        guard.end_step()

        now, last = step + 1, step + 1 == steps
        row: dict[str, Any] = {}
        if now % config.log_every == 0 or last:
            guard.raise_if_tripped(step)
            hits = (logits_BK.detach().argmax(1) == batch.y_B).sum()
            sums = place.sum(torch.stack([loss.detach() / place.world, hits / batch.total]))
            row |= {"loss": sums[0].item(), "accuracy": sums[1].item()}
        if now % config.evaluate_every == 0 or last:
            guard.raise_if_tripped(step)
            accuracy, val_loss = evaluate(network, val, place)
            look = Best(now, accuracy, val_loss, {})
            if look.beats(best):
                best = Best(now, accuracy, val_loss, checkpoints.pack({"network": network}))
            row |= {"val_accuracy": accuracy, "val_loss": val_loss}
        if row:
            report({"step": now, **row})
    assert best is not None, "the last step looks at validation"
    return best


def schedule(step: int, steps: int) -> float:
    """Factor on the learning rate: a short linear warm-up, then half a cosine to zero.

    >>> [round(schedule(step, 100), 2) for step in (0, 4, 5, 52, 99)]
    [0.2, 1.0, 1.0, 0.51, 0.0]
    """
    warm = max(1, round(steps * WARM_UP))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@torch.no_grad()
def evaluate(network: nn.Module, rows: Resident, place: Place) -> tuple[float, float]:
    """Return (accuracy, mean cross-entropy) over all rows; each rank does its share and all learn the result."""
    network.eval()
    share = place.share(len(rows))
    sums = torch.zeros(2, dtype=torch.float64, device=place.device)
    for start in range(share.start, share.stop, EVALUATION_BATCH):
        x_BCHW, y_B = rows.take(slice(start, min(start + EVALUATION_BATCH, share.stop)))
        logits_BK = network(x_BCHW)
        sums[0] += (logits_BK.argmax(1) == y_B).sum()
        sums[1] += F.cross_entropy(logits_BK, y_B, reduction="sum")
    place.sum(sums)
    return sums[0].item() / len(rows), sums[1].item() / len(rows)
