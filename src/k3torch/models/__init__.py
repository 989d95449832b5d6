"""What is trained: layers and functions that return a Keras model."""
