"""GGUF models through llama.cpp's own decode loop; only `backend`, `probe` and what they import touch the engine."""
