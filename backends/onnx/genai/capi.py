"""The C API of onnxruntime-genai, through ctypes: the functions that we call, and their errors as exceptions.

Why not the engine's own Python module: it holds Python's lock during every call (seen in 0.18.0), so that while a model
is loaded or a long prompt is read nothing else in the process runs, no cancel is seen and none can be sent. ctypes lets
go of the lock. Prototypes are those of `src/ort_genai_c.h` of onnxruntime-genai 0.16 to 0.18.

Above it: `backends.onnx.genai.engine`. Nothing here knows of prompts or settings.
"""

import ctypes
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backends.onnx.interface import EngineError
from backends.onnx.wording import plain

Handle = ctypes.c_void_p

_OUT = ctypes.POINTER(Handle)
_STRING_OUT = ctypes.POINTER(ctypes.c_char_p)

_CHECKED: dict[str, tuple[Any, ...]] = {
    "OgaCreateConfig": (ctypes.c_char_p, _OUT),
    "OgaConfigClearProviders": (Handle,),
    "OgaConfigAppendProvider": (Handle, ctypes.c_char_p),
    "OgaConfigOverlay": (Handle, ctypes.c_char_p),
    "OgaCreateModelFromConfig": (Handle, _OUT),
    "OgaModelGetDeviceType": (Handle, _STRING_OUT),
    "OgaCreateTokenizer": (Handle, _OUT),
    "OgaCreateSequences": (_OUT,),
    "OgaTokenizerEncode": (Handle, ctypes.c_char_p, Handle),
    "OgaCreateGeneratorParams": (Handle, _OUT),
    "OgaGeneratorParamsSetSearchNumber": (Handle, ctypes.c_char_p, ctypes.c_double),
    "OgaGeneratorParamsSetSearchBool": (Handle, ctypes.c_char_p, ctypes.c_bool),
    "OgaCreateGenerator": (Handle, Handle, _OUT),
    "OgaGenerator_AppendTokens": (Handle, Handle, ctypes.c_size_t),
    "OgaGenerator_GetLogits": (Handle, _OUT),
    "OgaTensorGetData": (Handle, _OUT),
    "OgaGenerator_RewindTo": (Handle, ctypes.c_size_t),
    "OgaGenerator_SetRuntimeOption": (Handle, ctypes.c_char_p, ctypes.c_char_p),
    "OgaCreateAdapters": (Handle, _OUT),
    "OgaLoadAdapter": (Handle, ctypes.c_char_p, ctypes.c_char_p),
    "OgaSetActiveAdapter": (Handle, Handle, ctypes.c_char_p),
}
"""Functions that return an error object or null."""

_DESTROYERS = (
    "OgaDestroyConfig",
    "OgaDestroyModel",
    "OgaDestroyTokenizer",
    "OgaDestroySequences",
    "OgaDestroyGeneratorParams",
    "OgaDestroyGenerator",
    "OgaDestroyTensor",
    "OgaDestroyAdapters",
)

_LIBRARY_NAMES = {"win32": "onnxruntime-genai.dll", "darwin": "libonnxruntime-genai.dylib"}


class GenaiLibrary:
    """The loaded library. Functions are called by name; every one of them lets go of Python's lock.

    Raises ImportError or OSError where the engine does not start.
    """

    def __init__(self) -> None:
        package = importlib.import_module("onnxruntime_genai")
        self.version = str(package.__version__)
        folder = Path(str(package.__file__)).parent
        library = ctypes.CDLL(str(folder / _LIBRARY_NAMES.get(sys.platform, "libonnxruntime-genai.so")))
        self._result_error = _prototype(library, "OgaResultGetError", ctypes.c_char_p, (Handle,))
        self._destroy_result = _prototype(library, "OgaDestroyResult", None, (Handle,))
        self._checked = {name: _prototype(library, name, Handle, types) for name, types in _CHECKED.items()}
        self._destroyers = {name: _prototype(library, name, None, (Handle,)) for name in _DESTROYERS}
        self.sequence_length = _prototype(
            library, "OgaSequencesGetSequenceCount", ctypes.c_size_t, (Handle, ctypes.c_size_t)
        )
        self.sequence_data = _prototype(
            library, "OgaSequencesGetSequenceData", ctypes.POINTER(ctypes.c_int32), (Handle, ctypes.c_size_t)
        )
        self._register = _prototype(
            library, "OgaRegisterExecutionProviderLibrary", None, (ctypes.c_char_p, ctypes.c_char_p)
        )
        self._plugins: set[str] = set()
        _prototype(library, "OgaSetTelemetryEnabled", None, (ctypes.c_bool,))(False)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function; EngineError if it fails."""
        result = self._checked[name](*arguments)
        if result:
            message = self._result_error(result).decode("utf-8", "replace")
            self._destroy_result(result)
            raise EngineError(plain(message))

    def create(self, name: str, *arguments: Any) -> Handle:
        """Call a function whose last parameter receives a new object, and return that object."""
        handle = Handle()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    def register(self, name: str, plugin: Path) -> None:
        """Register a plug-in provider's library, once.

        Only one that ONNX Runtime took before: the function has no way to say that it failed, and ends the process.
        """
        if name not in self._plugins:
            self._plugins.add(name)
            self._register(name.encode(), str(plugin).encode())

    def destroy(self, name: str, handle: Handle) -> None:
        """Free an object with the destroyer of its kind."""
        self._destroyers[name](handle)


def _prototype(library: ctypes.CDLL, name: str, result: Any, arguments: tuple[Any, ...]) -> Callable[..., Any]:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    prototyped: Callable[..., Any] = function
    return prototyped
