"""Layers, optimizers and functions that return a Keras model."""
