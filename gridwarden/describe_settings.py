"""What the configuration may hold, from its declaration: a commented sample, a reference; and what is in force."""

from __future__ import annotations

import inspect
import textwrap
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from gridwarden.load_settings import dotted
from gridwarden.settings import Settings, section_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from gridwarden.load_settings import Keys, Loaded

PROSE_WIDTH = 100


def sample() -> str:
    """Return a site.yaml that can be used once its examples are replaced.

    Keys with a default are commented out, without a blank behind the ``#``; prose and further examples have some.
    """
    head = prose(
        "Configuration of gridwarden. What is commented out shows the default. Files in site.d beside this one "
        "are laid over it in the order of their names. After a change: gridwarden config check, then gridwarden "
        "config install on every machine."
    )
    return "\n".join([*head, "", *sample_keys(Settings, "")])


def sample_keys(model: type[BaseModel], indent: str) -> list[str]:
    """Return the lines of the keys of one section."""
    lines: list[str] = []
    for name, field in model.model_fields.items():
        lines += [f"{indent}{line}" for line in prose(f"{field.description}{facts(field)}")]
        inner = section_of(field)
        if inner and not is_list(field):
            mark = "" if any(below.is_required() for below in inner.model_fields.values()) else "#"
            lines += [f"{indent}{mark}{name}:", *sample_keys(inner, indent + "  ")]
        elif field.is_required():
            example, *others = field.examples or [None]
            lines += [f"{indent}{line}" for line in as_yaml({name: example})]
            for other in others:
                lines += [
                    f"{indent}  # Or, such as:",
                    *(f"{indent}  # {line.strip()}" for line in as_yaml({name: other})[1:]),
                ]
        else:
            lines += [f"{indent}#{line}" for line in as_yaml({name: default_of(field)})]
        if not indent:
            lines.append("")
    return lines


def reference() -> str:
    """Return the tables of docs/configuration.md, in Markdown: one for each section."""
    return "\n".join(reference_section(Settings, ""))


def reference_section(model: type[BaseModel], prefix: str) -> list[str]:
    """Return the table of one section, and those of the sections in it."""
    lines = ["| key | what it is | default |", "|---|---|---|"]
    inner_lines: list[str] = []
    for name, field in model.model_fields.items():
        inner = section_of(field)
        default = "required" if field.is_required() else code(default_of(field))
        if inner:
            path = f"{prefix}{name}[]" if is_list(field) else f"{prefix}{name}"
            default = "required" if field.is_required() else "see below"
            inner_lines += ["", f"## {path}", "", inspect.cleandoc(inner.__doc__ or "").replace("``", "`"), ""]
            inner_lines += reference_section(inner, f"{path}.")
        example = f" Example: {code(field.examples[0])}." if field.examples else ""
        lines.append(f"| `{prefix}{name}` | {field.description}{facts(field)}{example} | {default} |")
    return lines + inner_lines


def in_force(loaded: Loaded) -> list[dict[str, object]]:
    """Return each key that has a value: ``key``, ``value``, and ``origin`` (``FILE:LINE`` or ``default``)."""
    return [
        {"key": dotted(keys), "value": value, "origin": origin_of(keys, loaded)}
        for keys, value in leaves(loaded.settings, ())
    ]


def origin_of(keys: Keys, loaded: Loaded) -> str:
    """Return where a value was written; one of a list that may be written without brackets stands at the list's key."""
    origin = loaded.origins.get(keys)
    if origin is None and isinstance(keys[-1], int):
        origin = loaded.origins.get(keys[:-1])
    return str(origin or "default")


def leaves(value: object, keys: Keys) -> Iterator[tuple[Keys, bool | float | str]]:
    """Yield (keys, plain value) for whatever is set at ``keys`` and below."""
    if isinstance(value, BaseModel):
        for name, inner in value:
            yield from leaves(inner, (*keys, name))
    elif isinstance(value, tuple):
        for place, inner in enumerate(value):
            yield from leaves(inner, (*keys, place))
    elif value is not None:
        yield keys, value if isinstance(value, bool | int | float) else str(value)


def facts(field: FieldInfo) -> str:
    """Return what the declaration knows of a key beside its description: unit, choices."""
    extra = field.json_schema_extra
    unit = f" In {extra['unit']}." if isinstance(extra, dict) else ""
    choices = f" One of {', '.join(get_args(field.annotation))}." if get_origin(field.annotation) is Literal else ""
    return unit + choices


def is_list(field: FieldInfo) -> bool:
    """Return whether a key holds several of what ``section_of`` says."""
    return get_origin(field.annotation) is tuple


def default_of(field: FieldInfo) -> Any:  # noqa: ANN401  any plain value
    """Return the default of a key as a plain value."""
    value = field.default
    if value is PydanticUndefined:
        return None
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def code(value: object) -> str:
    """Return a plain value as YAML in a Markdown cell."""
    if value is None:
        return "—"
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


def prose(text: str) -> list[str]:
    """Return text as comment lines."""
    return textwrap.wrap(text, PROSE_WIDTH, initial_indent="# ", subsequent_indent="# ")


def as_yaml(value: dict[str, Any]) -> list[str]:
    """Return one key and its value as YAML: plain lists on one line, rules one a line."""
    ((key, content),) = value.items()
    if isinstance(content, list | tuple) and content and isinstance(content[0], dict):
        return [f"{key}:", *(f"  - {code(item)[1:-1]}" for item in content)]
    return [f"{key}: {code(content)[1:-1]}"]
