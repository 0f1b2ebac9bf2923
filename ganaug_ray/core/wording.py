"""Formats numbers for sentences."""


def format_count(n: int | float | str, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, in the singular for one.

    Args:
        n: the number; a fraction is rounded to a whole one. A word such as "auto" stands as it is.
        noun: in the singular.
        plural: of the noun; absent: with an s.

    >>> format_count(1, "epoch"), format_count(40.2, "epoch"), format_count("auto", "worker")
    ('1 epoch', '40 epochs', 'auto workers')
    >>> format_count(2, "class", "classes")
    '2 classes'
    """
    text = n if isinstance(n, str) else f"{n:.0f}"
    if text == "1":
        return f"{text} {noun}"
    return f"{text} {plural or noun + 's'}"
