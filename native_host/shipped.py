"""The models that ship with the host: one name each, with a form for every engine that reads one.

Above it: `native_host.catalog`. Below it: `backends.registry`.
"""

from collections.abc import Mapping
from pathlib import Path

from backends import registry
from backends.registry import BackendRow
from messages.errors import ErrorCode, HostError
from native_host import runtime

DEMO = "demo"
DEMO_VISION = "demo-vision"

_FORMS: Mapping[str, tuple[tuple[str, str], ...]] = {
    DEMO: (("llamacpp", "demo-q8_0.gguf"), ("onnx", "onnx")),
    DEMO_VISION: (("llamacpp", "vision/gguf/demo-vision.gguf"), ("mlx_vlm", "vision/mlx")),
}

_TO_INSTALL: Mapping[str, str] = {DEMO: "onnx", DEMO_VISION: "llamacpp"}
"""The backend that is named where no engine is installed: the one that takes least to install."""

NAMES = tuple(_FORMS)


def resolve(name: str, wanted: BackendRow | None) -> tuple[Path, BackendRow]:
    """The form that `wanted` reads, or without it the first whose engine is installed.

    Raises HostError `engine_missing`, and `invalid_request` for a backend that reads no form of this model.
    """
    forms = _forms(name)
    if wanted is None:
        path, row = _best(name, forms)
        row.require_installed()
        return path, row
    for path, row in forms:
        if row is wanted:
            row.require_installed()
            return path, row
    known = " or ".join(["auto", *(row.name for _, row in forms)])
    raise HostError(
        ErrorCode.INVALID_REQUEST,
        f"The model {name} has no form that the {wanted.name} backend reads; use auto.",
        fields=[f"backend: must be {known}"],
    )


def form_to_list(name: str) -> tuple[Path, BackendRow]:
    """The form that `list_models` tells of: the one that would be loaded, or the one to install."""
    return _best(name, _forms(name))


def _forms(name: str) -> list[tuple[Path, BackendRow]]:
    folder = Path(runtime.source_root()) / "backends" / "demo"
    return [(folder / file, registry.row(backend)) for backend, file in _FORMS[name]]


def _best(name: str, forms: list[tuple[Path, BackendRow]]) -> tuple[Path, BackendRow]:
    to_install = next(form for form in forms if form[1].name == _TO_INSTALL[name])
    return next((form for form in forms if form[1].installed), to_install)
