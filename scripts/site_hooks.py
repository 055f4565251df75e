"""What the documentation site takes from outside docs/: pages, and files that pages link to."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "benchmarks/results/allocation_quality.md": "training/allocation_quality.md",
    "CONTRIBUTING.md": "contributing.md",
    "deploy/README.md": "deploy.md",
    "examples/README.md": "examples.md",
}
"""Pages that live elsewhere in the repository, and what they are called on the site."""

LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live elsewhere.

    Args:
        files: All files of the site so far.
        config: The site's configuration.
    """
    for source, name in PAGES.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links that lead out of docs/ lead to the same file on the site.

    Args:
        markdown: The page as written.
        page: The page.
        config: The site's configuration.
        files: All files of the site; those linked to are added.
    """
    origins = {name: source for source, name in PAGES.items()}
    origin = origins.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def follow(link: re.Match[str]) -> str:
        words, path, anchor = link.groups()
        target = os.path.normpath(Path(origin).parent / path)
        if not (ROOT / target).is_file():
            return words if (ROOT / target).is_dir() else link[0]
        place = PAGES.get(target, target.removeprefix("docs/"))
        if place == target:
            place = f"repository/{target}" + (".txt" if target.endswith(".md") else "")
            if files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(ROOT / target)))
        relative = os.path.relpath(place, Path(page.file.src_uri).parent)
        return f"[{words}]({relative}{anchor or ''})"

    return LINK.sub(follow, markdown)
