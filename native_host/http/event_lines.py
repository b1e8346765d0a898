"""What keeps the data of a server-sent event on one line for every client.

Above it: `native_host.http.streams` and `native_host.http.openai_answers`.
"""

_LINE_ENDS = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}
"""Characters that Python clients take for the end of a line, though the HTML standard does not."""


def json_line(json_text: str) -> str:
    """JSON text without the line ends that it may have in its strings: there they are escaped."""
    return json_text if json_text.isascii() else json_text.translate(_LINE_ENDS)
