"""Loading of data sets, preprocessing, and DataLoaders: NumPy and torch, no Keras models."""
