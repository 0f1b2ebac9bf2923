"""Hook of mkdocs: makes pages of the reference from the code, so that they are never older than it.

Files of the same names lie in docs/. They say to readers of the source where else the same can be read.
"""

from __future__ import annotations

import cli_page
import http_page
import metrics_page
import settings_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = {
    "reference/settings.md": settings_page.build_page,
    "reference/cli.md": cli_page.build_page,
    "reference/http.md": http_page.build_page,
    "reference/metrics.md": metrics_page.build_page,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put the pages in place of the files that stand for them."""
    for path, build_page in PAGES.items():
        stub = files.get_file_from_path(path)
        assert stub is not None, f"docs/{path} is missing: links to it would lead nowhere in the source"
        files.remove(stub)
        files.append(File.generated(config, path, content=build_page()))
    return files
