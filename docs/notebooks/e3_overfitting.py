# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # E3: Ways to fight overfitting
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/k3torch/k3torch/blob/main/docs/notebooks/e3_overfitting.ipynb)
#
# In notebook E1 the network memorized its training samples: the validation loss was best after a few epochs and
# then doubled. Here the same network is trained with what is usually tried against that: fewer units, penalties on large weights,
# and dropout; and another optimizer, to see what that changes.
#
# The first cell installs k3torch where it is missing, as in Colab.

# %%
try:
    import k3torch  # before keras: it selects the torch backend
except ImportError:
    import subprocess
    import sys

    package = "k3torch[reviews,digits] @ git+https://github.com/k3torch/k3torch"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)
    import k3torch

print("k3torch", k3torch.__version__)

# %%
from k3torch.data import imdb
from k3torch.exercises import exercise
import keras
from keras import layers, regularizers
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

plt.rcParams.update({"figure.figsize": (7, 3.6), "figure.dpi": 80, "axes.grid": True, "grid.alpha": 0.3})

# %% [markdown]
# ## The data, as in E1
#
# 12,000 reviews for training and 8,000 for validation, as bags of 10,000 words. The test set stays untouched: comparing
# variants on it would make one of them look better than it is. (The lecture compares on the test set.)

# %%
NUM_WORDS = 10_000
reviews = imdb.load_data("reviews", NUM_WORDS).train
bags = k3torch.bag_of_words(reviews.ids, reviews.offsets, NUM_WORDS)
validation_samples = k3torch.BagDataset(bags[:8_000], reviews.labels[:8_000])
training_samples = k3torch.BagDataset(bags[8_000:], reviews.labels[8_000:])
assert len(training_samples) == 12_000

# %% [markdown]
# ## One function builds all variants
#
# The metric `binary_crossentropy` is the loss *without* penalties. Keras adds the penalties of regularizers to the loss,
# in training and in validation; two variants can only be compared without them.


