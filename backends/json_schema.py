"""Which keywords of a JSON schema hold schemas, and which hold data that may look like one.

Above it: the engines' readers of schemas. Source: JSON Schema 2020-12, and `definitions` of its drafts.
"""

NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions"})
"""Keywords whose values hold schemas by names, which are no keywords."""

DATA = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose values are no schemas, whatever they look like."""
