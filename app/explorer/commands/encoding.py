"""Commands as JSON, and back: strictly, for what comes from a browser or a file may be anything."""

from __future__ import annotations

import difflib
import json
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from app.explorer.commands.base import Command
from render.errors import InputError

MOST_ITEMS = 20_000  # of a list
MOST_CHARACTERS = 1000  # of a string
WHOLE = 2**53  # up to here numbers are exact in every program that reads JSON
KIND = "kind"
WORDS: dict[Any, str] = {str: "string", bool: "true or false", int: "whole number", float: "number"}


def to_json(command: Command) -> dict[str, Any]:
    """The command as JSON values: its fields and its kind."""
    return {KIND: command.kind, **_plain_fields(command)}


def from_json(value: object, kinds: Mapping[str, type[Command]]) -> Command:
    """The command that some JSON value describes.

    Raises:
        InputError: it describes none: the sentence says where and why.  Nothing else is ever raised.
    """
    if not isinstance(value, dict):
        raise InputError(f"A command is an object with a kind, found {_described(value)}.")
    kind = value.get(KIND)
    if not isinstance(kind, str) or kind not in kinds:
        near = difflib.get_close_matches(kind.lower().replace("_", "-"), kinds, 1) if isinstance(kind, str) else []
        meant = f"; did you mean {near[0]!r}?" if near else "."
        raise InputError(f"Expected a kind of command ({', '.join(kinds)}), found {_described(kind)}{meant}")
    return _decode_object({k: v for k, v in value.items() if k != KIND}, kinds[kind], kind)


def fields_in_words(kind: type[Any]) -> str:
    """The fields of a command, or of what commands are made of, with what they hold and their defaults.

    Those that must be given come first.
    """
    hints = _hints(kind)  # type: ignore[arg-type]
    ordered = sorted(fields(kind), key=lambda one: one.default is not MISSING)
    return ", ".join(f"{one.name}: {_words(hints[one.name])}{_default_in_words(one)}" for one in ordered)


def _words(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if one is type(None) else _words(one) for one in inner)
    if origin is Literal:
        return " or ".join(json.dumps(one) for one in inner)
    if origin is tuple:
        items = ["..." if one is Ellipsis else _words(one) for one in inner]
        return f"[{', '.join(items)}]"
    return hint.__name__.lower() if is_dataclass(hint) else WORDS[hint]  # type: ignore[union-attr]


def _default_in_words(one: Field[Any]) -> str:
    return "" if one.default is MISSING else f" = {json.dumps(_plain(one.default))}"


def _plain_fields(value: Any) -> dict[str, Any]:
    return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _plain_fields(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _decode_object(value: object, kind: type[Any], where: str) -> Any:
    """A dataclass from an object that has exactly its fields; those with defaults may be missing."""
    if not isinstance(value, dict):
        raise InputError(f"{where} must be an object, found {_described(value)}.")
    hints = _hints(kind)  # type: ignore[arg-type]
    unknown = [key for key in value if key not in hints]
    if unknown:
        raise InputError(f"{where} has no {_described(unknown[0])}; it has {', '.join(hints) or 'no fields'}.")
    missing = [f.name for f in fields(kind) if f.default is MISSING and f.name not in value]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}.")
    decoded = {name: _decode(item, hints[name], f"{where}.{name}") for name, item in value.items()}
    try:
        return kind(**decoded)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _decode(value: object, hint: Any, where: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        (hint,) = [one for one in inner if one is not type(None)]
        return _decode(value, hint, where)
    if origin is Literal:
        if not isinstance(value, str) or value not in inner:
            raise InputError(f"{where} must be one of {', '.join(inner)}, found {_described(value)}.")
        return value
    if origin is tuple:
        return _decode_list(value, inner, where)
    if is_dataclass(hint):
        return _decode_object(value, hint, where)  # type: ignore[arg-type]
    return _decode_scalar(value, hint, where)


def _decode_list(value: object, inner: Sequence[Any], where: str) -> tuple[Any, ...]:
    # A string is a sequence too, but no list.
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{where} must be a list, found {_described(value)}.")
    if len(value) > MOST_ITEMS:
        raise InputError(f"{where} must have at most {MOST_ITEMS} items, found {len(value)}.")
    if inner[-1] is Ellipsis:
        return tuple(_decode(item, inner[0], f"{where}[{index}]") for index, item in enumerate(value))
    if len(value) != len(inner):
        raise InputError(f"{where} must have {len(inner)} items, found {len(value)}.")
    return tuple(_decode(item, hint, f"{where}[{i}]") for i, (item, hint) in enumerate(zip(value, inner, strict=True)))


def _decode_scalar(value: object, hint: Any, where: str) -> Any:
    if hint is str:
        return _decode_string(value, where)
    if hint is bool:
        if not isinstance(value, bool):
            raise InputError(f"{where} must be true or false, found {_described(value)}.")
        return value
    # True is an int in Python, but no number in JSON.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{where} must be a {WORDS[hint]}, found {_described(value)}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where} must be a finite number, found {_described(value)}.")
    if not -WHOLE <= value <= WHOLE:
        bound = f"at most {WHOLE}" if value > 0 else f"at least {-WHOLE}"
        raise InputError(f"{where} must be {bound}, found {_described(value)}.")
    if hint is float:
        return float(value)
    if isinstance(value, float) and not value.is_integer():
        raise InputError(f"{where} must be a whole number, found {_described(value)}.")
    return int(value)


def _decode_string(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where} must be a string, found {_described(value)}.")
    if len(value) > MOST_CHARACTERS:
        raise InputError(f"{where} must have at most {MOST_CHARACTERS} characters, found {len(value)}.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{where} must be text, found half of a character at {error.start}.") from error
    return str(value)


def _described(value: object) -> str:
    """A value in an error's sentence, short whatever it is."""
    if isinstance(value, str):
        shown = ascii(value[:40])
        return shown if len(value) <= 40 else f"{shown} and more"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}" if math.isfinite(value) else "a number that is not finite"
    if isinstance(value, int):
        return str(value) if abs(value) <= WHOLE else f"a number that is too {'large' if value > 0 else 'small'}"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields."""
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)}
