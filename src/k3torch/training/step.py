"""FastModel: a Keras model whose train_step is overridden."""

import keras


@keras.saving.register_keras_serializable(package="k3torch")
class FastModel(keras.Model):  # type: ignore[misc]
    """A Keras model with a shorter train step; everything else is Keras."""
