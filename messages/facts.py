"""What the host tells of models, backends and generations: the closed sets and records that replies are made of."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class BackendType(StrEnum):
    """An engine on a kind of device."""

    LLAMA_CPP_CPU = "LLAMA_CPP_CPU"
    LLAMA_CPP_CUDA = "LLAMA_CPP_CUDA"
    LLAMA_CPP_VULKAN = "LLAMA_CPP_VULKAN"
    LLAMA_CPP_ROCM = "LLAMA_CPP_ROCM"
    LLAMA_CPP_METAL = "LLAMA_CPP_METAL"
    BITNET_CPU = "BITNET_CPU"
    BITNET_GPU = "BITNET_GPU"
    ONNX_CPU = "ONNX_CPU"
    ONNX_CUDA = "ONNX_CUDA"
    ONNX_DIRECTML = "ONNX_DIRECTML"
    ONNX_NPU = "ONNX_NPU"
    ONNX_COREML = "ONNX_COREML"
    ONNX_OPENVINO = "ONNX_OPENVINO"
    ONNX_ROCM = "ONNX_ROCM"
    ONNX_WEBGPU = "ONNX_WEBGPU"
    ONNX_PLUGIN = "ONNX_PLUGIN"
    MEDIAPIPE_CPU = "MEDIAPIPE_CPU"
    MEDIAPIPE_GPU = "MEDIAPIPE_GPU"
    MEDIAPIPE_NPU = "MEDIAPIPE_NPU"
    MLX_METAL = "MLX_METAL"
    MLX_CPU = "MLX_CPU"
    MLX_CUDA = "MLX_CUDA"
    REMOTE = "REMOTE"
    ECHO = "ECHO"


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CANCELLED = "cancelled"


class JobState(StrEnum):
    """Where a generation stands."""

    QUEUED = "queued"
    PREFILL = "prefill"
    DECODE = "decode"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


class LoadState(StrEnum):
    """Where a model stands."""

    LOADING = "loading"
    READY = "ready"
    BUSY = "busy"
    CRASHED = "crashed"


class Fact(BaseModel):
    """Base of the records below: closed, so that a misspelt field is a failing test and not a lost figure."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Capabilities(Fact):
    """What a loaded model can take and give."""

    text: bool = True
    image: bool = False
    audio: bool = False
    tools: bool = False
    json_schema: bool = False
    embed: bool = False
    logprobs: bool = False


class TokenScore(Fact):
    """A token and the natural logarithm of its probability, at least -9999.

    bytes are what it writes into the text (a piece of a character, maybe), and `token` is how they read; a special
    token writes nothing: its bytes are null, and `token` is its name.
    """

    token: str
    logprob: float
    bytes: tuple[int, ...] | None


class TokenLogprob(TokenScore):
    """An output token, and the likeliest tokens of its place, likeliest first."""

    top: tuple[TokenScore, ...] = ()


class PictureFigures(Fact):
    """A picture's size in pixels, upright: as it was sent, and scaled to what the model takes."""

    width: int
    height: int
    scaled_width: int
    scaled_height: int


class Figures(Fact):
    """The figures of one generation; what is not known is null.

    time_to_first_token and total_time are ms from the request's arrival at the daemon, tokens_per_second is output
    tokens over the time from the first to the last of them, tokens are the engine's own. pictures are those of the
    request, in their order; reasoning_tokens are those of the output tokens that the model spent on its reasoning.
    """

    time_to_first_token: float | None = None
    tokens_per_second: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_time: float | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    finish_reason: str | None = None
    pictures: tuple[PictureFigures, ...] | None = None


class Percentiles(Fact):
    """p50, p95 and p99 of one figure."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Aggregate(Fact):
    """Counts, sums and percentiles over many generations."""

    count: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    total_time: float = 0.0
    time_to_first_token: Percentiles = Percentiles()
    tokens_per_second: Percentiles = Percentiles()


class Performance(Fact):
    """A model's figures: of the running or last generation, and over all since it was loaded."""

    current: Figures = Figures()
    aggregate: Aggregate = Aggregate()


class LoadProgress(Fact):
    """How far a load is: phase is a word, progress 0..1 or null, message one sentence, sizes are bytes."""

    phase: str
    progress: float | None
    message: str
    loaded_bytes: int | None = None
    total_bytes: int | None = None


class ModelState(Fact):
    """A loaded (or loading, or crashed) model. Times are seconds since the epoch, sizes bytes.

    loading is how far it is while its state is `loading`, null before the first sign of it and after.

    dtype is the weights file that was chosen, where a model has several; notes are sentences about what was chosen
    otherwise than asked for or than could be expected (a device that could not be used, say).
    """

    model: str
    model_path: str
    backend: str
    backend_type: BackendType | None
    state: LoadState
    loading: LoadProgress | None = None
    context_length: int | None = None
    size_bytes: int | None = None
    resident_bytes: int | None = None
    pid: int | None = None
    capabilities: Capabilities = Capabilities()
    device: str | None = None
    dtype: str | None = None
    notes: tuple[str, ...] = ()
    loaded_at: float | None = None
    expires_at: float | None = None
    performance: Performance = Performance()
