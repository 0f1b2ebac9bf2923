"""Says in the log when the steps stood still, as where the network between two ranks was cut for a while."""

import time

LONG = 20.0  # seconds: a shorter pause is nobody's concern
MANY = 10  # times what is usual


class Pace:
    """Knows what a logged step takes."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._usual: float | None = None

    def step(self, number: int) -> None:
        """Called at each logged step."""
        now = time.monotonic()
        if self._last is not None:
            seconds = now - self._last
            if self._usual is not None and seconds > max(LONG, MANY * self._usual):
                print(
                    f"{seconds:.0f} s until step {number}, where {self._usual:.2g} s are usual: a rank or the network "
                    "stood still; the training goes on"
                )
            else:
                self._usual = seconds
        self._last = now

    def rest(self) -> None:
        """Called after other work."""
        self._last = time.monotonic()
