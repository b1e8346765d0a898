"""llama.cpp's multimodal library: pictures and sounds into pieces of a prompt, and those into embeddings.

Above it: `media` and `decoder`. Source: `tools/mtmd/mtmd.h` and
`mtmd-helper.cpp` of llama.cpp, whose decoding of a picture is done here in steps that can be stopped.
"""

import ctypes
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp as mtmd
from numpy.typing import NDArray
from PIL import Image

from backends.llamacpp.abort import Aborted, AbortFlag
from backends.llamacpp.engine_log import EngineLog
from backends.llamacpp.header import invalid_model

MAX_WHOLE_TOKENS = 2048
"""Most tokens of a picture that is decoded at once, for models that look at all of it from each of its tokens."""

_MROPE_SECTIONS = 4
_PIECE_S = 0.01
"""About how often an encoder looks whether it is cancelled, in seconds; one operation can take longer."""

_MOST_NODES = 1024


class Chunk:
    """A picture's or a sound's part of a prompt: `tokens` cells of the cache, `positions` steps of its positions."""

    def __init__(self, handle: Any, owner: "Chunks") -> None:
        self._handle = handle
        self._owner = owner
        self.tokens: int = mtmd.mtmd_input_chunk_get_n_tokens(handle)
        self.positions: int = mtmd.mtmd_input_chunk_get_n_pos(handle)
        self._is_picture = mtmd.mtmd_input_chunk_get_type(handle) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE

    @property
    def handle(self) -> Any:
        """The library's own chunk, which lives as long as this one."""
        return self._handle

    def placed(self, start: int, mrope: bool) -> NDArray[np.int32]:
        """Positions from `start` on, `(1, tokens)`; `(4, tokens)`: time, y, x, 0, for models with such ones."""
        steps = np.arange(start, start + self.tokens, dtype=np.int32)
        if not mrope:
            return steps[np.newaxis]
        if not self._is_picture:
            return np.tile(steps, (_MROPE_SECTIONS, 1))
        places = (mtmd.mtmd_decoder_pos * self.tokens)()
        image = mtmd.mtmd_input_chunk_get_tokens_image(self._handle)
        mtmd.mtmd_helper_image_get_decoder_pos(image, start, places)
        table = np.frombuffer(bytes(places), np.int32).reshape(self.tokens, _MROPE_SECTIONS)
        return np.ascontiguousarray(table.T[[0, 2, 1, 3]])


class Chunks:
    """What the library made of one picture or sound; freed when nothing refers to its pieces any more."""

    def __init__(self) -> None:
        self.handle = mtmd.mtmd_input_chunks_init()
        weakref.finalize(self, mtmd.mtmd_input_chunks_free, self.handle)

    def pieces(self) -> tuple[Chunk | tuple[int, ...], ...]:
        """Its parts in order: tokens of text, and what is to be encoded."""
        return tuple(map(self._piece, range(mtmd.mtmd_input_chunks_size(self.handle))))

    def _piece(self, place: int) -> Chunk | tuple[int, ...]:
        chunk = mtmd.mtmd_input_chunks_get(self.handle, place)
        if mtmd.mtmd_input_chunk_get_type(chunk) != mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
            return Chunk(chunk, self)
        count = ctypes.c_size_t()
        tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
        return tuple(tokens[: count.value])


