"""ONNX graphs of torch models: tracing, editing and splitting; independent of tasks."""
