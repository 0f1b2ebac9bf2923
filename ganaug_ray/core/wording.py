"""Formats numbers, times and errors for sentences."""


def format_count(n: int | float | str, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, in the singular for one.

    Args:
        n: the number; a fraction is rounded to a whole one. A word such as "auto" stands as it is.
        noun: in the singular.
        plural: of the noun; absent: with an s.

    >>> format_count(1, "epoch"), format_count(1040.2, "epoch"), format_count("auto", "worker")
    ('1 epoch', '1,040 epochs', 'auto workers')
    >>> format_count(2, "class", "classes")
    '2 classes'
    """
    text = n if isinstance(n, str) else f"{n:,.0f}"
    if text == "1":
        return f"{text} {noun}"
    return f"{text} {plural or noun + 's'}"


def format_time(seconds: float) -> str:
    """Return a time in the unit that suits it, as exact as an estimate deserves.

    >>> [format_time(seconds) for seconds in (0.523, 38.2, 845, 20_000)]
    ['0.52 s', '38 s', '14 minutes', '5.6 hours']
    """
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    if seconds < 120 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def exceeds_budget(seconds: float, minutes: float) -> bool:
    """Return whether a time is longer than the minutes for it, by more than would be seen in words.

    >>> exceeds_budget(620, 10), exceeds_budget(640, 10)
    (False, True)
    """
    budget_s = 60 * minutes
    return seconds > budget_s and format_time(seconds) != format_time(budget_s)


def get_last_line(error: BaseException) -> str:
    """Return the last line of an error's message, or the name of its class where it has none.

    >>> get_last_line(ValueError("no such file")), get_last_line(ValueError())
    ('no such file', 'ValueError')
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip()


def describe_unwritable(option: str, place: object, error: OSError) -> str:
    """Say that nothing can be written where an option says, and what to do.

    >>> describe_unwritable("--out", "a.csv", PermissionError(13, "Permission denied"))
    '--out a.csv: cannot be written (Permission denied); give another --out'
    """
    return f"{option} {place}: cannot be written ({error.strerror or error}); give another {option}"


def shorten_text(text: str, length: int) -> str:
    """Return a text of at most this many characters; a longer one ends in an ellipsis.

    >>> shorten_text("tabby cat", 9), shorten_text("long-haired cat", 9)
    ('tabby cat', 'long-hai…')
    """
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def format_range(low: int, high: int) -> str:
    """Return two numbers as a range, or as one number where they are equal.

    >>> format_range(168, 168), format_range(167, 168)
    ('168', '167 to 168')
    """
    return str(low) if low == high else f"{low} to {high}"