# %%
def build_model(units=16, regularizer=None, dropout=0.0, optimizer="rmsprop"):
    inputs = keras.Input((NUM_WORDS,))
    hidden = k3torch.SparseDense(units, activation="relu", kernel_regularizer=regularizer)(inputs)
    hidden = layers.Dropout(dropout)(hidden)
    hidden = layers.Dense(units, activation="relu", kernel_regularizer=regularizer)(hidden)
    hidden = layers.Dropout(dropout)(hidden)
    model = k3torch.FastModel(inputs, layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(optimizer=optimizer, loss="binary_crossentropy", metrics=["accuracy", "binary_crossentropy"])
    return model


def train(**choices):
    """Train a variant for 20 epochs and return its curves; all variants get the same batches."""
    keras.utils.set_random_seed(0)
    model = build_model(**choices)
    training = k3torch.bag_loader(training_samples, batch_size=512, shuffle=True)
    validation = k3torch.bag_loader(validation_samples, batch_size=512)
    history = model.fit(training, epochs=20, validation_data=validation, shuffle=False, verbose=0).history
    after = model.evaluate(training, return_dict=True, verbose=0)  # without dropout, after the last update
    return {**history, "weights": model.count_params(), "training loss": after["binary_crossentropy"]}


curves = {
    "original 16-16": train(),
    "smaller 4-4": train(units=4),
    "L2 (0.001)": train(regularizer=regularizers.L2(0.001)),
    "L1 (0.001)": train(regularizer=regularizers.L1(0.001)),
    "L1L2 (0.001, 0.001)": train(regularizer=regularizers.L1L2(0.001, 0.001)),
    "dropout 0.5": train(dropout=0.5),
    "original, Adam": train(optimizer="adam"),
    "smaller, Adam": train(units=4, optimizer="adam"),
}

# %% [markdown]
# ## Two curves in one plot
#
# Each plot has the validation loss of the original and of one variant; the marks show where each is lowest.


# %%
def compare(axis, *names):
    for name, style in zip(names, ("o-", "s-", "^-"), strict=False):
        loss = np.array(curves[name]["val_binary_crossentropy"])
        lowest = int(loss.argmin())
        (line,) = axis.plot(range(1, 21), loss, style, markersize=3, label=f"{name}: lowest after {lowest + 1}")
        axis.plot(lowest + 1, loss[lowest], "*", markersize=13, color=line.get_color())
    axis.set(xlabel="epoch", ylabel="validation loss", ylim=(0.25, 0.65), xticks=range(2, 21, 2))
    axis.legend(fontsize=9)


figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
compare(axes[0], "original 16-16", "smaller 4-4")
compare(axes[1], "original 16-16", "L2 (0.001)")

# %% [markdown]
# **What to look for.** The *smaller* network overfits later, and its loss creeps up instead of climbing: with 40,029
# weights and biases instead of 160,305 it can memorize less. *L2* has all 160,305 and overfits less all
# the same: large weights cost something, so the network keeps them small.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
compare(axes[0], "original 16-16", "L1 (0.001)", "L1L2 (0.001, 0.001)")
compare(axes[1], "original 16-16", "dropout 0.5")

# %% [markdown]
# *L1* pushes weights to zero. With a factor of 0.001 it is so strong that the network hardly overfits at all, and its
# lowest loss is higher than that of the others: it learns too little. *Dropout* puts off the lowest point by some epochs.
# The lecture finds it clearly better than the original; here its last loss is lower, but far above its own lowest one.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
compare(axes[0], "original 16-16", "original, Adam")
compare(axes[1], "smaller 4-4", "smaller, Adam")

# %% [markdown]
# *Adam* instead of RMSprop shifts the lowest point by an epoch or so, and changes little else.
#
# ## All of them as a table
#
# `gap` is the last validation loss minus the last training loss: how much better the network is on samples that it has
# seen.

# %%
table = pd.DataFrame(
    {
        name: {
            "weights": found["weights"],
            "best epoch": int(np.argmin(found["val_binary_crossentropy"])) + 1,
            "lowest loss": min(found["val_binary_crossentropy"]),
            "last loss": found["val_binary_crossentropy"][-1],
            "gap": found["val_binary_crossentropy"][-1] - found["training loss"],
        }
        for name, found in curves.items()
    }
).T.astype({"weights": int, "best epoch": int})
table.round(3)

# %% [markdown]
# Compare the columns `lowest loss` and `last loss`. Nothing here lowers the lowest loss by much: with early stopping, the
# original is as good as the rest. The advantage of the variants is that it matters less *when* you stop.

# %%
last, lowest, best, gap = (table[name] for name in ("last loss", "lowest loss", "best epoch", "gap"))
original = "original 16-16"
assert table.loc[original, "weights"] == 160_305
assert table.loc["smaller 4-4", "weights"] == 40_029
assert best[original] < best["smaller 4-4"]
assert best[original] < best["dropout 0.5"]
assert (best[["original, Adam", "smaller, Adam"]].to_numpy() - best[[original, "smaller 4-4"]].to_numpy()).max() <= 2
assert last["smaller 4-4"] < last[original] - 0.1
assert last["L2 (0.001)"] < last[original] - 0.05
assert lowest["dropout 0.5"] + 0.1 < last["dropout 0.5"] < last[original]
assert gap["L1 (0.001)"] < 0.12
assert lowest["L1 (0.001)"] > lowest[original] + 0.01
assert lowest.drop(["L1 (0.001)", "L1L2 (0.001, 0.001)"]).between(0.26, 0.32).all()

# %% [markdown]
# ## What a penalty adds
#
# Keras keeps the penalties of a layer in `layer.losses`, and adds them to the loss of every batch. They can be computed
# by hand:

# %%
layer = layers.Dense(2, kernel_regularizer=regularizers.L2(0.001))
layer.build((None, 3))
layer.set_weights([np.array([[1.0, -1.0], [2.0, 0.0], [0.0, 3.0]]), np.zeros(2)])
by_hand = 0.001 * np.square(layer.get_weights()[0]).sum()
print(f"penalty: {layer.losses[0].item():.4f} - by hand: {by_hand:.4f}")

assert abs(layer.losses[0].item() - by_hand) < 1e-6

# %% [markdown]
# ## What dropout does
#
# In training, `Dropout(0.5)` sets a random half of a layer's outputs to zero and doubles the others, so that their mean
# stays the same. In prediction it does nothing. (Scaling up in training is called *inverted* dropout; the lecture scales
# down in prediction, which has the same effect.)

# %%
keras.utils.set_random_seed(0)
outputs = np.ones((1, 10_000), "float32")
dropped = keras.ops.convert_to_numpy(layers.Dropout(0.5)(outputs, training=True))
print("first outputs:", dropped[0, :12], "- mean of all:", dropped.mean().round(2))

assert set(np.unique(dropped)) == {0.0, 2.0}
assert 0.95 < dropped.mean() < 1.05
assert (keras.ops.convert_to_numpy(layers.Dropout(0.5)(outputs, training=False)) == outputs).all()

# %% [markdown]
# ## Exercises
#
# **1.** A layer has the weights 1, -2 and 3, and `L2(0.001)`. How much does it add to the loss?

# %%
first = exercise("E3.1")
first.check(...)

# %% [markdown]
# **2.** Write a function `inverted_dropout(outputs, kept, rate)`: `outputs` and `kept` are arrays of the same shape,
# `kept` has a 1 for each output that is kept and a 0 for the others. It returns what `Dropout(rate)` returns in training.

# %%
second = exercise("E3.2")
second.check(...)

# %% [markdown]
# **3.** The validation losses of epochs 1 to 8 are 0.50, 0.40, 0.35, 0.36, 0.34, 0.37, 0.38, 0.33. After which epoch does
# `EarlyStopping(patience=2)` stop the training?

# %%
third = exercise("E3.3")
third.check(...)
