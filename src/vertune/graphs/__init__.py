"""ONNX graphs of torch models: tracing, editing, cutting; knows nothing of tasks or files."""
