"""A training's form without its drawing: what was typed becomes settings, commands and requests."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestration.client.training import FormField, TrainingForm

WHOLE_FORM = ""
"""The place of problems that belong to no field."""
CONFIG = "config"


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What was typed."""

    config: Mapping[str, Any]
    """What is not as usual, nested as a job wants it."""
    problems: Mapping[str, str]
    """By name of the field: what cannot be read at all; these are not in the settings."""


class UnreadableError(ValueError):
    """What was typed is no value of its field; the message says what to write."""


def to_typed(field: FormField, value: Any) -> Any:
    """Return a setting as the form's widget holds it.

    Args:
        field: Which.
        value: Plain JSON.
    """
    if field.kind in {"wholes", "texts"}:
        return ", ".join(map(str, value or ()))
    if field.kind == "json":
        return "" if value is None else json.dumps(value)
    if field.kind == "text":
        return value or ""
    if field.kind == "number" and value is not None:
        return float(value)
    return value


def read_typed(field: FormField, typed: Any) -> Any:
    """Return what a widget holds as a setting.

    Args:
        field: Which.
        typed: What the widget holds.

    Raises:
        UnreadableError: It is no value of the field.
    """
    is_empty = typed is None or (isinstance(typed, str) and not typed.strip())
    if field.kind in {"wholes", "texts"}:
        parts = [part.strip() for part in (typed or "").split(",") if part.strip()]
        return [_whole(part) for part in parts] if field.kind == "wholes" else parts
    if is_empty:
        if field.is_optional:
            return None
        raise UnreadableError("it is empty: write a value")
    if field.kind == "json":
        try:
            return json.loads(typed)
        except ValueError as error:
            raise UnreadableError(
                f"this is no JSON ({error}); write such as [[0, 1], [2]]"
            ) from error
    return typed.strip() if isinstance(typed, str) else typed


def fill(form: TrainingForm, typed: Mapping[str, Any], *, learns_alone: bool) -> Filled:
    """Return what a form that was filled in says.

    Args:
        form: Which.
        typed: What its widgets hold, by name of the field; absent ones are as usual.
        learns_alone: The algorithm learns as its problem says; what is typed of that counts not.
    """
    algorithm, environment = (str(typed.get(one, "")) for one in ("algorithm", "environment"))
    family = form.families.get(algorithm, algorithm)
    sections = {f"world.{environment}", *(() if learns_alone else (f"settings.{family}",))}
    config: dict[str, Any] = {} if learns_alone else {"settings": {family: {}}}
    problems: dict[str, str] = {}
    for field in form.fields:
        if "." in field.name and field.section not in sections:
            continue
        try:
            value = read_typed(field, typed.get(field.name, to_typed(field, field.default)))
        except UnreadableError as error:
            problems[field.name] = str(error)
            continue
        if value != field.default:
            _put(config, field.name.split("."), value)
    return Filled(config=config, problems=problems)


def typed_from(form: TrainingForm, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the widgets of a form hold for given settings.

    Args:
        form: Which.
        config: Plain JSON; absent settings are as usual.
    """
    return {
        field.name: to_typed(field, _get(config, field.name.split("."), field.default))
        for field in form.fields
    }


def sets_learning(config: Mapping[str, Any]) -> bool:
    """Tell whether settings say how the algorithm learns.

    Args:
        config: Plain JSON.
    """
    return any(one is not None for one in (config.get("settings") or {}).values())


def bounds_words(field: FormField) -> str:
    """Say what a field takes.

    Args:
        field: Which.
    """
    words = []
    if field.least is not None:
        words.append(f"{'at least' if field.takes_least else 'more than'} {field.least:g}")
    if field.most is not None:
        words.append(f"{'at most' if field.takes_most else 'less than'} {field.most:g}")
    if field.kind in {"wholes", "texts"}:
        words.append("with commas between")
    if field.kind == "json":
        words.append("as JSON")
    if field.is_optional:
        words.append("may be left empty")
    return ", ".join(words)


def about(field: FormField) -> str:
    """Say what a field is, what it takes and what it is usually.

    Args:
        field: Which.
    """
    usual = to_typed(field, field.default)
    usual_words = "" if usual in {None, ""} else f"Usually `{usual}`."
    bounds = bounds_words(field)
    sentence = f"{bounds[:1].upper()}{bounds[1:]}." if bounds else ""
    return " ".join(part for part in (field.about, sentence, usual_words) if part)


def label(field: FormField) -> str:
    """Return what stands above a field.

    Args:
        field: Which.
    """
    words = field.name.rpartition(".")[2].replace("_", " ")
    words = words.replace("num ", "number of ", 1) if words.startswith("num ") else words
    return words[:1].upper() + words[1:]


def place_problems(problems: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return what the server said of fields, by name of the form's field.

    Args:
        problems: By the server's name, such as `config.seed`.
        names: Of the form's fields; what belongs to none belongs to the whole form.
    """
    placed: dict[str, str] = {}
    for name, problem in problems.items():
        own = name.removeprefix(f"{CONFIG}.")
        place = own if own in names else WHOLE_FORM
        placed[place] = f"{placed[place]}; {problem}" if place in placed else problem
    return placed


def make_body(config: Mapping[str, Any], priority: int) -> dict[str, Any]:
    """Return the request that queues a training.

    Args:
        config: What is not as usual.
        priority: Higher ones go first.
    """
    return {"config": dict(config), **({"priority": priority} if priority else {})}


def make_command(form: TrainingForm, config: Mapping[str, Any], priority: int) -> str:
    """Return the command line that queues the same.

    Args:
        form: Knows which settings are plain text.
        config: What is not as usual.
        priority: Higher ones go first.
    """
    plain = {one.name for one in form.fields if one.kind == "text" and not one.is_optional}
    words = [f"{name}={_write(value, is_plain=name in plain)}" for name, value in config.items()]
    more = [f"--priority={priority}"] if priority else []
    return shlex.join(["python", "-m", "orchestration", "submit", "train", *words, *more])


def make_curl(url: str, body: Mapping[str, Any], *, has_token: bool) -> str:
    """Return the call of curl that queues the same.

    Args:
        url: Of the server.
        body: Of the request.
        has_token: Whether callers need one.
    """
    token = ['  -H "Authorization: Bearer $QUARTERMASTER_TOKEN"'] if has_token else []
    lines = [
        f"curl -X POST {shlex.quote(url + '/v1/jobs')}",
        "  -H 'Content-Type: application/json'",
        '  -H "Idempotency-Key: $(uuidgen)"',
        *token,
        f"  -d {shlex.quote(json.dumps(body))}",
    ]
    return " \\\n".join(lines)


def submission_key(nonce: str, body: Mapping[str, Any]) -> str:
    """Name a submission so that a second click on the same form makes no second job.

    Args:
        nonce: Of this form, until a new one is wanted.
        body: Of the request.
    """
    content = f"{nonce} {json.dumps(body, sort_keys=True)}"
    return f"console-{hashlib.sha256(content.encode()).hexdigest()[:32]}"


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise UnreadableError(f"{text!r} is no whole number; write such as 64, 64") from error


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *parents, last = path
    for one in parents:
        tree = tree.setdefault(one, {})
    tree[last] = value


def _get(tree: Any, path: Sequence[str], default: Any) -> Any:
    for one in path:
        if not isinstance(tree, Mapping) or one not in tree:
            return default
        tree = tree[one]
    return tree


def _write(value: Any, *, is_plain: bool) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if is_plain:
        return value
    try:
        json.loads(value)
    except ValueError:
        return json.dumps(value) if value.lower() == "none" else value
    return json.dumps(value)
