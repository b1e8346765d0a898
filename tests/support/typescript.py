"""TypeScript types written from pydantic models, and the compiler that checks what uses them."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter
from support.npm import npm_folder

VERSION = "7.0.2"
TIMEOUT_S = 120
STRICT = (
    "--strict",
    "--exactOptionalPropertyTypes",
    "--noUncheckedIndexedAccess",
    "--noPropertyAccessFromIndexSignature",
)
TARGET = (
    "--target",
    "es2022",
    "--module",
    "esnext",
    "--moduleResolution",
    "bundler",
    "--lib",
    "es2022,dom",
    "--types",
    "",
)
WORDS = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}

Json = dict[str, Any]


def compile_files(*files: Path) -> list[str]:
    """What the compiler, at its strictest, finds wrong in the files and in what they import; nothing is written."""
    node = shutil.which("node")
    assert node, "Node.js is not installed; scripts/setup does it (Debian and Ubuntu: apt install nodejs npm)"
    compiler = npm_folder("typescript", VERSION) / "node_modules" / "typescript" / "bin" / "tsc"
    command = [node, str(compiler), "--noEmit", "--pretty", "false", *STRICT, *TARGET, *map(str, files)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
    found = done.stdout.splitlines()
    assert done.returncode == 0 or found, done.stderr
    return found


def declare(name: str, of: Any, mode: Literal["validation", "serialization"], without: frozenset[str]) -> str:
    """A namespace whose type `It` is what the host reads ("validation") or writes ("serialization") as ``of``.

    What the host reads may lack what has a default; what it writes has every field. ``without`` are properties that are
    left out of every object in it.
    """
    schema = TypeAdapter(of).json_schema(mode=mode)
    writer = _Writer(all_required=mode == "serialization", without=without)
    records = [f"  export type {key} = {writer.type_of(one)};" for key, one in schema.pop("$defs", {}).items()]
    return "\n".join([f"namespace {name} {{", *records, f"  export type It = {writer.type_of(schema)};", "}"])


@dataclass(frozen=True)
class _Writer:
    """Writes a JSON schema, as pydantic makes it, as a type."""

    all_required: bool
    without: frozenset[str]

    def type_of(self, schema: Json) -> str:
        if "$ref" in schema:
            return str(schema["$ref"]).rpartition("/")[2]
        if choices := schema.get("anyOf") or schema.get("oneOf"):
            return " | ".join(map(self.type_of, choices))
        if "const" in schema or "enum" in schema:
            return " | ".join(map(json.dumps, schema.get("enum", [schema.get("const")])))
        if schema["type"] == "array":
            return f"({self.type_of(schema['items'])})[]"
        return self._object(schema) if schema["type"] == "object" else WORDS[schema["type"]]

    def _object(self, schema: Json) -> str:
        inner = schema.get("additionalProperties")
        if "properties" not in schema:
            return f"Record<string, {self.type_of(inner)}>" if isinstance(inner, dict) else "object"
        kept = {name: one for name, one in schema["properties"].items() if name not in self.without}
        required = kept if self.all_required else schema.get("required", ())
        fields = (f"{name}{'' if name in required else '?'}: {self.type_of(one)}" for name, one in kept.items())
        return f"{{ {'; '.join(fields)} }}"
