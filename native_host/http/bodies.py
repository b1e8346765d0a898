"""What a request carries: a JSON object, or a form with a picture, as the fields of a wire message.

Above it: the routers. Below it: `messages.frames`, whose parser reads the JSON: what it refuses is refused here too.
"""

from email.message import Message

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from messages.data_urls import MAX_PICTURES, as_picture_url
from messages.errors import ErrorCode
from messages.frames import FrameError, JsonObject, parse_object
from messages.settings import SettingsPatch
from native_host.http.errors import HttpError
from native_host.http.settings import HttpSettings

SETTINGS = frozenset(SettingsPatch.model_fields) - {"thinking_update_interval"}
"""Settings that may also stand beside `settings`, where OpenAI's API has them."""

_ENVELOPE = ("action", "background", "id")
"""Fields of a wire message that the path says over HTTP."""

_MOST_PARTS = 1000
"""Parts of a form that are read at all; which ones may be there is looked at then, so that an error can name it."""

_FORM_FIELDS = frozenset(
    {"prompt", "system", "model", "settings", "thinking_update_interval", "chat_template_kwargs", "image"}
)

_JSON_FIELDS = ("settings", "thinking_update_interval", "chat_template_kwargs")


async def json_body(request: Request) -> JsonObject:
    """The JSON object that a request carries; an empty body is one without fields.

    HttpError if it has a field of a wire message that means nothing here.
    """
    body = b"".join([piece async for piece in request.stream()])
    fields = _object(body) if body else {}
    for name in _ENVELOPE:
        if name in fields:
            raise invalid_field(name, "is not a known field")
    return fields


async def generate_fields(request: Request) -> JsonObject:
    """The fields of a `generate`, of JSON or of a form."""
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        form = await _read_form(request)
        try:
            return await _fields_of_form(form)
        finally:
            await form.close()
    return gather_settings(await json_body(request))


def gather_settings(body: JsonObject) -> JsonObject:
    """A body whose settings stand side by side with the rest, as a wire message has them: under `settings`.

    HttpError if one is given in both places.
    """
    beside = {name: value for name, value in body.items() if name in SETTINGS}
    if isinstance(beside.get("stop"), str):
        beside["stop"] = [beside["stop"]]
    inside = body.get("settings", {})
    if not isinstance(inside, dict) or not beside:
        return body
    if twice := sorted(beside.keys() & inside.keys()):
        raise invalid_field(f"settings.{twice[0]}", f"is given twice, also as {twice[0]}; give it once")
    rest = {name: value for name, value in body.items() if name not in SETTINGS}
    return {**rest, "settings": {**inside, **beside}}


def _settings(request: Request) -> HttpSettings:
    settings: HttpSettings = request.app.state.settings
    return settings


class _FormParser(MultiPartParser):
    """Reads a form; starlette's own takes a text that is not in the form's charset for Latin-1, and none is refused."""

    def on_part_end(self) -> None:
        """Called once a part has come. HttpError for a text that cannot be read."""
        part = self._current_part
        if part.file is None:
            try:
                part.data.decode(self._charset)
            except (UnicodeError, LookupError):
                raise invalid_field(part.field_name[:100], f"is no {self._charset} text") from None
        super().on_part_end()


async def _read_form(request: Request) -> FormData:
    """The form that a request carries. HttpError if it cannot be read."""
    _require_charset(request.headers["content-type"])
    most = _settings(request).config.max_body_bytes
    counts = {"max_files": _MOST_PARTS, "max_fields": _MOST_PARTS}
    try:
        return await _FormParser(request.headers, request.stream(), **counts, max_part_size=most).parse()
    except MultiPartException as error:
        raise _unreadable(error.message.rstrip(".")) from None
    except UnicodeError:  # of a field's name, which starlette reads
        raise _unreadable("A name in it is not in its charset") from None


def _require_charset(content_type: str) -> None:
    """HttpError if a form names a charset that there is not: starlette takes its texts for Latin-1."""
    head = Message()
    head["Content-Type"] = content_type
    charset = head.get_content_charset("utf-8")
    try:
        b"a".decode(charset)
    except UnicodeDecodeError:  # one letter may be none in it
        return
    except (LookupError, UnicodeError):
        raise _unreadable(f"Its charset, {charset[:100]}, is not known; send UTF-8") from None


def _unreadable(reason: str) -> HttpError:
    return HttpError(ErrorCode.INVALID_REQUEST, f"The form cannot be read: {reason}.")


def _object(body: bytes) -> JsonObject:
    read = parse_object(body)
    if isinstance(read, FrameError):
        raise HttpError(ErrorCode.INVALID_JSON, read.message)
    return read


async def _fields_of_form(form: FormData) -> JsonObject:
    """A form's text, pictures and settings as one chat message."""
    if unknown := sorted(set(form.keys()) - _FORM_FIELDS):
        raise invalid_field(unknown[0][:100], "is not a known field of the form")
    if twice := sorted(name for name in form if name != "image" and len(form.getlist(name)) > 1):
        raise invalid_field(twice[0], "is given twice; give it once")
    texts = {name: value for name, value in form.items() if isinstance(value, str)}
    if "prompt" not in texts:
        raise invalid_field("prompt", "is required")
    pictures = len(form.getlist("image"))
    if pictures > MAX_PICTURES:
        raise invalid_field("image", f"{pictures} pictures are sent, and a request may have {MAX_PICTURES}")
    parts: list[JsonObject] = [{"type": "text", "text": texts["prompt"]}]
    for picture in form.getlist("image"):
        if not isinstance(picture, UploadFile):
            raise invalid_field("image", "must be a file")
        parts.append({"type": "image", "data": await _data_url(picture)})
    system = [{"role": "system", "content": texts["system"]}] if "system" in texts else []
    fields: JsonObject = {"messages": [*system, {"role": "user", "content": parts}]}
    for name in _JSON_FIELDS:
        if name in texts:
            fields[name] = _json_of(name, texts[name])
    return {**fields, **({"model": texts["model"]} if "model" in texts else {})}


def _json_of(name: str, text: str) -> object:
    """What a field of a form says in JSON."""
    read = parse_object(f'{{"value": {text}}}'.encode())
    if isinstance(read, FrameError) or set(read) != {"value"}:
        raise invalid_field(name, "must be JSON")
    return read["value"]


async def _data_url(picture: UploadFile) -> str:
    url = as_picture_url(await picture.read())
    if url is None:
        raise invalid_field("image", "is no PNG, JPEG, GIF, WebP, BMP or AVIF picture")
    return url


def invalid_field(field: str, problem: str) -> HttpError:
    """A field that is wrong in a way of HTTP's own; all others are the dispatcher's to name."""
    text = f"{field}: {problem}"
    return HttpError(ErrorCode.INVALID_REQUEST, f"The request is not valid: {text}.", {"fields": [text]})
