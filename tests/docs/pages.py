"""The pages that people read, and what is named in them."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("ai_agents", "console", "data", "orchestration", "rl", "utils")
FOLDERS = (*PACKAGES, "benchmarks", "clients", "configs", "deploy", "docs", "examples", "scripts")
FOLDERS = (*FOLDERS, "shipped", "tests")
PAGES = sorted(
    page
    for page in (*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md"), *ROOT.glob("*/README.md"))
    if "reference" not in page.relative_to(ROOT).parts
)
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
COMMAND = re.compile(r"python -m orchestration((?:[ \t]+(?:\\\n[ \t]*)?[^\s`|;&>)#]+)*)")
MODULE = re.compile(r"(?:python|pytest) -m ([a-z_]+(?:\.[a-z_]+)*)")
MAKE = re.compile(r"(?:`|^ {4}|\$ )make ([a-z-]+)", re.MULTILINE)
PATH = re.compile(
    rf"(?<![\w./-])((?:{'|'.join(FOLDERS)})/[\w./-]*\w)(?![\w*/<{{-])",
)
NAME = re.compile(rf"(?<![\w./-])((?:{'|'.join(PACKAGES)})(?:\.\w+)+)(?![\w/-])")
FILE_ENDINGS = ("json", "md", "py", "yaml", "yml", "jsonl", "csv", "sqlite")


def broken_links(page: Path, text: str) -> list[str]:
    """Links of a page whose file or heading is not there."""
    broken = []
    for target, anchor in LINK.findall(FENCE.sub("", text)):
        file = (page.parent / target).resolve() if target else page
        if not file.exists():
            broken.append(target)
        elif anchor and anchor not in anchors(file.read_text() if target else text):
            broken.append(f"{target}#{anchor}")
    return broken


def anchors(text: str) -> set[str]:
    """Names of a page's headings, as GitHub and the site make them."""
    plain = (re.sub(r"[^\w\s-]", "", one).strip().lower() for one in HEADING.findall(text))
    return {re.sub(r"[-\s]+", "-", one) for one in plain}


def named_files(text: str) -> set[str]:
    """Paths of the repository that a page names."""
    return set(PATH.findall(text))


def named_objects(text: str) -> set[str]:
    """Dotted Python names of our packages that a page names."""
    return {name for name in NAME.findall(text) if name.rsplit(".", 1)[1] not in FILE_ENDINGS}


def is_defined(name: str) -> bool:
    """Whether a dotted name is a package, a module, or something in one; nothing is imported."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        if place.is_dir():
            return length == len(parts)
        if place.with_suffix(".py").is_file():
            return is_inside(parts[length:], members(place.with_suffix(".py")))
    return False


def is_inside(parts: list[str], found: dict[str, ast.AST | None]) -> bool:
    if not parts:
        return True
    if parts[0] not in found:
        return False
    node = found[parts[0]]
    return not isinstance(node, ast.ClassDef) or is_inside(parts[1:], bound_in(node.body))


@cache
def members(module: Path) -> dict[str, ast.AST | None]:
    return bound_in(ast.parse(module.read_text()).body)


def bound_in(body: list[ast.stmt]) -> dict[str, ast.AST | None]:
    """What statements bind, by name."""
    found: dict[str, ast.AST | None] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (one for target in targets for one in ast.walk(target))
            found |= {one.id: None for one in names if isinstance(one, ast.Name)}
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found |= {one.asname or one.name: None for one in node.names}
    return found
