"""The shapes that a projector's weights must have together, of the kinds whose graphs were read.

Above it: `projector`. Below it: `header`. llama.cpp compares no shapes as it loads a projector: ggml ends the process
over an operation between those that do not go together, as it plans the graph. Other kinds are let through.

Source: llama-cpp-python 0.3.36, llama.cpp's `tools/mtmd/clip.cpp` (`build_vit`, `build_ffn`, `build_norm`) and, beside
it, `models/{qwen2vl,qwen3vl,siglip,whisper-enc}.cpp`.
"""

from backends.llamacpp.header import Header, invalid_model

_MERGERS = {"qwen2vl_merger", "qwen2.5vl_merger", "qwen3vl_merger"}
_SQUARES = {"gemma3", "idefics3"}
_PLAIN = {"lfm2", "janus_pro", "phi4", "pixtral", "internvl", "llama4", "kimivl"}
"""Kinds of which only the layers are compared."""

_WHISPERS = {"qwen2a", "ultravox", "voxtral"}
_ENCODERS = {"vision": ("v", _MERGERS | _SQUARES | _PLAIN), "audio": ("a", _WHISPERS)}

_MAY_SWAP = {"qwen2vl_merger", "qwen2.5vl_merger", "gemma3", "idefics3"}
"""Kinds whose older files have the names of the feed-forward's two matrices exchanged, which clip.cpp puts right."""

_MERGED_PATCHES, _COLOURS = 4, 3
_MOST_LAYERS = 1000
_MOST_NAMED = 3


def require_matching_shapes(header: Header, encoder: str, kind: str) -> None:
    """Raise HostError `model_invalid` naming the weights of an encoder that the engine would end over.

    Weights that are missing are passed over.
    """
    prefix, kinds = _ENCODERS[encoder]
    if kind not in kinds:
        return
    shapes = _Shapes(header, encoder)
    shapes.vectors(f"{prefix}.pre_ln", shapes.width)
    for layer in range(min(shapes.number("block_count"), _MOST_LAYERS)):
        _compare_layer(shapes, f"{prefix}.blk.{layer}.", may_swap=kind in _MAY_SWAP)
    if kind in _MERGERS | _SQUARES:
        _compare_patches(shapes)
    if kind == "qwen3vl_merger":  # older ones have no positions, and some a placeholder in their place
        shapes.expect("v.position_embd.weight", shapes.width)
    if kind not in _PLAIN:
        shapes.vectors(f"{prefix}.post_ln", shapes.width)
    if kind in _MERGERS:
        shapes.matrix("mm.2", shapes.matrix("mm.0", _MERGED_PATCHES * shapes.width))
    if kind in _SQUARES:
        _compare_squares(shapes)
    if kind in _WHISPERS:
        _compare_sound(shapes)
    if shapes.wrong:
        named = ", ".join(shapes.wrong[:_MOST_NAMED])
        reason = f"has {len(shapes.wrong)} weights of shapes that do not go with the others ({named})"
        raise invalid_model(header.path, reason)


class _Shapes:
    """An encoder's weights by name, and the names of those that were found wrong. A shape begins with a row's extent.

    width is how many values its layers hand on.
    """

    def __init__(self, header: Header, encoder: str) -> None:
        self._header, self._encoder = header, encoder
        self.width = self.number("embedding_length")
        self.wrong: list[str] = []

    def number(self, name: str) -> int:
        """A number of the encoder's metadata, 0 if it is not told."""
        value = self._header.metadata.get(f"clip.{self._encoder}.{name}")
        return value if isinstance(value, int) else 0

    def shape(self, name: str) -> tuple[int, ...] | None:
        """A weight's shape in four extents, or None if it is not there."""
        found = self._header.tensors.get(name)
        return None if found is None else (*found, *(1 for _ in range(4 - len(found))))

    def expect(self, name: str, *extents: int | None) -> None:
        """Hold the first extents of a weight against what they must be; None may be anything."""
        found = self.shape(name)
        pairs = zip(extents, found or (), strict=False)
        if found is not None and any(wanted is not None and wanted != extent for wanted, extent in pairs):
            self.wrong.append(name)

    def repeats(self, name: str, *extents: int | None) -> None:
        """Hold a weight that is added to, or multiplied with, rows of these extents: ggml repeats a shorter one."""
        found = self.shape(name)
        if found is None:
            return
        wanted = (*extents, *(1 for _ in range(4 - len(extents))))
        pairs = zip(wanted, found, strict=True)
        if any(whole is not None and (part == 0 or whole % part) for whole, part in pairs):
            self.wrong.append(name)

    def vectors(self, name: str, extent: int | None) -> None:
        """Hold a norm's weight and bias against the extent of what it norms."""
        for part in ("weight", "bias"):
            self.repeats(f"{name}.{part}", extent)

    def matrix(self, name: str, inputs: int | None, outputs: int | None = None) -> int | None:
        """Hold a matrix against what goes in and comes out, its bias against the latter; return how much comes out."""
        found = self.shape(f"{name}.weight")
        self.expect(f"{name}.weight", inputs, outputs, 1, 1)
        comes_out = found[1] if found else outputs
        self.repeats(f"{name}.bias", comes_out)
        return comes_out


def _compare_layer(shapes: _Shapes, layer: str, *, may_swap: bool) -> None:
    width = shapes.width
    for norm in ("ln1", "ln2"):
        shapes.vectors(layer + norm, width)
    attended = shapes.matrix(layer + "attn_q", width)
    shapes.matrix(layer + "attn_qkv", width)
    has_fewer = shapes.number("attention.head_count_kv") > 0
    for part in ("attn_k", "attn_v"):
        shapes.matrix(layer + part, width, None if has_fewer else attended)
    shapes.matrix(layer + "attn_out", attended, width)
    up, down = layer + "ffn_up", layer + "ffn_down"
    if may_swap and (shapes.shape(f"{down}.weight") or (0,))[0] == width:
        up, down = down, up
    inner = shapes.matrix(up, width)
    shapes.matrix(layer + "ffn_gate", width, inner)
    shapes.matrix(down, inner, width)


def _compare_patches(shapes: _Shapes) -> None:
    patch = shapes.number("patch_size")
    for name in ("v.patch_embd.weight", "v.patch_embd.weight.1"):
        shapes.expect(name, patch, patch, _COLOURS, shapes.width)
    shapes.repeats("v.patch_embd.bias", shapes.width)


def _compare_squares(shapes: _Shapes) -> None:
    """Kinds whose pictures all have one size."""
    width, side = shapes.width, shapes.number("image_size") // shapes.number("patch_size")
    shapes.repeats("v.position_embd.weight", width, side**2)
    shapes.repeats("mm.soft_emb_norm.weight", width)
    shapes.expect("mm.input_projection.weight", None, width)
    merged = shapes.number("projector.scale_factor") ** 2
    shapes.expect("mm.model.fc.weight", width * merged if merged else None)


def _compare_sound(shapes: _Shapes) -> None:
    first = shapes.shape("a.conv1d.1.weight")
    between = first[2] if first else None
    shapes.expect("a.conv1d.1.weight", None, shapes.number("num_mel_bins") or None)
    shapes.repeats("a.conv1d.1.bias", None, between)
    shapes.expect("a.conv1d.2.weight", None, between, shapes.width)
    shapes.repeats("a.conv1d.2.bias", None, shapes.width)
    shapes.expect("a.position_embd.weight", shapes.width)
    shapes.matrix("mm.a.fc", shapes.width)
