"""Tables that are cut on the page, as files to download from it."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

MAX_ROWS = 20  # of a table on the page; the rest is a download


def encode_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Encode a table as the data URI of a CSV file.

    >>> encode_csv(["class", "n"], [["cat", 3]])
    'data:text/csv;base64,Y2xhc3MsbgpjYXQsMwo='
    """
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return f"data:text/csv;base64,{base64.b64encode(sink.getvalue().encode()).decode()}"
