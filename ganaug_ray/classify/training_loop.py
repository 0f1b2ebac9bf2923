"""The training loop of a classifier: torch only. The caller decides where batches come from and figures go."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional as F

from ganaug_ray.classify import batch_augmentation, split_batch_norm
from ganaug_ray.classify.networks import Network
from ganaug_ray.classify.optimization import OptimizerSchedule
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.core import checkpoint, compilation, rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.finite_guard import FiniteGuard
from ganaug_ray.core.weight_average import WeightAverage
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.data.loading.resident_loader import ResidentImages

# Of a checkpoint, beside what learns: names in checkpoints on disk.
OPTIMIZER_KEY = "tuning"
EVALUATIONS_KEY = "looks"
KEPT_PREFIX = "best/"


@dataclass(frozen=True)
class KeptEvaluation:
    """An evaluation on validation, with the weights that it was of, on the device that they were on."""

    step: int
    accuracy: float
    loss: float
    weights: checkpoint.Tensors

    def is_better_than(self, other: "KeptEvaluation") -> bool:
        """Return whether this evaluation has a higher accuracy, or the same and a lower loss."""
        return (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


SaveCheckpoint = Callable[[int, dict[str, checkpoint.Stateful], checkpoint.Tensors], None]
"""Called on every rank after an evaluation that training goes on from: steps done, what learns, where it stands."""


def _skip_checkpoint(step: int, parts: dict[str, checkpoint.Stateful], state: checkpoint.Tensors) -> None:
    """Keep no checkpoint."""


def train_classifier(
    network: Network,
    batches: Callable[[int], Batch],
    val: ResidentImages,
    config: ClassifierConfig,
    steps: int,
    seed: int,
    place: Place,
    report: Callable[[dict[str, Any]], None],
    keep: Callable[[KeptEvaluation], None] = lambda evaluation: None,
    weights_K: torch.Tensor | None = None,
    start: checkpoint.Checkpoint | None = None,
    save: SaveCheckpoint = _skip_checkpoint,
) -> KeptEvaluation:
    """Train a classifier, from a checkpoint if there is one, and return its last or its best evaluation and weights.

    The same on every rank, and after a resume.

    Args:
        network: on the place's device; its weights are changed.
        batches: step -> this rank's part of the global batch.
        val: the whole validation split.
        config: optimizer, augmentation and intervals; compile ``auto`` counts as False here, see ``core.compilation``.
        steps: optimizer steps; all of them are done, unless config.patience ends training early.
        seed: of augmentation draws and dropout.
        place: this rank.
        report: called with a row of figures at log steps and evaluations, on every rank.
        keep: called with each evaluation that is kept until another one is, on every rank.
        weights_K: what a row of each class counts in the loss; absent: one.
        start: a checkpoint with what ``save`` was given.
        save: see ``SaveCheckpoint``.

    Raises:
        DivergenceError: a gradient was not finite on some rank; no rank has taken that step.
    """
    schedule = OptimizerSchedule(network, config, steps, place)
    guard = FiniteGuard(place, schedule.optimizer)
    average = build_average(network, config, steps)
    history = EvaluationHistory(keep, config.keeps_last)
    parts: dict[str, checkpoint.Stateful] = {"network": network, "optimizer": schedule.optimizer}
    if average is not None:
        parts["average"] = average
    first = 0
    if start is not None:
        checkpoint.unpack_states(start.tensors, parts)
        schedule.state = start.tensors[OPTIMIZER_KEY]
        history.restore_tensors(start.tensors)
        first = start.step
    begin_step = compilation.compile_networks(config, place, network)
    for step in range(first, steps):
        begin_step()
        sums, total = _compute_gradients(network, schedule, batches, config, step, seed, place, weights_K)
        guard.check_gradients(schedule.optimizer)
        schedule.optimizer.step()
        guard.end_step()
        if average is not None:
            average.update()

        now = step + 1
        last = now == steps
        is_logged = now % config.log_every == 0 or last
        is_evaluation = now % config.evaluate_every == 0 or last
        row: dict[str, Any] = {"step": now}
        if is_logged:
            guard.raise_if_tripped(step)
            loss, hits, counted = place.sum_over_ranks(sums).tolist()
            row |= {"loss": loss / total, "accuracy": hits / counted}
        if is_evaluation:
            guard.raise_if_tripped(step)
            candidate = _prepare_candidate(network, average, place)
            accuracy, val_loss = evaluate_network(candidate, val, place)
            schedule.update_plateau(val_loss)
            history.add_evaluation(now, accuracy, val_loss, candidate)
            row |= {"val_accuracy": accuracy, "val_loss": val_loss}
        if is_logged or is_evaluation:
            report(row)
        if last or history.evaluations_since_selected == config.patience:
            break
        if is_evaluation:
            save(now, parts, {OPTIMIZER_KEY: schedule.state, **history.pack_tensors()})
    assert history.selected is not None, "the last step has an evaluation"
    return history.selected


def keep_steps_alone(config: ClassifierConfig, compiled: bool) -> ClassifierConfig:
    """Return the settings of a training that is nothing but steps of all layers, to time these.

    Args:
        config: the training's.
        compiled: whether its network is.
    """
    never = dict.fromkeys(("log_every", "evaluate_every"), compilation.NEVER)
    return config.model_copy(update={**never, "freeze_steps": 0, "patience": None, "compile": compiled})


def _prepare_candidate(network: Network, average: WeightAverage[Network] | None, place: Place) -> Network:
    """Average the ranks' batch-norm statistics; return the network that is evaluated: its average, if there is one."""
    split_batch_norm.average_statistics(network, place)
    if average is None:
        return network
    split_batch_norm.average_statistics(average, place)
    return average.module


