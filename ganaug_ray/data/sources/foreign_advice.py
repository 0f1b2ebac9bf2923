"""Words the advice of readers for images that are not the data set's own: there the settings of data do not count."""

import re

VALUE_RANGE = "data.value_range: [low, high]"
_SOURCE = re.compile(r"(?<!explain )data\.source")  # `ganaug explain data.source` stays: it says what all can read
_SETTING = re.compile(r"data\.(columns|label_from)")
_IN_BRACKETS = re.compile(r" \([^()]*data\.(?:columns|label_from)[^()]*\)")
_CLAUSE = re.compile(r"; (?:(?!, or move )[^;])*data\.(?:columns|label_from)(?:(?!, or move )[^;])*(, or move [^;]*)?")


def name_section(message: str, section: str) -> str:
    """Word a message on data.source for a section that is read after the data set was made.

    Its sources have such settings of their own, beside them. What all images share can only be set for a new data set.

    >>> name_section("data.source t.csv: found the column kind; set data.columns: {label: kind}", "augment.images")
    'augment.images t.csv: found the column kind; set columns: {label: kind} (beside source in augment.images)'
    """
    named = _SOURCE.sub(section, message).replace(VALUE_RANGE, f"{VALUE_RANGE}, in another --out")
    reworded = _SETTING.sub(r"\1", named)
    return named if reworded == named else f"{reworded} (beside source in {section})"


def name_option(message: str, option: str) -> str:
    """Word a message on data.source for an option of a command that takes a single source, and no settings.

    >>> name_option("data.source a.7z: pack it as .zip and name it in data.source, in a list", "--data")
    '--data a.7z: pack it as .zip and name it as --data'
    """
    named = _SOURCE.sub(option, message.replace("in data.source, in a list", "as data.source"))
    return advise_table(named, "the columns image and label")


def advise_table(message: str, columns: str) -> str:
    """Word a message on a source for a command that reads no such settings: there the table itself is to change.

    Args:
        message: of a reader of sources.
        columns: those that the table is to have, in words.

    >>> advise_table("t.csv: columns image and file both fit; choose data.columns: {image: file}", "a column image")
    't.csv: columns image and file both fit; write the table with commas and a column image'
    """
    remedy = f"; write the table with commas and {columns}"
    return _CLAUSE.sub(lambda clause: remedy + (clause[1] or ""), _IN_BRACKETS.sub("", message))
