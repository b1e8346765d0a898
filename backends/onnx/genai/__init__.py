"""Folders of ONNX Runtime GenAI's model builder (`genai_config.json` beside `model.onnx`), run by its C API."""
