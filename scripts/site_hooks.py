"""What the documentation site takes from outside docs/: pages, files that are linked to, modules.

In the reference, `::: package.*` stands for all modules of a package that no page names.
"""

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

REFERENCE = ROOT / "docs" / "reference"
REST = re.compile(r"^::: (\S+)\.\*$", re.MULTILINE)
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
    markdown = REST.sub(lambda found: "\n\n".join(rest_of(found[1])), markdown)
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


def rest_of(package: str) -> list[str]:
    """Return a line for each module of a package that no page of the reference names.

    Args:
        package: Dotted.
    """
    pages = "\n".join(page.read_text() for page in REFERENCE.glob("*.md")).splitlines()
    modules = sorted(ROOT.joinpath(*package.split(".")).glob("*.py"))
    lines = (f"::: {package}.{module.stem}" for module in modules if module.stem != "__init__")
    return [line for line in lines if line not in pages]
