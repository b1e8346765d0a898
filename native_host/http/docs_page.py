"""/docs: the OpenAPI document as a page to read, made here: the usual page loads its scripts from another computer.

Above it: `native_host.http.app`. Below it: the document, which `/openapi.json` gives to programs.
"""

import json
import re
from collections.abc import Iterator
from html import escape

from messages.frames import JsonObject

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
section { border-top: 1px solid color-mix(in srgb, currentColor 25%, transparent); padding: .75rem 0; }
h2 { font: 600 1rem/1.5 ui-monospace, monospace; margin: 0; overflow-wrap: anywhere; }
p { margin: .25rem 0; }
pre { overflow-x: auto; font-size: .85rem; padding: .75rem; }
pre { background: color-mix(in srgb, currentColor 7%, transparent); }
summary { cursor: pointer; }
"""
_METHODS = ("get", "post", "delete")


def render(document: JsonObject) -> str:
    """The page."""
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    sections = "".join(_operations(document))
    schemas = "".join(
        f'<section id="{escape(name)}"><h2>{escape(name)}</h2>{_pre(schema)}</section>'
        for name, schema in sorted(document.get("components", {}).get("schemas", {}).items())
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main><h1>{title}</h1>"
        "<p>Every request but this page, the dashboard and health carries <code>Authorization: Bearer TOKEN</code>, "
        "as <code>tabagent-host token</code> prints it, unless the host was started with <code>--no-token</code>. "
        'Programs read <a href="/openapi.json">/openapi.json</a>.</p>'
        f"{sections}<h1>Schemas</h1>{schemas}</main></body></html>"
    )


def _operations(document: JsonObject) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield _operation(f"{method.upper()} {path}", methods[method])


def _operation(heading: str, operation: JsonObject) -> str:
    text = _prose(operation.get("description") or operation.get("summary", ""))
    parameters = "".join(
        f"<li><code>{escape(one['name'])}</code> ({escape(one['in'])}): {_kind(one.get('schema', {}))}</li>"
        for one in operation.get("parameters", ())
    )
    bodies = "".join(
        f"<p>takes {escape(kind)}: {_schema(body.get('schema', {}))}</p>"
        for kind, body in operation.get("requestBody", {}).get("content", {}).items()
    )
    answers = "".join(
        f"<p>answers {escape(str(status))}, {escape(kind)}: {_schema(answer.get('schema', {}))}</p>"
        for status, response in operation.get("responses", {}).items()
        if str(status).startswith("2")
        for kind, answer in response.get("content", {}).items()
    )
    listed = f"<ul>{parameters}</ul>" if parameters else ""
    return f"<section><h2>{escape(heading)}</h2><p>{text}</p>{listed}{bodies}{answers}</section>"


def _kind(schema: JsonObject) -> str:
    """A parameter's types, default and meaning, in words."""
    types = [str(one.get("type", "any")) for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    default = f", default {escape(json.dumps(schema['default']))}" if schema.get("default") is not None else ""
    meaning = f", {_prose(schema['description'])}" if "description" in schema else ""
    return " or ".join(types) + default + meaning


def _prose(text: str) -> str:
    """Text whose `names` are set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _schema(schema: JsonObject) -> str:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if "description" in schema and "properties" not in schema:
        return _prose(schema["description"])
    return (
        f'<a href="#{escape(name)}">{escape(name)}</a>'
        if name
        else f"<details><summary>schema</summary>{_pre(schema)}</details>"
    )


def _pre(value: JsonObject) -> str:
    return f'<pre tabindex="0">{_json(value, indent=1)}</pre>'


def _json(value: JsonObject, indent: int | None = None) -> str:
    return escape(json.dumps(value, indent=indent, ensure_ascii=False))
