"""How much is measured: the whole, or a little of everything to see that it works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Repetitions, lengths in tokens, and seconds of a round.

    launches: of the rows that are a matter of a millisecond, how often all processes are started anew. Where in memory
    its buffers happen to lie makes a process up to a tenth faster than the next, for as long as it runs.
    """

    spawns: int = 200
    launches: int = 5
    ping_rounds: int = 8
    pings: int = 50
    stream_rounds: int = 15
    stream_tokens: int = 1024
    first_token_rounds: int = 15
    http_rounds: int = 4
    http_firsts: int = 15
    http_before: int = 450
    stops: int = 100
    stop_prompt_tokens: int = 2000
    photographs: int = 15
    drawing_pixels: int = 784
    signs: int = 50
    turns: int = 10
    history_tokens: int = 1500
    onnx_rounds: int = 25
    onnx_tokens: int = 256
    mlx_rounds: int = 11
    mlx_tokens: int = 128
    mlx_stops: int = 50
    growth_generations: int = 1000
    fillings: int = 15
    talks: tuple[int, ...] = (500, 1000, 2000, 4000)
    talk_steps: int = 30
    burst_tokens: int = 30_000
    burst_rounds: int = 10
    stats_rounds: int = 21
    stats_seconds: float = 2.0
    idle_seconds: float = 40.0


FULL = Sizes()
QUICK = Sizes(
    spawns=5,
    launches=1,
    ping_rounds=2,
    pings=10,
    stream_rounds=1,
    stream_tokens=64,
    first_token_rounds=3,
    http_rounds=1,
    http_firsts=2,
    http_before=2,
    stops=3,
    photographs=2,
    drawing_pixels=336,
    signs=2,
    turns=1,
    fillings=1,
    talks=(60,),
    talk_steps=2,
    onnx_rounds=1,
    onnx_tokens=64,
    mlx_rounds=1,
    mlx_tokens=16,
    mlx_stops=2,
    growth_generations=20,
    burst_tokens=5_000,
    burst_rounds=1,
    stats_rounds=1,
    stats_seconds=1.0,
    idle_seconds=1.0,
)
