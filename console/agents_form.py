"""A form from an agent's JSON schema: which fields there are, and what a person wrote in them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Schema = Mapping[str, Any]
Kind = Literal["number", "whole", "flag", "text", "amounts", "part", "rows", "json"]
SCALARS: Mapping[str, Kind] = {
    "number": "number",
    "integer": "whole",
    "boolean": "flag",
    "string": "text",
}
ASKED_APART = frozenset({"compare", "explain"})
DEEPEST = 4


class FormError(ValueError):
    """What a person wrote cannot be sent; the message names the field."""


@dataclass(frozen=True, kw_only=True)
class FormField:
    """One field of a request."""

    name: str
    kind: Kind
    value: Any
    """What the form begins with."""
    about: str
    columns: tuple[FormField, ...] = ()
    """Of rows, or the fields of a part."""


def fields_of(schema: Schema, example: Mapping[str, Any]) -> tuple[FormField, ...]:
    """Return the fields of a request, as a form shows them.

    Args:
        schema: JSON schema of the request.
        example: What the form begins with.
    """
    return tuple(
        _field(name, one, schema, example.get(name, one.get("default")))
        for name, one in schema.get("properties", {}).items()
        if name not in ASKED_APART
    )


def _field(name: str, part: Schema, root: Schema, value: Any) -> FormField:
    found = resolve(part, root)
    kind, columns = _shape(found, root, value)
    return FormField(
        name=name,
        kind=kind if value is not None or kind in {"json", "text"} else "json",
        value=value,
        about=str(part.get("description") or found.get("description", "")),
        columns=columns,
    )


def _shape(found: Schema, root: Schema, value: Any) -> tuple[Kind, tuple[FormField, ...]]:
    kind = str(found.get("type"))
    if kind == "object" and value and "properties" in found:
        parts = found["properties"].items()
        return "part", tuple(
            _field(key, one, root, value.get(key, one.get("default"))) for key, one in parts
        )
    if kind == "object" and value and all(isinstance(one, float) for one in value.values()):
        return "amounts", ()
    items = resolve(found.get("items") or {}, root) if kind == "array" and value else {}
    if "properties" in items:
        parts = items["properties"].items()
        return "rows", tuple(_field(key, one, root, one.get("default")) for key, one in parts)
    return SCALARS.get(kind, "json"), ()


def resolve(part: Schema, root: Schema) -> Schema:
    """Return what a part of a schema refers to.

    Args:
        part: Of the schema.
        root: The whole schema, which holds the definitions.
    """
    name = str(part.get("$ref", "")).removeprefix("#/$defs/")
    return root.get("$defs", {}).get(name, part) if name else part


def to_cells(rows: Sequence[Mapping[str, Any]], columns: Sequence[FormField]) -> list[Any]:
    """Return rows as a table shows them: what is no single value becomes JSON text.

    Args:
        rows: Of the request.
        columns: Of the table.
    """
    return [{one.name: _to_cell(row.get(one.name, one.value)) for one in columns} for row in rows]


def _to_cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value


def from_cells(name: str, cells: Sequence[Mapping[str, Any]], columns: Sequence[FormField]) -> Any:
    """Return what a person left in a table as rows of the request; empty cells are left out.

    Args:
        name: Of the field, for messages.
        cells: Of the table.
        columns: Of the table.

    Raises:
        FormError: A cell holds what its column cannot.
    """
    rows = []
    for number, row in enumerate(cells):
        found = {}
        for column in columns:
            value = row.get(column.name)
            if not _is_empty(value):
                found[column.name] = _from_cell(f"{name}[{number}].{column.name}", value, column)
        if found:
            rows.append(found)
    return rows


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _from_cell(place: str, value: Any, column: FormField) -> Any:
    if column.kind == "whole" and float(value).is_integer():
        return int(value)
    if column.kind in {"json", "amounts", "rows"}:
        return read_json(place, str(value))
    return value


def read_json(place: str, text: str) -> Any:
    """Read JSON that a person wrote.

    Args:
        place: Where it stands, for the message.
        text: It; nothing is `null`.

    Raises:
        FormError: It is none, or holds numbers that are none.
    """
    if not text.strip():
        return None
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FormError(f"{place}: this is no JSON ({error})") from error


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")


def describe_fields(schema: Schema) -> list[dict[str, str]]:
    """Return a table of all fields of a schema with their types, bounds and meanings.

    Args:
        schema: JSON schema of a request or a decision.
    """
    return _describe(schema, schema, "", 0)


def _describe(part: Schema, root: Schema, path: str, depth: int) -> list[dict[str, str]]:
    rows = []
    for name, one in part.get("properties", {}).items():
        found = resolve(one, root)
        place = f"{path}{name}"
        about = str(one.get("description") or found.get("description", ""))
        rows.append({"field": place, "type": _type_of(found, root), "meaning": about})
        inner = resolve(found.get("items", {}), root) if found.get("type") == "array" else found
        if depth < DEEPEST:
            mark = "[]." if inner is not found else "."
            rows += _describe(inner, root, f"{place}{mark}", depth + 1)
    return rows


def _type_of(found: Schema, root: Schema) -> str:
    if "anyOf" in found:
        return " or ".join(_type_of(resolve(one, root), root) for one in found["anyOf"])
    bounds = [
        f"{sign} {found[key]:g}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in found
    ]
    return " ".join([str(found.get("type", "any")), *bounds])
