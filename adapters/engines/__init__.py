"""Ways to run an adapter with a head: PyTorch, or ONNX Runtime on CPUs."""
