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
# # E6: Choosing
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/k3torch/k3torch/blob/main/docs/notebooks/e6_choosing.ipynb)
#
# Width, dropout, learning rate, number of epochs: all have to be chosen, and validation samples are what the choice
# is made on. This notebook searches over a grid, looks at what the best score is worth, and then asks the same question
# again with samples that were not used to choose: *nested* cross-validation.
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
from k3torch.data import boston
from k3torch.exercises import exercise
import keras
from keras import layers
import matplotlib.pyplot as plt
import numpy as np

plt.rcParams.update({"figure.figsize": (7, 3.6), "figure.dpi": 80, "axes.grid": True, "grid.alpha": 0.3})

(x, y), (x_test, y_test) = boston.load_data()

# %% [markdown]
# ## A model with parameters
#
# The function builds and compiles one candidate. What is to be chosen are its arguments.


# %%
def build_model(rate=0.001, dropout=0.0):
    model = keras.Sequential(
        [
            keras.Input((13,)),
            layers.Dense(32, activation="relu"),
            layers.Dropout(dropout),
            layers.Dense(32, activation="relu"),
            layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.RMSprop(rate), loss="mse", metrics=["mae"])
    return model


# %% [markdown]
# ## One candidate by Keras alone
#
# For comparison: one candidate on one fold, in view. A search does this for each candidate and each fold.

# %%
keras.utils.set_random_seed(0)
training, validation = slice(101, None), slice(0, 101)
mean, std = x[training].mean(axis=0), x[training].std(axis=0)
model = build_model(rate=0.001, dropout=0.1)
history = model.fit(
    (x[training] - mean) / std,
    y[training],
    validation_data=((x[validation] - mean) / std, y[validation]),
    epochs=20,
    batch_size=16,
    verbose=0,
)
print("validation MAE of this fold after 20 epochs:", round(history.history["val_mae"][-1], 2))

# %% [markdown]
# ## Search
#
# Four learning rates and three dropout rates are 12 candidates, each cross-validated on the same four folds. Candidates
# that differ in nothing but numbers train side by side, by one compiled step. A dropout of 0 is no dropout at all, which is
# another step, so there are two stacks, as the line below the bar says.

# %%
grid = {"rate": [0.0003, 0.001, 0.003, 0.01], "dropout": [0.0, 0.1, 0.3]}
found = k3torch.search(build_model, grid, x, y, folds=4, epochs=100, batch_size=16, normalize="fold", seed=0)
found

# %%
table = found.to_frame()
table[["rate", "dropout", "mean", "std", "low", "high"]].round({"mean": 2, "std": 2, "low": 2, "high": 2})

# %%
scores = table.pivot(index="rate", columns="dropout", values="mean")
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
left.imshow(scores, cmap="viridis_r")
left.set(xlabel="dropout", ylabel="learning rate", title="mean validation MAE")
left.set_xticks(range(3), scores.columns)
left.set_yticks(range(4), scores.index)
left.grid(visible=False)
middle = (table["mean"].min() + table["mean"].max()) / 2
for (row, column), score in np.ndenumerate(scores):
    colour = "black" if score < middle else "white"
    left.text(column, row, f"{score:.2f}", ha="center", va="center", color=colour)

names = [f"{rate:g}, {dropout:g}" for rate, dropout in zip(table["rate"], table["dropout"], strict=True)]
right.errorbar(table["mean"], names, xerr=table["high"] - table["mean"], fmt="o", capsize=3)
right.invert_yaxis()
right.set(xlabel="mean validation MAE and 95% interval", ylabel="learning rate, dropout", title="best first")
plt.show()

# %% [markdown]
# **What to look for.** The intervals on the right overlap nearly all: with 404 samples, the order of the better candidates
# is mostly chance. What the table does say is which *regions* are bad: the lowest learning rate, with which 100 epochs are
# not enough, and the highest one together with much dropout. Among equals, take the simplest.

# %%
best, second_best = table["mean"].iloc[:2]
print(f"best {found.best_params}: {best:.2f}; second {second_best:.2f}; interval up to {table['high'].iloc[0]:.2f}")

assert len(table) == 12
assert found.scores.size == 48
assert 2.0 < best < 2.7
assert second_best < table["high"].iloc[0]  # within the interval of the best
assert (scores.loc[0.0003] > scores.loc[0.003] + 0.1).all()  # the lowest learning rate
assert scores.loc[0.01, 0.3] > scores.loc[0.01, 0.1] + 0.2

# %% [markdown]
# ## What is the best score worth?
#
# Less than it looks. The candidate was selected *because* its score was low, and part of that was luck. How much luck is
# in it can be computed for candidates that are all equal: 12 candidates, each with four noisy scores around a true error
# of 2.5, and the lowest mean is reported.

# %%
rng = np.random.default_rng(0)
deviation = table["std"].mean()
lowest = rng.normal(2.5, deviation, (2_000, 12, 4)).mean(axis=2).min(axis=1)
too_good = 2.5 - lowest.mean()

plt.figure(figsize=(7, 3.2))
plt.hist(lowest, bins=40, color="C0", alpha=0.7)
plt.axvline(2.5, color="black", linestyle=":", label="true error of every candidate")
plt.axvline(lowest.mean(), color="C1", label=f"mean of the reported errors: {lowest.mean():.2f}")
plt.xlabel("lowest of 12 scores")
plt.margins(y=0.4)
plt.legend()
plt.show()
print(f"too good by {too_good:.2f} on average")

assert lowest.mean() < 2.5
assert 0.1 < too_good < 0.6

# %% [markdown]
# **What to look for.** Nearly all of the histogram is left of the true error. (Real candidates share their folds, so their scores
# go up and down together, and the effect is smaller.)
#
# ## Nested cross-validation
#
# `outer=5` cuts the samples into five outer folds. In each, the whole search runs on the other four fifths, and the
# selected candidate is tested on the fifth that the search has not seen. `choose_epochs=True` selects the number of epochs
# too.

# %%
small_grid = {"rate": [0.001, 0.003], "dropout": [0.0, 0.1, 0.3]}
nested = k3torch.search(
    build_model, small_grid, x, y, folds=4, outer=5, epochs=100, choose_epochs=True, batch_size=16, normalize="fold",
    seed=0,
)  # fmt: skip
outer = nested.outer_scores
print("selected in each outer fold:")
for params, score in zip(nested.outer_params, outer, strict=True):
    print(f"  {params}: MAE {score:.2f} on the outer fold")
print(f"inner score of the winner {nested.best_score:.2f}, mean of the outer scores {outer.mean():.2f}")

# %%
plt.figure(figsize=(7, 3.2))
plt.plot(range(1, 6), outer, "o", color="C1", label="outer fold: not used for the selection")
plt.axhline(outer.mean(), color="C1", linestyle="--", label=f"their mean {outer.mean():.2f}")
plt.axhline(nested.best_score, color="C0", label=f"inner score of the winner {nested.best_score:.2f}")
plt.xticks(range(1, 6))
plt.ylim(bottom=1.4)
plt.xlabel("outer fold")
plt.ylabel("MAE (1000 USD)")
plt.legend()
plt.show()

# %% [markdown]
# **What to look for.** Where the outer folds select different candidates, the choice is not clear. The outer scores differ
# a lot, and their mean is the error to expect of the *procedure*: search, then train. Report that one.
#
# ## The chosen model
#
# `best_model` was trained with the best parameters on all 404 samples. It begins with the scaling, so it takes samples as
# they are in the table. The test set is used once, here.

# %%
predicted = nested.best_model.predict(x_test, verbose=0)[:, 0]
test_mae = np.abs(predicted - y_test).mean()
print(f"test MAE {test_mae:.2f}")

assert nested.outer_scores.shape == (5,)
assert 2.0 < outer.mean() < 3.0
assert 2.2 < test_mae < 3.6  # 102 samples: as uncertain as one fold
assert len(y) == 404

# %% [markdown]
# ## Exercises
#
# **1.** A grid of 12 candidates is searched with four folds, and a model with the best one is trained on all samples. How
# many models are trained in all?

# %%
first = exercise("E6.1")
first.check(...)

# %% [markdown]
# **2.** In a nested search with 5 outer folds, 4 inner folds and 6 candidates, how many models are trained for the outer
# scores? Count those that are tested on the outer folds too.

# %%
second = exercise("E6.2")
second.check(...)

# %% [markdown]
# **3.** The error of the best of many candidates on the validation folds is, on average, lower or higher than its error on
# new samples?

# %%
third = exercise("E6.3")
third.check(...)
