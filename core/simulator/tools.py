"""The rules on tools, on their schemas and on cache marks."""

import re
from collections.abc import Iterator
from typing import Any

from core.simulator.body import Turn, check_fields, nested, refuse, system_blocks
from core.simulator.exchange import Json

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")

# Where JSON Schema keeps further schemas. Anything else, `enum` or `default` say, is data.
_NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SCHEMAS = (
    "items",
    "additionalItems",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contains",
    "propertyNames",
    "contentSchema",
    "not",
    "if",
    "then",
    "else",
    "allOf",
    "anyOf",
    "oneOf",
    "prefixItems",
)


def custom_tools(body: Json) -> Iterator[tuple[str, Json]]:
    """The client's own tools and where they stand; those that run at the provider are left out."""
    tools = body.get("tools", [])
    if not isinstance(tools, list) or not all(isinstance(it, dict) for it in tools):
        refuse("tools: Input should be a valid list of objects")
    for index, tool in enumerate(tools):
        if tool.get("type", "custom") == "custom":
            yield f"tools.{index}.custom", tool


def check_tools(body: Json, allowed: frozenset[str]) -> None:
    for where, tool in custom_tools(body):
        check_fields(tool, allowed, f"{where}.")
        if not _NAME.fullmatch(str(tool.get("name", ""))):
            refuse(f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        schema = tool.get("input_schema")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            refuse(f"{where}.input_schema.type: Field required")


def check_no_dialect(body: Json) -> None:
    """No schema names its dialect. A property may be called `$schema` all the same."""
    for where, tool in custom_tools(body):
        for path, schema in _schemas(f"{where}.input_schema", tool.get("input_schema")):
            if "$schema" in schema:
                refuse(f"{path}.$schema: Extra inputs are not permitted")


def _schemas(where: str, value: Any) -> Iterator[tuple[str, Json]]:
    """The schema and those inside it."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _schemas(f"{where}.{index}", item)
    if not isinstance(value, dict):
        return
    yield where, value
    for keyword in _SCHEMAS:
        yield from _schemas(f"{where}.{keyword}", value.get(keyword))
    for keyword in _NAMED_SCHEMAS:
        named = value.get(keyword)
        for name, schema in named.items() if isinstance(named, dict) else ():
            yield from _schemas(f"{where}.{keyword}.{name}", schema)


def check_no_scope(body: Json, conversation: list[Turn]) -> None:
    """No cache mark has a scope: on the request, the system prompt, a tool or a content block."""
    for where, value in _markable(body, conversation):
        mark = value.get("cache_control")
        if isinstance(mark, dict) and "scope" in mark:
            refuse(f"{where}cache_control.{mark.get('type')}.scope: Extra inputs are not permitted")


def _markable(body: Json, conversation: list[Turn]) -> Iterator[tuple[str, Json]]:
    yield "", body
    for block in system_blocks(body):
        yield f"{block.where}.", block.value
    for index, tool in enumerate(body.get("tools", [])):
        yield f"tools.{index}.", tool
    for turn in conversation:
        for block in nested(turn.blocks):
            yield f"{block.where}.", block.value


def check_history_has_tools(body: Json, conversation: list[Turn]) -> None:
    used = any(it.of_type("tool_use") or it.of_type("tool_result") for it in conversation)
    if used and not body.get("tools"):
        refuse("Requests which include `tool_use` or `tool_result` blocks must define tools")
