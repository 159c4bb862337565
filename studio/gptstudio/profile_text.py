"""Profiles for people: every setting with its meaning and bounds, and what a file changes."""

import textwrap
from typing import Any

import tomli_w
from pydantic.fields import FieldInfo

from gptcore.memory import num_parameters
from gptcore.profile import Profile, differences
from gptcore.run_memory import estimate_stages
from gptcore.settings import Section, TuningSettings
from gptcore.text import clean
from gptstudio.text import human_bytes, human_count
from gptstudio.tuning import NOUNS

WIDTH = 88


def document(profile: Profile) -> str:
    """The profile as TOML, each setting under a comment that says what it is.

    Reading it back gives the same profile.
    """
    changed = differences(profile)
    lines = [*_comment("Settings that differ from the defaults are marked with (default: ...).")]
    _section(profile, "", changed, lines)
    return "\n".join(lines) + "\n"


def describe_changes(profile: Profile) -> list[str]:
    """What differs from the defaults, a line each."""
    return [
        f"{key} = {clean(_value(own))}  (default: {clean(_value(default))})"
        for key, (default, own) in differences(profile).items()
        if key not in ("name", "description")
    ]


def describe_size(profile: Profile) -> str:
    """Parameters, and the memory that training takes; empty where no stage says what model."""
    cpu = profile.engine.device == "cpu"
    precision = profile.engine.precision
    if precision == "auto":
        precision = "fp32" if cpu else "bf16"
    where = "in memory" if cpu else "on each GPU"
    said = [
        f"{NOUNS[stage]} takes about {human_bytes(need.total)} {where} ({precision}, micro-batch"
        f" {getattr(profile, stage).micro_batch}, context {_context(profile, stage)})"
        for stage, need in estimate_stages(profile).items()
    ]
    if not said:
        return ""
    return "; ".join([f"{human_count(num_parameters(profile.model))} parameters", *said])


def _context(profile: Profile, stage: str) -> int:
    table = getattr(profile, stage)
    own = table.context_length if isinstance(table, TuningSettings) else 0
    return own or profile.model.context_length


def _section(section: Section, prefix: str, changed: dict[str, Any], lines: list[str]) -> None:
    properties = type(section).model_json_schema()["properties"]
    tables: list[tuple[str, Section]] = []
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            tables.append((name, value))
            continue
        _setting(name, value, info, properties[name], lines)
        if note := _note(f"{prefix}{name}", value, changed):
            lines[-1] += f"  # {note}"
    for name, table in tables:
        lines += ["", f"[{prefix}{name}]"]
        lines += _comment(_sentence(type(table).__doc__ or ""))
        _section(table, f"{prefix}{name}.", changed, lines)


def _setting(
    name: str, value: Any, info: FieldInfo, schema: dict[str, Any], lines: list[str]
) -> None:
    bounds = _bounds(schema)
    lines.append("")
    lines += _comment(f"{info.description or ''}{f' [{bounds}]' if bounds else ''}")
    lines.append(f"# {name} is absent" if value is None else f"{name} = {_value(value)}")


def _note(key: str, value: Any, changed: dict[str, Any]) -> str:
    if isinstance(value, dict):  # a table of the person's own keys
        return "(default: {})" if any(name.startswith(f"{key}.") for name in changed) else ""
    if key not in changed:
        return ""
    default = changed[key][0]
    return f"(default: {'absent' if default is None else _value(default)})"


def _bounds(schema: dict[str, Any]) -> str:
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            return _bounds(choice)
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    parts = [
        f"{words} {schema[key]:g}"
        for key, words in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if key in schema
    ]
    if schema.get("minLength") or schema.get("minItems"):
        parts.append("not empty")
    if "items" in schema and (inner := _bounds(schema["items"])):
        parts.append(f"each of: {inner}")
    if isinstance(schema.get("additionalProperties"), dict):
        parts.append(_bounds(schema["additionalProperties"]))
    return ", ".join(part for part in parts if part)


def _value(value: Any) -> str:
    if value is None:
        return "absent"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{_value(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return tomli_w.dumps({"k": value}).removeprefix("k = ").strip()


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(clean(text), WIDTH)]


def _sentence(docstring: str) -> str:
    return " ".join(docstring.split())
