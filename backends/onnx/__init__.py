"""ONNX Runtime GenAI: models in the folder layout of its model builder (`genai_config.json` beside `model.onnx`)."""
