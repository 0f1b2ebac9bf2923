"""How far a stage is that works in this process."""

from __future__ import annotations


class Progress:
    """How far a stage in this process is; the stage sets it, and the terminal reads it from another thread."""

    def __init__(self, words: str) -> None:
        self.update(0.0, words)

    def update(self, share: float, words: str) -> None:
        """Set how far the stage is, from 0 to 1, and words for it."""
        self._state = share, words  # a single assignment: the reading thread never sees half of it

    def read(self) -> tuple[float, str]:
        """Return the share, from 0 to 1, and the words."""
        return self._state
