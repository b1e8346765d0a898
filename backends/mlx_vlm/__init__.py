"""MLX models, with pictures or without: mlx-vlm on Metal, CUDA or the processor."""
