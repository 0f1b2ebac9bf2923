"""Stops a training at the first loss that is not finite, before it reaches the weights, at almost no cost."""

import torch
from torch.optim import Optimizer

from ganaug_ray.core.distributed import Place


class DivergenceError(Exception):
    """A loss was infinite or not a number on some rank; the weights are those before that step."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step

    def __str__(self) -> str:
        return f"the loss is not finite at step {self.step}"


class FiniteGuard:
    """Makes optimizers skip their steps, on every rank, from the first loss on that is not finite.

    Fused optimizers skip their step where ``found_inf`` is one (the door that gradient scalers use). So the hot loop
    never waits for the device; ``raise_if_tripped`` does, and is called at log and checkpoint steps only.
    """

    def __init__(self, place: Place, *optimizers: Optimizer) -> None:
        self._place = place
        self._flag = torch.zeros((), device=place.device)
        self._tripped_for = torch.zeros((), device=place.device)  # how many steps ago plus one
        for optimizer in optimizers:
            assert optimizer.defaults.get("fused"), "only fused optimizers skip on the device"
            optimizer.grad_scale = None  # type: ignore[attr-defined]  # read by torch's fused step
            optimizer.found_inf = self._flag  # type: ignore[attr-defined]  # likewise

    def record_loss(self, loss: torch.Tensor) -> None:
        """Record whether this scalar loss is finite on all ranks; collective: every rank must call it alike."""
        self._flag.copy_(torch.maximum(self._flag, (~torch.isfinite(loss.detach())).float()))
        self._place.max_over_ranks(self._flag)

    def end_step(self) -> None:
        """Count a step, if the guard has tripped; call it after every optimizer step."""
        self._tripped_for += self._flag

    def raise_if_tripped(self, step: int) -> None:
        """Raise DivergenceError with the first bad step, alike on every rank; ``step`` is the one just finished."""
        bad = int(self._tripped_for.item())
        if bad:
            raise DivergenceError(step - bad + 1)
