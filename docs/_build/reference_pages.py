"""Hook of mkdocs: makes pages of the reference from the code, so that they are never older than it."""

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
    """Add the pages to those that lie in docs/."""
    for path, build_page in PAGES.items():
        files.append(File.generated(config, path, content=build_page()))
    return files
