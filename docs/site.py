"""Fits the documents to the site: mkdocs calls it (`hooks` in mkdocs.yml).

On GitHub a link leads to any file of the repository. The site has the documents of the top folder as pages of its own;
a link to any other file leads to the repository.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = "https://github.com/cirrostream/cirrostream/blob/main"
OF_TOP_FOLDER = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")
"""The place in `[words](place#anchor)`, unless it is an address."""


def on_files(files: Files, config: Any) -> Files:
    """Adds the documents of the top folder."""
    for name in OF_TOP_FOLDER:
        path = posixpath.join(posixpath.dirname(config.config_file_path), name)
        files.append(File.generated(config, name, abs_src_path=path))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Turns links between files of the repository into links between pages; mkdocs checks what comes of it."""
    here = page.file.src_uri
    folder = "" if here in OF_TOP_FOLDER else posixpath.join("docs", posixpath.dirname(here))

    def on_the_site(found: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join(folder, found[1]))
        uri = place if place in OF_TOP_FOLDER else place.removeprefix("docs/")
        if files.get_file_from_path(uri) is None and not place.startswith("docs/"):
            return f"{REPOSITORY}/{place}"
        return posixpath.relpath(uri, posixpath.dirname(here) or ".")

    return LINK.sub(on_the_site, markdown)
