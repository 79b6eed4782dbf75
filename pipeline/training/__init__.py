"""Pairs, augmentation, losses and the training loop."""
