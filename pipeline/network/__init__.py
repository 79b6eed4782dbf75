"""The 3D vision transformer and its weights (tensors in, tensors out)."""
