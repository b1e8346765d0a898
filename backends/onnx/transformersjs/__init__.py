"""Folders in the layout of Transformers.js (`onnx/model*.onnx`), run by ONNX Runtime itself."""
