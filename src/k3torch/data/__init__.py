"""Real rows in, batches out: torch and NumPy, never Keras models."""
