"""The page at `/`: static files out of `native_host/dashboard`, under a policy that lets nothing else in.

Above it: `native_host.http.app`. The page holds nothing of this user and needs no token; what it asks the API does.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

FOLDER = Path(__file__).resolve().parents[1] / "dashboard"
MEDIA_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
}
"""The kinds of files that are served; what else is in the folder is not."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def make_router() -> APIRouter:
    """A route for each file of the page, so that no request's text ever becomes part of a path on disk."""
    router = APIRouter(include_in_schema=False)
    files = sorted(path for path in FOLDER.rglob("*") if path.suffix in MEDIA_TYPES)
    for path in files:
        router.add_api_route(_url_of(path), partial(_serve, path), response_class=FileResponse)
    return router


async def _serve(path: Path) -> FileResponse:
    return FileResponse(path, headers=dict(HEADERS), media_type=MEDIA_TYPES[path.suffix])


def _url_of(path: Path) -> str:
    return "/" if path.name == "index.html" else f"/dashboard/{path.relative_to(FOLDER).as_posix()}"
