"""Frozen dataclasses <-> JSON, and a person's words -> typed fields. Imports no torch."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from typing import Any, Literal, Union

from shendu.errors import UserError, near, unknown

_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def hints(cls: Any) -> dict[str, Any]:
    """Field name -> resolved type, in order."""
    resolved = typing.get_type_hints(cls)
    return {f.name: resolved[f.name] for f in dataclasses.fields(cls)}


def to_json(config: Any) -> Any:
    """A dataclass (nested ones too) as what JSON can hold; infinity, for which it has no word, as text."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {
            f.name: to_json(value) for f in dataclasses.fields(config) if _said(f, value := getattr(config, f.name))
        }
    if isinstance(config, float) and not math.isfinite(config):
        return str(config)
    if isinstance(config, list | tuple):
        return [to_json(item) for item in config]
    if isinstance(config, dict):
        return {key: to_json(item) for key, item in config.items()}
    return config


def _said(field: dataclasses.Field[Any], value: Any) -> bool:
    """False of what few have, and this one has not (`metadata={"rare": True}`)."""
    return not field.metadata.get("rare") or value != field.default


def from_json(cls: Any, values: dict[str, Any]) -> Any:
    """The dataclass again; raises UserError for an unknown field or a wrong type."""
    known = hints(cls)
    for key in values:
        if key not in known:
            raise UserError(f"unknown setting '{key}'{near(key, known)}")
    return cls(**{key: convert(key, value, known[key]) for key, value in values.items()})


def convert(key: str, value: Any, wanted: Any) -> Any:
    """`value` (text from the command line, or JSON) as the type that a field wants; raises UserError."""
    origin, args = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Literal:
        for choice in args:
            if str(choice) == str(value):
                return choice
        raise unknown(f"value for {key}:", str(value), map(str, args))
    if origin in (Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        return convert(key, value, next(arg for arg in args if arg is not type(None)))
    if origin is tuple:
        return _convert_tuple(key, value, args)
    if dataclasses.is_dataclass(wanted) and isinstance(value, dict):
        return from_json(typing.cast(Any, wanted), value)
    return _convert_scalar(key, value, wanted)


def _convert_tuple(key: str, value: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.strip("()[]").split(",") if part.strip()]
    elif not isinstance(value, list | tuple):
        value = [value]
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(convert(key, item, args[0]) for item in value)
    if len(value) != len(args):
        raise UserError(f"{key} takes {len(args)} values, not {len(value)}: {key}={','.join('…' for _ in args)}")
    return tuple(convert(key, item, arg) for item, arg in zip(value, args, strict=True))


def _convert_scalar(key: str, value: Any, wanted: Any) -> Any:
    try:
        if wanted is bool:
            if isinstance(value, bool):
                return value
            if str(value).lower() in _TRUE | _FALSE:
                return str(value).lower() in _TRUE
            raise ValueError
        if wanted is int:
            if isinstance(value, bool) or float(value) != int(float(value)):
                raise ValueError
            return int(float(value))
        if wanted is float:
            if isinstance(value, bool):
                raise ValueError
            return float(value)
        if wanted is str and not isinstance(value, dict | list | tuple):
            return str(value)
    except (TypeError, ValueError, OverflowError):
        pass
    else:
        if wanted not in (bool, int, float, str):
            return value
    example = {bool: "true", int: "3", float: "0.1", str: "text"}.get(wanted, "…")
    name = getattr(wanted, "__name__", str(wanted))
    raise UserError(f"{key}={value!r} is not of type {name}; write it like {key}={example}")


def settle(choices: dict[str, Any], *configs: Any, given: tuple[str, ...] = ()) -> tuple[Any, ...]:
    """Spreads flat choices over several dataclasses: each gets the fields it knows, converted to their types.

    Raises UserError, naming the near one, for a key that none of them knows, and for one of `given`: what the data say.
    """
    if taken_from_data := sorted(set(choices) & set(given)):
        raise UserError(f"{taken_from_data[0]} follows from the data and cannot be set; leave it out")
    known = {name: i for i, config in reversed(list(enumerate(configs))) for name in hints(type(config))}
    taken: list[dict[str, Any]] = [{} for _ in configs]
    for key, value in choices.items():
        if key not in known:
            raise UserError(f"unknown setting '{key}'{near(key, known)}")
        i = known[key]
        taken[i][key] = convert(key, value, hints(type(configs[i]))[key])
        other = _instead_of(configs[i], key)
        if other and other not in choices:
            taken[i][other] = next(f.default for f in dataclasses.fields(configs[i]) if f.name == other)
    return tuple(dataclasses.replace(config, **new) for config, new in zip(configs, taken, strict=True))


def _instead_of(config: Any, key: str) -> str:
    """The setting that one takes the place of, so that a person's word is not overruled by what a system usually does."""
    found: str = next(f.metadata.get("instead_of", "") for f in dataclasses.fields(config) if f.name == key)
    return found


def parse_settings(words: typing.Iterable[str]) -> dict[str, str]:
    """`key=value` words as a dict; raises UserError for a word without an equals sign."""
    settings: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.strip():
            raise UserError(f"'{word}' is not a setting; write it as --set key=value")
        settings[key.strip().replace("-", "_")] = value.strip()
    return settings


def duration(text: str | float | None) -> float:
    """Seconds of `90`, `90s`, `10m` or `2h`; 0 for None. Raises UserError."""
    if text is None:
        return 0.0
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(text).strip())
    seconds = float(found.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600}[found.group(2)] if found else 0.0
    if seconds <= 0:
        raise UserError(f"--time-limit {text} is no length of time; write it like 90s, 10m or 2h")
    return seconds
