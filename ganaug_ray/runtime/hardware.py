"""The CPUs and GPUs that there are, node by node: of a cluster, with what it can grow to, or of this machine."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DEVICES = Path("/dev")


@dataclass(frozen=True)
class NodeResources:
    """The CPUs and GPUs that a node declares."""

    cpus: float
    gpus: float = 0.0

    @classmethod
    def from_ray(cls, resources: Mapping[str, float]) -> NodeResources:
        """Return the two of a mapping in Ray's words."""
        return cls(resources.get("CPU", 0.0), resources.get("GPU", 0.0))

    def count_processes(self, cpus: float, gpus: float) -> int:
        """Return how many processes fit that take these CPUs and GPUs each; a share of a GPU is of a single one.

        >>> NodeResources(8, 2).count_processes(1, 0.4), NodeResources(1, 8).count_processes(1, 1)
        (4, 1)
        """
        fitting = []
        if cpus:
            fitting.append(int(self.cpus // cpus))
        if 0 < gpus < 1:
            fitting.append(int(self.gpus) * int(1 / gpus + 1e-9))  # ten shares of 0.1 are a whole GPU
        elif gpus:
            fitting.append(int(self.gpus // gpus))
        return min(fitting, default=1)


@dataclass(frozen=True)
class Hardware:
    """The nodes of a cluster, or this machine alone.

    Attributes:
        nodes: those that are there.
        growth: what an autoscaler may add to them.
    """

    nodes: tuple[NodeResources, ...]
    growth: NodeResources = NodeResources(0)

    @classmethod
    def of_one_machine(cls, cpus: float, gpus: float = 0) -> Hardware:
        """Return the hardware of a single node."""
        return cls((NodeResources(cpus, gpus),))

    @classmethod
    def from_ray(cls, nodes: Iterable[Mapping[str, float]], limits: Mapping[str, float]) -> Hardware:
        """Return the hardware of a cluster.

        Args:
            nodes: the resources of each, in Ray's words.
            limits: of each resource, what the cluster has or can grow to.
        """
        present_nodes = tuple(NodeResources.from_ray(node) for node in nodes)
        in_all = NodeResources.from_ray(limits)
        missing_cpus = in_all.cpus - sum(node.cpus for node in present_nodes)
        missing_gpus = in_all.gpus - sum(node.gpus for node in present_nodes)
        return cls(present_nodes, NodeResources(max(0.0, missing_cpus), max(0.0, missing_gpus)))

    @property
    def cpus(self) -> float:
        """The CPUs that there are or can be."""
        return sum(node.cpus for node in self.nodes) + self.growth.cpus

    @property
    def gpus(self) -> float:
        """The GPUs that there are or can be."""
        return sum(node.gpus for node in self.nodes) + self.growth.gpus

    @property
    def has_several_nodes(self) -> bool:
        """Whether there is more than one machine, or can be."""
        return len(self.nodes) > 1 or self.growth.cpus > 0

    @property
    def kind(self) -> Literal["CPU", "GPU"]:
        """What a worker of a training has one of."""
        return "GPU" if self.gpus >= 1 else "CPU"

    @property
    def has_gpus(self) -> bool:
        """Whether there is a GPU, or can be."""
        return self.kind == "GPU"

    @property
    def cpus_beside_gpu(self) -> int:
        """The CPUs that every GPU has for itself, whichever node it is in; one where no node has a GPU yet."""
        shares = [int(node.cpus // node.gpus) for node in self.nodes if node.gpus >= 1]
        return max(1, min(shares, default=1))

    @property
    def worker_slots(self) -> int:
        """How many workers of one training fit, each with a CPU and, where there are GPUs, with one of these."""
        return self.count_processes(1, 1 if self.has_gpus else 0)

    def describe_worker_needs(self) -> str:
        """Say what each worker of a training takes."""
        return "each with a CPU and a GPU" if self.has_gpus else "each with a CPU"

    def without_gpus(self) -> Hardware:
        """Return the same machines, whose GPUs nobody asks for."""
        nodes = tuple(NodeResources(node.cpus) for node in self.nodes)
        return Hardware(nodes, NodeResources(self.growth.cpus))

    def count_processes(self, cpus: float, gpus: float) -> int:
        """Return how many processes fit on all nodes together that take these CPUs and GPUs each."""
        return sum(node.count_processes(cpus, gpus) for node in (*self.nodes, self.growth))


def read_local_hardware() -> Hardware:
    """Return this machine's cores and the GPUs that torch counts, without starting anything on them."""
    import torch

    gpus = 1 if has_apple_gpu() else torch.cuda.device_count()
    return Hardware.of_one_machine(os.cpu_count() or 1, gpus)


def count_gpu_devices() -> int:
    """Count the NVIDIA GPUs whose devices Linux shows to this process, whether or not any software can use them."""
    return sum(re.fullmatch(r"nvidia\d+", path.name) is not None for path in DEVICES.glob("nvidia*"))


def has_apple_gpu() -> bool:
    """Return whether this is a Mac whose GPU torch can use; torch calls that device mps."""
    if sys.platform != "darwin":
        return False  # without importing torch
    import torch

    return torch.backends.mps.is_available()


def count_usable_cores() -> int:
    """Return how many cores this process may run on; on systems that do not say, all cores of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
