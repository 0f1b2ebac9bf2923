"""Batch norm for batches of real and synthetic rows, and for batches that are spread over ranks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganaug_ray.core.distributed import Place


class SplitBatchNorm(nn.Module):
    """A wrapper that can normalise synthetic rows separately from real ones, in one forward pass for DDP.

    As Xie et al. 2020 (arXiv 1911.09665) do with adversarial images, which come of another distribution than clean
    ones. Unlike theirs, the layers keep one scale and shift for both kinds of rows: the statistics alone are separate,
    and the network is the same one afterwards.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_BCHW: torch.Tensor, real: int | None = None) -> torch.Tensor:
        """Compute logits float [B, K] from images float [B, C, H, W] in [-1, 1].

        Args:
            x_BCHW: images, the real ones in front.
            real: how many these are; they alone move the running statistics. Absent: all rows are normalised together.
        """
        if real is None or real == len(x_BCHW):
            return self.network(x_BCHW)
        real_BK = self.network(x_BCHW[:real])
        with _freeze_running_statistics(self.network):
            return torch.cat([real_BK, self.network(x_BCHW[real:])])


@contextmanager
def _freeze_running_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch norms use the statistics of their batch without learning them. In evaluation mode nothing changes."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@torch.no_grad()
def average_statistics(network: nn.Module, place: Place) -> None:
    """Average batch norm's running statistics over the ranks, in place."""
    statistics: list[torch.Tensor] = []
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            for statistic in (module.running_mean, module.running_var):
                if statistic is not None:
                    statistics.append(statistic)
    if place.world_size == 1 or not statistics:
        return
    means = place.sum_over_ranks(torch.cat(statistics)) / place.world_size
    sizes = [len(statistic) for statistic in statistics]
    for statistic, mean in zip(statistics, means.split(sizes), strict=True):
        statistic.copy_(mean)
