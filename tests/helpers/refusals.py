"""A call that is refused, and the advice in its message."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ganaug_ray.errors import UserError


def refuse(advice: str, function: Any, *arguments: Any, **options: Any) -> re.Match[str]:
    """Return where the advice stands in the message of a refusal."""
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    match = re.search(advice, str(caught.value))
    assert match, str(caught.value)
    return match
