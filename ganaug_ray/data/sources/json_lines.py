"""Reads JSON Lines: a text with an object a line, as Hugging Face's metadata.jsonl is."""

import json
from collections.abc import Iterator
from typing import Any

from ganaug_ray.errors import UserError

SUFFIXES = (".jsonl", ".ndjson")


def read_objects(text: str, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each object with its line, from 1; ``path`` is where the text is from.

    Raises:
        UserError: a line is no object, or has a key twice.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                content = json.loads(line, object_pairs_hook=_make_object)
            except (ValueError, RecursionError) as error:  # nested deeper than any label is
                raise UserError(f"{path}: line {number} is not JSON ({error})") from None
            if not isinstance(content, dict):
                remedy = "expected an object on each line; `jq -c '.[]'` makes such lines of an array"
                raise UserError(f"{path}: line {number} holds {line.strip()[:40]}; {remedy}")
            yield number, content


def is_json(text: str) -> bool:
    """Whether a text begins as JSON does, whatever its name.

    >>> is_json('{"image": "1.png"}'), is_json("image,label")
    (True, False)
    """
    return text.lstrip()[:2] in ('{"', "[{", '["', "{\n", "[\n", "{}")


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key is there twice")
    return content
