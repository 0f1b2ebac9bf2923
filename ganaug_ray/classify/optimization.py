"""Decides which weights are trained at which learning rate, step by step."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ganaug_ray.classify.networks import Network
from ganaug_ray.classify.split_batch_norm import SplitBatchNorm
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.core import eager_optimizers
from ganaug_ray.core.distributed import Place

WARM_UP_SHARE = 0.05  # of all steps
MOMENTUM = 0.9


class OptimizerSchedule:
    """The optimizer, its learning rates, and the weights that are frozen at first.

    The head and the rest are trained at rates of their own (discriminative fine-tuning, Howard & Ruder 2018, arXiv
    1801.06146), and the rest not at all in the first steps, if so asked: a new head's first gradients are noise that
    would spoil what was learned elsewhere. What is frozen is in evaluation mode: its batch norms neither use nor learn
    the statistics of these batches.

    Args:
        network: to be trained; its weights are already where training starts.
        config: optimizer, rates and schedule.
        steps: in all.
        place: this rank.
    """

    def __init__(self, network: Network, config: ClassifierConfig, steps: int, place: Place) -> None:
        self._network = network
        self._model: nn.Module | None = None
        self._place = place
        self._steps = steps
        self._frozen_steps = config.count_frozen_steps(steps)
        self._head = list(network.head.parameters())
        head_ids = {id(weight) for weight in self._head}
        self._backbone = [weight for weight in network.parameters() if id(weight) not in head_ids]
        rest_factor = config.backbone_lr if config.is_pretrained else 1.0
        groups = [
            _build_group(self._head, config.peak_lr),
            _build_group(self._backbone, config.peak_lr * rest_factor),
        ]
        self.optimizer = _build_optimizer(groups, config)
        self._plateau = None
        if config.schedule == "plateau":
            self._plateau = ReduceLROnPlateau(self.optimizer, patience=config.plateau_looks - 1)

    def begin_step(self, step: int) -> nn.Module:
        """Set learning rates and train modes for a step; return the network, wrapped for DDP and split batch norm.

        Wrapped anew when the rest thaws: gradients are exchanged of what was trainable at the wrapping.
        """
        if self._plateau is None or step < count_warm_up_steps(self._steps):
            for group in self.optimizer.param_groups:
                group["lr"].fill_(group["peak"] * compute_rate_factor(step, self._steps, cosine=self._plateau is None))
        frozen = step < self._frozen_steps
        self._network.train(not frozen)
        self._network.head.train()
        if self._model is None or step == self._frozen_steps:
            for weight in self._backbone:
                weight.requires_grad_(not frozen)
            self._model = self._place.wrap_module(SplitBatchNorm(self._network))
        return self._model

    @property
    def state(self) -> torch.Tensor:
        """The state of schedule ``plateau`` for a checkpoint, float64; empty for schedule ``cosine``."""
        if self._plateau is None:
            return torch.zeros(0, dtype=torch.float64)
        counters = [self._plateau.best, self._plateau.num_bad_epochs, self._plateau.last_epoch]
        rates = [group["lr"].item() for group in self.optimizer.param_groups]
        return torch.tensor([*counters, *rates], dtype=torch.float64)

    @state.setter
    def state(self, values: torch.Tensor) -> None:
        if self._plateau is not None:
            best, bad_epochs, last, *rates = values.tolist()
            self._plateau.best = best
            self._plateau.num_bad_epochs = int(bad_epochs)
            self._plateau.last_epoch = int(last)
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"].fill_(rate)

    def update_plateau(self, val_loss: float) -> None:
        """Report a validation loss to schedule ``plateau``; it must be the same on every rank."""
        if self._plateau is not None:
            self._plateau.step(val_loss)


def _build_group(weights: list[nn.Parameter], rate: float) -> dict[str, Any]:
    return {"params": weights, "lr": torch.tensor(rate), "peak": rate}


def _build_optimizer(groups: list[dict[str, Any]], config: ClassifierConfig) -> torch.optim.Optimizer:
    decay = config.effective_weight_decay
    if config.optimizer == "adamw":
        return eager_optimizers.AdamW(groups, weight_decay=decay, fused=True)
    return eager_optimizers.SGD(groups, weight_decay=decay, momentum=MOMENTUM, nesterov=True, fused=True)


def count_warm_up_steps(steps: int) -> int:
    """Return the number of first steps in which the learning rate rises, given the number of all steps."""
    return max(1, round(steps * WARM_UP_SHARE))


def compute_rate_factor(step: int, steps: int, cosine: bool = True) -> float:
    """Return the factor on the learning rate at a step: a linear warm-up, then half a cosine to zero, or 1.

    >>> [round(compute_rate_factor(step, 100), 2) for step in (0, 4, 5, 52, 99)]
    [0.2, 1.0, 1.0, 0.51, 0.0]
    """
    warm_up_steps = count_warm_up_steps(steps)
    if step < warm_up_steps:
        return (step + 1) / warm_up_steps
    if not cosine:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up_steps) / max(1, steps - warm_up_steps)))
