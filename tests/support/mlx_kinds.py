"""Every kind of network with pictures that mlx-vlm 0.7.10 has and that can be made small.

Below it: `support.mlx_kinds_of_patches`, `support.mlx_kinds_of_tiles`. `support.mlx_kind_folders` writes the folders.
"""

from support import mlx_kinds_of_patches, mlx_kinds_of_tiles
from support.mlx_kind import Kind

KINDS: dict[str, Kind] = {**mlx_kinds_of_patches.KINDS, **mlx_kinds_of_tiles.KINDS}
