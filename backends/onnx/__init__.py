"""ONNX Runtime: folders of its GenAI model builder, and folders in the layout of Transformers.js."""