def _compute_gradients(
    network: Network,
    schedule: OptimizerSchedule,
    batches: Callable[[int], Batch],
    config: ClassifierConfig,
    step: int,
    seed: int,
    place: Place,
    weights_K: torch.Tensor | None,
) -> tuple[torch.Tensor, int]:
    """Make a step's gradients. Return loss, hits and rows that count, of this rank's, [3]; and rows of the batch."""
    model = schedule.begin_step(step)
    batch = batches(step)
    x_BCHW = batch_augmentation.apply_classic(batch, config, (seed, "augment", step))
    blended = batch_augmentation.blend_rows(x_BCHW, batch, config, network.class_count, place, (seed, "blend", step))
    rng.seed_layers(place.device, seed, "dropout", step, place.rank)
    schedule.optimizer.zero_grad()
    sums = torch.zeros(3, device=place.device)
    for part in range(config.accumulate):
        x_BCHW, targets_BK, weight_B = (rows[part :: config.accumulate] for rows in blended)
        with place.sync_gradients(model, now=part + 1 == config.accumulate):
            with place.autocast(config.precision):
                logits_BK = model(x_BCHW, batch.count_real_rows(part, config.accumulate))
            loss_B = F.cross_entropy(
                logits_BK.float(), targets_BK, weights_K, reduction="none", label_smoothing=config.label_smoothing
            )
            loss = (loss_B * weight_B).sum()
            # A sum over the global batch, exact also where the ranks' parts differ in size: DDP takes the mean.
            (loss * (place.world_size / batch.total)).backward()
        hits_B = logits_BK.argmax(1) == targets_BK.argmax(1)
        counts_B = weight_B > 0
        sums += torch.stack([loss.detach(), (hits_B & counts_B).sum(), counts_B.sum()])
    return sums, batch.total


class EvaluationHistory:
    """Keeps the last or the best evaluation on validation, and counts those since.

    Args:
        keep: called with each that is kept.
        keeps_last: whether any later one takes its place, and not only a better one.
    """

    def __init__(self, keep: Callable[[KeptEvaluation], None], keeps_last: bool) -> None:
        self._keep = keep
        self._keeps_last = keeps_last
        self.selected: KeptEvaluation | None = None
        self.evaluations_since_selected = 0

    def add_evaluation(self, step: int, accuracy: float, loss: float, network: Network) -> None:
        """Add an evaluation, and keep its weights if it is the one to keep."""
        self.evaluations_since_selected += 1
        evaluation = KeptEvaluation(step, accuracy, loss, {})
        if self.selected is None or self._keeps_last or evaluation.is_better_than(self.selected):
            device = next(network.parameters()).device
            self.selected = replace(evaluation, weights=checkpoint.pack_states({"network": network}, device))
            self.evaluations_since_selected = 0
            self._keep(self.selected)

    def pack_tensors(self) -> checkpoint.Tensors:
        """Return the history as tensors for a checkpoint; there must be an evaluation."""
        assert self.selected is not None
        figures = [self.selected.step, self.selected.accuracy, self.selected.loss, self.evaluations_since_selected]
        weights = {f"{KEPT_PREFIX}{name}": value for name, value in self.selected.weights.items()}
        return {EVALUATIONS_KEY: torch.tensor(figures, dtype=torch.float64), **weights}

    def restore_tensors(self, tensors: checkpoint.Tensors) -> None:
        """Restore the history from what ``pack_tensors`` returned."""
        step, accuracy, loss, evaluations_since_selected = tensors[EVALUATIONS_KEY].tolist()
        weights = {}
        for name, value in tensors.items():
            if name.startswith(KEPT_PREFIX):
                weights[name.removeprefix(KEPT_PREFIX)] = value
        self.selected = KeptEvaluation(int(step), accuracy, loss, weights)
        self.evaluations_since_selected = int(evaluations_since_selected)
        self._keep(self.selected)


def build_average(network: Network, config: ClassifierConfig, steps: int) -> WeightAverage[Network] | None:
    """Return a moving average of the network and its batch-norm statistics; None if the config asks for none."""
    half_life_steps = config.count_ema_steps(steps)
    if not half_life_steps:
        return None
    return WeightAverage(network, decay=0.5 ** (1 / half_life_steps))


@torch.no_grad()
def evaluate_network(network: Network, rows: ResidentImages, place: Place) -> tuple[float, float]:
    """Return (accuracy, mean cross-entropy) over all rows, on every rank; each rank computes its part."""
    network.eval()
    share = place.slice_rows(len(rows))
    sums = torch.zeros(2, dtype=place.sum_dtype, device=place.device)
    for start in range(share.start, share.stop, network.batch_size):
        x_BCHW, y_B = rows.take_rows(slice(start, min(start + network.batch_size, share.stop)))
        logits_BK = network.forward(x_BCHW)  # its call may be compiled, for the batches of training
        sums[0] += (logits_BK.argmax(1) == y_B).sum()
        sums[1] += F.cross_entropy(logits_BK, y_B, reduction="sum")
    place.sum_over_ranks(sums)
    return sums[0].item() / len(rows), sums[1].item() / len(rows)
