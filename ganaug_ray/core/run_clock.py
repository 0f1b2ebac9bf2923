"""Tells the time that is left of a whole run, from what its stages were expected to take and what they took."""

from __future__ import annotations

import time
from collections.abc import Mapping

TRUST_S = 30.0  # seconds that must be over before what they took counts as much as what was expected
SILENT_SHARE = 0.9  # of a stage that says nothing of how far it is: what is taken for done when its time is over


class RunClock:
    """Follows the stages of a run; without expected times it knows nothing.

    The pace is what the run has taken so far over what was expected of that. The rest is supposed to go on at it.

    Args:
        expected_s: stage -> seconds of all its calls together.
        calls: stage -> number of its calls, where that is not one.
    """

    def __init__(self, expected_s: Mapping[str, float] | None = None, calls: Mapping[str, int] | None = None) -> None:
        self._left_s = dict(expected_s or {})
        self._calls_left = {stage: (calls or {}).get(stage, 1) for stage in self._left_s}
        self._expected_done_s = 0.0
        self._taken_s = 0.0
        self._stage: str | None = None
        self._began_s = 0.0
        self._first_share: float | None = None
        self._start_s = 0.0  # of the running call: until it had a share to tell

    @property
    def knows_time(self) -> bool:
        """Whether anything is expected of the run."""
        return bool(self._left_s)

    def begin(self, stage: str) -> None:
        """Begin a call of a stage."""
        self._stage = stage
        self._began_s = time.monotonic()
        self._first_share = None

    def end(self) -> None:
        """End the call of the stage that was begun last."""
        if self._stage in self._left_s:
            expected_s = self._expect_call()
            self._taken_s += time.monotonic() - self._began_s
            self._expected_done_s += expected_s
            self._left_s[self._stage] -= expected_s
            self._calls_left[self._stage] -= 1
        self._stage = None

    def estimate_left(self, share: float) -> float | None:
        """Return the seconds left of the run; None where nothing is expected of it.

        Args:
            share: of the running stage that is done, from 0 to 1. The first one above 0 was done by an earlier run, or
                is small: no time is expected for that. What passed until then is taken for starting, and as expected.
        """
        if not self._left_s:
            return None
        elapsed_s = time.monotonic() - self._began_s if self._stage else 0.0
        expected_s = self._expect_call()
        if self._first_share is None and share > 0:
            self._first_share, self._start_s = share, elapsed_s
        if share >= 1:
            reached_s = expected_s
        elif self._first_share is not None and share > self._first_share:
            start_s = min(self._start_s, SILENT_SHARE * expected_s)
            reached_s = start_s + (expected_s - start_s) * (share - self._first_share) / (1 - self._first_share)
        else:
            reached_s = min(elapsed_s, SILENT_SHARE * expected_s)
        taken_s = self._taken_s + elapsed_s
        pace = (taken_s + TRUST_S) / (self._expected_done_s + reached_s + TRUST_S)
        return pace * max(0.0, sum(self._left_s.values()) - reached_s)

    def _expect_call(self) -> float:
        calls = self._calls_left.get(self._stage or "", 0)
        return self._left_s[self._stage or ""] / calls if calls > 0 else 0.0


class PartClock(RunClock):
    """The clock of a run that is a part of a stage of another run: it tells the time that is left of that one.

    Args:
        whole: the clock of the other run, whose stage has begun.
        share: of that stage that was done before.
    """

    def __init__(self, whole: RunClock, share: float) -> None:
        super().__init__()
        self._whole = whole
        self._share = share

    @property
    def knows_time(self) -> bool:
        """As of the whole run."""
        return self._whole.knows_time

    def estimate_left(self, share: float) -> float | None:
        """Return the seconds left of the whole run; how far this one is does not count, but how many are done."""
        return self._whole.estimate_left(self._share)
