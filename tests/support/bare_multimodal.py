"""A greedy answer to a prompt with pictures from llama.cpp's own loop, with nothing of ours around it."""

import ctypes
import io
from base64 import b64decode
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp import mtmd_cpp as mtmd
from PIL import Image

from backends.llamacpp.vocabulary import Vocabulary


def bare_answer(model_path: Path, text: str, pictures: list[str], size: tuple[int, int], count: int = 16) -> str:
    """The greedy answer to `text`, where "<__media__>" stands for each of the pictures, scaled to `size`."""
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(model_path).encode(), llama_cpp.llama_model_default_params())
    context = llama_cpp.llama_init_from_model(model, llama_cpp.llama_context_default_params())
    projector = str(model_path.with_name(f"mmproj-{model_path.name}")).encode()
    parameters = mtmd.mtmd_context_params_default()
    parameters.use_gpu = False
    library = mtmd.mtmd_init_from_file(projector, model, parameters)
    position = _read(library, context, text, [_bitmap(picture, size) for picture in pictures])
    answer = _continue(model, context, position, count)
    mtmd.mtmd_free(library)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return answer


def _bitmap(url: str, size: tuple[int, int]) -> Any:
    image = Image.open(io.BytesIO(b64decode(url.partition(",")[2]))).convert("RGB")
    pixels = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0).tobytes()
    return mtmd.mtmd_bitmap_init(*size, (ctypes.c_uint8 * len(pixels)).from_buffer_copy(pixels))


def _read(library: Any, context: Any, text: str, bitmaps: list[Any]) -> Any:
    """Decode the prompt with the library's own helper; return the next position."""
    chunks = mtmd.mtmd_input_chunks_init()
    data = text.encode()
    wanted = mtmd.mtmd_input_text(data, len(data), True, True)
    array = (mtmd.mtmd_bitmap_p_ctypes * len(bitmaps))(*bitmaps)
    assert mtmd.mtmd_tokenize(library, chunks, ctypes.byref(wanted), array, len(bitmaps)) == 0
    position = llama_cpp.llama_pos()
    read = mtmd.mtmd_helper_eval_chunks(library, context, chunks, 0, 0, 512, True, ctypes.byref(position))
    assert read == 0
    mtmd.mtmd_input_chunks_free(chunks)
    return position


def _continue(model: Any, context: Any, position: Any, count: int) -> str:
    vocabulary, sampler, out = Vocabulary(model), llama_cpp.llama_sampler_init_greedy(), b""
    for step in range(count):
        token = (llama_cpp.llama_token * 1)(llama_cpp.llama_sampler_sample(sampler, context, -1))
        out += vocabulary.pieces[token[0]] or b""
        place = (llama_cpp.llama_pos * 1)(position.value + step)
        assert llama_cpp.llama_decode(context, llama_cpp.llama_batch(n_tokens=1, token=token, pos=place)) == 0
    llama_cpp.llama_sampler_free(sampler)
    return out.decode()
