"""Inference: runs trained models in torch or ONNX Runtime to compute their predictions; independent of training and HTTP."""
