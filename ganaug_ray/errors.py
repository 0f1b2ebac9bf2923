"""The errors that end a run, each with its exit code."""


class UserError(Exception):
    """The input is wrong; the message names the file or key, what was found, and what to do, in a few lines."""

    exit_code = 2


class DiskFull(UserError):
    """A file could not be written, because the disk or the quota is full. Trying again would not help."""


class TooManySplits(UserError):
    """There are too few images for the number of splits.

    Args:
        reason: why not, in a clause.
        possible: the largest number of splits that gives an answer, else 1; 0 if not even one split is possible.
    """

    def __init__(self, reason: str, possible: int) -> None:
        super().__init__(f"{reason}; compare.splits={possible} is possible" if possible else reason)
        self.reason = reason
        self.possible = possible


class StageFailed(Exception):
    """A stage could not finish, although the input is right; the message says what to try."""

    exit_code = 1


class NothingPassed(StageFailed):
    """No synthetic image passed the screening. The caller, who knows the job, adds what to try."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM ended a command; the message says what is finished, and how to continue."""
