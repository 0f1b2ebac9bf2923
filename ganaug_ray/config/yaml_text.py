"""Parses the YAML of jobs: 1e-4 is a number, a key given twice is a mistake, and names of classes are text."""

import re
from typing import Any

import yaml

from ganaug_ray.errors import UserError

CLASS_KEYS = ("rare", "classes")  # their values name classes, which may be called no, 10 or null


class _JobLoader(yaml.SafeLoader):
    """YAML as jobs are written in."""


_JobLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _construct_mapping(loader: _JobLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} is given twice", problem_mark=node.start_mark)
    for key, (_, value) in zip(keys, node.value, strict=True):
        if key in CLASS_KEYS:
            _keep_text(value)
        if key == "columns" and isinstance(value, yaml.MappingNode):
            for _, names in value.value:
                _keep_text(names)
    return loader.construct_mapping(node, deep=True)


_JobLoader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def _keep_text(node: yaml.Node) -> None:
    """Make the items of a list the text that stands there, whatever YAML takes it for."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            if isinstance(item, yaml.ScalarNode):
                item.tag = "tag:yaml.org,2002:str"


def parse_yaml(text: str, name: str, key: str = "") -> Any:
    """Parse YAML text, which is the value of a key or a whole file; ``name`` is what to call it in messages.

    >>> parse_yaml("{rare: [no, 10], factor: 1e1}", "job.yaml"), parse_yaml("[no]", "--set", "rare")
    ({'rare': ['no', '10'], 'factor': 10.0}, ['no'])

    Raises:
        UserError: it is no YAML.
    """
    loader = _JobLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if key in CLASS_KEYS:
            _keep_text(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise UserError(f"{name}:{place} is not valid YAML: {problem}") from None
    finally:
        loader.dispose()
