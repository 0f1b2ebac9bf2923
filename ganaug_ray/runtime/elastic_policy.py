"""How many ranks a group that comes and goes has: Ray Train's own policy, which alone would wait without an end."""

from __future__ import annotations

import os
import time
from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.constants import (
    DEFAULT_WORKER_GROUP_START_TIMEOUT_S,
    WORKER_GROUP_START_TIMEOUT_S_ENV_VAR,
)
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy, NoopDecision, ScalingDecision


class BoundedElasticPolicy(ElasticScalingPolicy):
    """Ray Train's policy; but where fewer nodes are left than the least number of ranks needs, each minute is a try.

    So such a group gives up after as many tries as one of a fixed size.
    """

    _waiting_since: float | None = None

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """Say how many ranks to start, or none yet.

        Raises:
            WorkerGroupStartupTimeoutError: a minute long there was no room for the least number of them.
        """
        decision = super().make_decision_for_non_running_worker_group()
        if not isinstance(decision, NoopDecision):
            self._waiting_since = None
            return decision
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        limit_s = float(os.environ.get(WORKER_GROUP_START_TIMEOUT_S_ENV_VAR, DEFAULT_WORKER_GROUP_START_TIMEOUT_S))
        if now - self._waiting_since >= limit_s:
            self._waiting_since = None
            raise WorkerGroupStartupTimeoutError(self.scaling_config.min_workers)
        return decision


class BoundedTorchTrainer(TorchTrainer):
    """Ray Train's trainer, whose ranks that come and go are not waited for without an end."""

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        if self.scaling_config.elasticity_enabled:  # type: ignore[attr-defined]  # Train v2's, Ray's hints say Tune's
            arguments["scaling_policy"] = BoundedElasticPolicy(self.scaling_config)  # type: ignore[arg-type]  # likewise
        return super()._initialize_and_run_controller(**arguments)  # type: ignore[misc]  # likewise
