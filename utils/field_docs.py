"""What a dataclass says of its fields: the strings that stand below them in the source."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from typing import Any


def field_docs(config_type: type[Any]) -> dict[str, str]:
    """Return one line about each documented field of a class.

    Args:
        config_type: A class whose source can be read.
    """
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(config_type))).body
    body = node.body if isinstance(node, ast.ClassDef) else []
    docs: dict[str, str] = {}
    for field, below in itertools.pairwise(body):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            docs[field.target.id] = " ".join(str(below.value.value).split())
    return docs
