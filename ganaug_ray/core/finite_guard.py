"""Stops a training at the first gradient that is not finite, before it reaches the weights, at almost no cost."""

import torch
from torch.optim import Optimizer

from ganaug_ray.core.distributed import Place


class DivergenceError(Exception):
    """A gradient was infinite or not a number: from that one on no optimizer has taken a step, on any rank."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step

    def __str__(self) -> str:
        return f"the gradients are not finite at step {self.step}"


class FiniteGuard:
    """Makes optimizers skip their steps from the first gradient on that is not finite.

    Gradients are looked at, not losses: a finite loss may have infinite gradients. DDP has averaged them by then, and
    an average that one rank spoils is spoiled on all: so every rank decides alike, without another exchange.

    Fused optimizers skip their step where ``found_inf`` is one (the door that gradient scalers use). So the hot loop
    never waits for the device; ``raise_if_tripped`` does, and is called at log and checkpoint steps only.
    """

    def __init__(self, place: Place, *optimizers: Optimizer) -> None:
        self._flag = torch.zeros((), device=place.device)
        self._unit_scale = torch.ones((), device=place.device)
        self._tripped_for = torch.zeros((), device=place.device)  # how many steps ago plus one
        for optimizer in optimizers:
            assert optimizer.defaults.get("fused"), "only fused optimizers skip on the device"
            optimizer.grad_scale = None  # type: ignore[attr-defined]  # read by torch's fused step
            optimizer.found_inf = self._flag  # type: ignore[attr-defined]  # likewise

    def check_gradients(self, optimizer: Optimizer) -> None:
        """Record whether all gradients of an optimizer's weights are finite; call it before the optimizer's step."""
        gradients = []
        for group in optimizer.param_groups:
            gradients += [weight.grad for weight in group["params"] if weight.grad is not None]
        # What a gradient scaler calls, in one pass over all of them: it sets the flag, and multiplies by one here.
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, self._flag, self._unit_scale)

    def end_step(self) -> None:
        """Count a step, if the guard has tripped; call it after every optimizer step."""
        self._tripped_for += self._flag

    def raise_if_tripped(self, step: int) -> None:
        """Raise DivergenceError with the first bad step, alike on every rank; ``step`` is the one just finished."""
        steps_since = int(self._tripped_for.item())
        if steps_since:
            raise DivergenceError(step - steps_since + 1)
