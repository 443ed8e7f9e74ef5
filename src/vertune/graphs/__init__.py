"""Creates ONNX graphs from torch models, edits them, and splits them into segments of layers; independent of tasks."""
