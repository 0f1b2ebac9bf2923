"""The two ways in which a run ends badly, each with its exit code."""


class UserError(Exception):
    """The input is wrong: at most a few lines that name the file or key, what was found, what to do."""

    exit_code = 2


class StageFailed(Exception):
    """The input is right and a stage still could not finish; the message says what to try."""

    exit_code = 1
