"""The house rules that no linter knows: names, sizes, layers, forbidden ways to load and call."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("console", "orchestration", "ai_agents", "rl", "data", "utils")
LONGEST_MODULE, LONGEST_ALGORITHM, LONGEST_CLASS = 400, 300, 250
BANNED_WORDS = {
    *("advanced", "enhanced", "unified", "optimized", "smart", "meta"),
    *("helper", "helpers", "common", "misc", "utils2", "base_utils"),
}
# Functions whose open keywords are another library's protocol, as "path::function".
OPEN_KEYWORDS: set[str] = set()
PICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve"}

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FACES = [path for path in MODULES if path.name == "__init__.py"]
IDS = [str(path.relative_to(ROOT)) for path in MODULES]
every_module = pytest.mark.parametrize("path", MODULES, ids=IDS)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions_of(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def classes_of(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def length_of(node: ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def imported_by(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", [*PACKAGES, "tests"])
def test_generic_names_mean_our_packages(name):
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert Path(str(spec.origin)) == ROOT / name / "__init__.py"


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in MODULES if "migrations" not in path.parts}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


@every_module
def test_module_has_one_idea_and_says_which(path):
    in_algorithms = path.is_relative_to(ROOT / "rl" / "algorithms")
    longest = LONGEST_ALGORITHM if in_algorithms else LONGEST_MODULE
    assert len(path.read_text().splitlines()) <= longest
    assert ast.get_docstring(tree_of(path))


@every_module
def test_names_are_plain(path):
    for name in [path.stem, *(node.name for node in classes_of(tree_of(path)))]:
        spaced = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
        assert not BANNED_WORDS & {name, *spaced.split("_")}, name


@every_module
def test_classes_fit_on_a_few_screens(path):
    classes = classes_of(tree_of(path))
    assert [node.name for node in classes if length_of(node) > LONGEST_CLASS] == []


@every_module
def test_signatures_are_closed(path):
    where = path.relative_to(ROOT)
    open_ones = {f"{where}::{one.name}" for one in functions_of(tree_of(path)) if one.args.kwarg}
    assert open_ones <= OPEN_KEYWORDS


@every_module
def test_nothing_is_unpickled(path):
    tree = tree_of(path)
    imported = set(imported_by(tree))
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    switched_on = {
        word.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for word in node.keywords
        if not (isinstance(word.value, ast.Constant) and word.value.value is False)
    }
    assert not {name for name in imported if name.split(".")[0] in PICKLERS}
    assert not {"torch.load", "torch.save"} & (imported | used)
    assert "allow_pickle" not in switched_on


@pytest.mark.parametrize("path", FACES, ids=lambda path: path.parent.name)
def test_package_faces_do_no_work(path):
    _, *rest = tree_of(path).body
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    assert [ast.unparse(node) for node in rest if not isinstance(node, allowed)] == []
    ours = [name for name in imported_by(tree_of(path)) if name.split(".")[0] in PACKAGES]
    assert ours == [], "a face that imports would pull torch into what serves"


def test_every_package_has_a_layer():
    packages = {face.parent.name for face in ROOT.glob("*/__init__.py")}
    beside = {"tests", "scripts", "console", "examples", "benchmarks", "deploy"}
    assert packages <= {*PACKAGES, *beside}


def test_layers_hold():
    command = [
        sys.executable,
        Path(sys.executable).with_name("lint-imports"),
        "--no-cache",
        "--no-logo",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"version: {project['version']}" in (ROOT / "CITATION.cff").read_text()
    assert f"[{project['version']}]" in (ROOT / "CHANGELOG.md").read_text()