class Multimodal:
    """A loaded projector. vision and audio say what it takes; mrope, that positions of pictures have four values.

    whole says that a picture has to be decoded at once, without the causal mask.
    """

    def __init__(self, path: Path, model: Any, threads: int, gpu: int | None, log: EngineLog) -> None:
        """Load the projector at `path` for a loaded model, on a GPU by its handle in ggml or on the CPU.

        Raises HostError `model_invalid` if the engine refuses it.
        """
        self._watch = _Watch()
        self._thread = ThreadPoolExecutor(1, "encoder")
        parameters = mtmd.mtmd_context_params_default()
        parameters.use_gpu, parameters.device = gpu is not None, gpu
        parameters.print_timings = parameters.warmup = False
        parameters.n_threads = threads
        parameters.cb_eval = self._watch.callback
        log.errors.clear()
        self._context: Any = mtmd.mtmd_init_from_file(os.fsencode(path), model, parameters)
        if not self._context:
            raise invalid_model(path, f"cannot be loaded by llama.cpp: {log.first_cause or 'it gives no reason'}")
        self._width: int = llama_cpp.llama_model_n_embd_inp(model)
        self.vision: bool = mtmd.mtmd_support_vision(self._context)
        self.audio: bool = mtmd.mtmd_support_audio(self._context)
        self.mrope: bool = mtmd.mtmd_decode_use_mrope(self._context)
        self.whole: bool = self.vision and mtmd.mtmd_decode_use_non_causal(self._context, None)

    def split_picture(self, pixels: Image.Image) -> Chunks | None:
        """A picture in RGB as pieces of a prompt; None if the projector cannot take it."""
        data = (ctypes.c_uint8 * (3 * pixels.width * pixels.height)).from_buffer_copy(pixels.tobytes())
        return self._split(mtmd.mtmd_bitmap_init(pixels.width, pixels.height, data))

    def split_sound(self, data: bytes, max_seconds: float) -> Chunks | None:
        """A sound file (WAV, MP3, FLAC) as pieces of a prompt; None if it cannot be decoded, or is too long."""
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        bitmap = mtmd.mtmd_helper_bitmap_init_from_buf(self._context, buffer, len(data), False)
        if not bitmap:
            return None
        if mtmd.mtmd_bitmap_get_nx(bitmap) > max_seconds * mtmd.mtmd_get_audio_sample_rate(self._context):
            mtmd.mtmd_bitmap_free(bitmap)
            return None
        return self._split(bitmap)

    def encode(self, chunk: Chunk, flag: AbortFlag) -> NDArray[np.float32]:
        """The embeddings of a chunk, `(tokens, width)`. Raises `Aborted` as soon as `flag` is raised.

        The encoder looks at the flag only between its operations, of which one can take half a second. So it runs in a
        thread of its own, which is left to come to its end; the next picture waits for it.
        """
        woken = threading.Event()
        encoding = self._thread.submit(self._encode, chunk, flag)
        encoding.add_done_callback(lambda _: woken.set())
        flag.when_raised(woken.set)
        woken.wait()
        if flag.raised:
            raise Aborted
        return encoding.result()

    def decodes_at_once(self, chunk: Chunk) -> bool:
        """True if all of a chunk has to be decoded in one step, without the causal mask."""
        return bool(mtmd.mtmd_decode_use_non_causal(self._context, chunk.handle))

    def close(self) -> None:
        """Free the projector, once its encoder has come to its end."""
        self._thread.shutdown()
        mtmd.mtmd_free(self._context)

    def _encode(self, chunk: Chunk, flag: AbortFlag) -> NDArray[np.float32]:
        if flag.raised:
            raise Aborted
        self._watch.begin(flag)
        failed = mtmd.mtmd_encode_chunk(self._context, chunk.handle)
        if failed:
            raise RuntimeError(f"mtmd_encode_chunk failed with {failed}")
        embeddings = mtmd.mtmd_get_output_embd(self._context)
        return np.ctypeslib.as_array(embeddings, (chunk.tokens, self._width)).copy()

    def _split(self, bitmap: Any) -> Chunks | None:
        chunks = Chunks()
        part = mtmd.mtmd_input_part(None, bitmap)
        parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
        try:
            failed = mtmd.mtmd_tokenize_from_parts(self._context, chunks.handle, parts, 1, False)
        finally:
            mtmd.mtmd_bitmap_free(bitmap)
        return None if failed else chunks


class _Watch:
    """Cuts an encoder's graph into pieces of some milliseconds, and lets it end between two of them.

    The engine asks at each node whether to stop behind it, and there whether to go on (ggml-backend.h,
    `ggml_backend_sched_eval_callback`).
    """

    def __init__(self) -> None:
        self.callback = llama_cpp.ggml_backend_sched_eval_callback(self._at_node)
        self._flag: AbortFlag | None = None
        self._limit = 1
        self._nodes = 0
        self._started = 0.0

    def begin(self, flag: AbortFlag) -> None:
        """Watch `flag` from now on."""
        self._flag, self._nodes, self._started = flag, 0, time.perf_counter()

    def _at_node(self, _: Any, asked: bool, __: Any) -> bool:
        raised = self._flag is not None and self._flag.raised
        if asked:
            self._nodes += 1
            return raised or self._nodes >= self._limit
        now = time.perf_counter()
        slow = now - self._started > _PIECE_S
        self._limit = max(1, self._nodes // 2) if slow else min(_MOST_NODES, 2 * self._limit)
        self._nodes, self._started = 0, now
        return not raised
