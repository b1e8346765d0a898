"""llama.cpp's multimodal library: pictures and sounds into pieces of a prompt, and those into embeddings.

Above it: `media` and `decoder`. Source: `tools/mtmd/mtmd.h` and
`mtmd-helper.cpp` of llama.cpp, whose decoding of a picture is done here in steps that can be stopped.
"""

import ctypes
import os
import threading
import weakref
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp as mtmd
from numpy.typing import NDArray
from PIL import Image

from backends.llamacpp.abort import Aborted, AbortFlag
from backends.llamacpp.encoder_watch import EncoderWatch
from backends.llamacpp.engine_log import EngineLog
from backends.llamacpp.header import invalid_model
from backends.llamacpp.projector import Projector

MAX_WHOLE_TOKENS = 2048
"""Most tokens of a picture that is decoded at once, for models that look at all of it from each of its tokens."""

_MROPE_SECTIONS = 4
_REPORT_S = 0.1
"""How often an encoder's progress is told, in seconds."""

_ENCODING_SHARE = 0.8
"""What part of a picture's reading its encoding counts as. It was 0.95 for 20 million parameters; large language models
take more of the time for themselves."""


class Chunk:
    """A picture's or a sound's part of a prompt: `tokens` cells of the cache, `positions` steps of its positions."""

    def __init__(self, handle: Any, owner: "Chunks") -> None:
        self._handle = handle
        self._owner = owner
        self.tokens: int = mtmd.mtmd_input_chunk_get_n_tokens(handle)
        self.positions: int = mtmd.mtmd_input_chunk_get_n_pos(handle)
        self.is_picture = mtmd.mtmd_input_chunk_get_type(handle) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE

    @property
    def handle(self) -> Any:
        """The library's own chunk, which lives as long as this one."""
        return self._handle

    @property
    def encoding_tokens(self) -> int:
        """How many of its tokens count as read when it is encoded, and none is decoded yet."""
        return int(_ENCODING_SHARE * self.tokens)

    def placed(self, start: int, mrope: bool) -> NDArray[np.int32]:
        """Positions from `start` on, `(1, tokens)`; `(4, tokens)`: time, y, x, 0, for models with such ones."""
        steps = np.arange(start, start + self.tokens, dtype=np.int32)
        if not mrope:
            return steps[np.newaxis]
        if not self.is_picture:
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

    def __init__(self, projector: Projector, model: Any, threads: int, gpu: int | None, log: EngineLog) -> None:
        """Load a projector for a loaded model, on a GPU by its handle in ggml or on the CPU.

        Raises HostError `model_invalid` if the engine refuses it.
        """
        self._watch = EncoderWatch(projector.layers)
        self._thread = ThreadPoolExecutor(1, "encoder")
        parameters = mtmd.mtmd_context_params_default()
        parameters.use_gpu, parameters.device = gpu is not None, gpu
        parameters.print_timings = parameters.warmup = False
        parameters.n_threads = threads
        parameters.cb_eval = self._watch.callback
        log.errors.clear()
        self._context: Any = mtmd.mtmd_init_from_file(os.fsencode(projector.path), model, parameters)
        if not self._context:
            reason = log.first_cause or "it gives no reason"
            raise invalid_model(projector.path, f"cannot be loaded by llama.cpp: {reason}")
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

    def encode(self, chunk: Chunk, flag: AbortFlag) -> Generator[int, None, NDArray[np.float32]]:
        """Return the embeddings of a chunk, `(tokens, width)`; yield how far it is, up to `chunk.encoding_tokens`.

        Raises `Aborted` as soon as `flag` is raised. The encoder can be ended only between its operations, of which one
        can take half a second. So it runs in a thread of its own, which the next picture waits for.
        """
        woken, left = threading.Event(), threading.Event()
        encoding = self._thread.submit(self._encode, chunk, left)
        encoding.add_done_callback(lambda _: woken.set())
        flag.when_raised(woken.set)
        try:
            while not woken.wait(_REPORT_S):
                yield int(self._watch.share(chunk.is_picture) * chunk.encoding_tokens)
        finally:
            left.set()
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

    def _encode(self, chunk: Chunk, left: threading.Event) -> NDArray[np.float32]:
        if left.is_set():
            raise Aborted
        self._watch.begin(left)
        failed = mtmd.mtmd_encode_chunk(self._context, chunk.handle)
        if failed:
            raise RuntimeError(f"mtmd_encode_chunk failed with {failed}")
        if not left.is_set():
            self._watch.end(chunk.is_picture)
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
