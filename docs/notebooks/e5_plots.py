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
# # E5: Plots that explain
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/k3torch/k3torch/blob/main/docs/notebooks/e5_plots.ipynb)
#
# Five ideas of the lecture, each as a plot that you can change: why cross-entropy and not squared error, what momentum
# is for, under- and overfitting with polynomials, how samples are split, and what dropout does. No curve is made up: all
# are computed by Keras, NumPy or scikit-learn.
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
from k3torch.exercises import exercise
from k3torch.reports import demos
import keras
from keras import layers
import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import KFold
import torch

plt.rcParams.update({"figure.figsize": (7, 3.6), "figure.dpi": 80, "axes.grid": True, "grid.alpha": 0.3})

# %% [markdown]
# ## Cross-entropy against squared error
#
# The label is 1, the model says p. The cross-entropy is -log p (with the minus sign), the squared error (1 - p)².

# %%
p = np.linspace(0.001, 1, 400)
label = np.ones((400, 1))
cross_entropy = keras.ops.convert_to_numpy(keras.losses.binary_crossentropy(label, p[:, None]))
squared_error = keras.ops.convert_to_numpy(keras.losses.mean_squared_error(label, p[:, None]))

plt.plot(p, cross_entropy, label="cross-entropy")
plt.plot(p, squared_error, "--", label="squared error")
plt.xlabel("predicted probability of label 1")
plt.ylabel("loss")
plt.legend()
print(f"at p = {p[0]:.3f}: cross-entropy {cross_entropy[0]:.2f}, squared error {squared_error[0]:.2f}")

assert abs(cross_entropy[0] - 6.91) < 0.01
assert abs(squared_error[0] - 1.00) < 0.01

# %% [markdown]
# **What to look for.** On the left the model is sure, and wrong. The squared error never exceeds 1 there, the cross-entropy
# is 6.91, and steep. What the optimizer sees is the gradient with respect to the input of the sigmoid:

# %%
logit = torch.logit(torch.tensor([[0.001]], dtype=torch.float64)).requires_grad_()
gradients = {}
for name in ("binary_crossentropy", "mean_squared_error"):
    wrong = keras.losses.get(name)(np.ones((1, 1)), torch.sigmoid(logit)).sum()
    gradients[name] = torch.autograd.grad(wrong, logit)[0].item()
print({name: round(gradient, 4) for name, gradient in gradients.items()})

assert abs(gradients["binary_crossentropy"] - -0.999) < 0.001
assert abs(gradients["mean_squared_error"] - -0.002) < 0.0005

# %% [markdown]
# -0.999 with the cross-entropy, and -0.002 with the squared error: with that, a unit that is sure and wrong would hardly
# learn.
#
# ## Gradient descent with and without momentum
#
# A loss of one weight with two minima, the left one lower. Keras's SGD starts on the right, at 2.2, and takes 120 steps
# of learning rate 0.01.


# %%
def loss(w):
    return w**4 - 4 * w**2 + w


def descend(momentum, start=2.2, steps=120):
    weight = keras.Variable(start, dtype="float64")
    optimizer = keras.optimizers.SGD(0.01, momentum=momentum)
    path = [start]
    for _ in range(steps):
        value = weight.value.detach().requires_grad_()
        loss(value).backward()
        with torch.no_grad():
            optimizer.apply([value.grad], [weight])
        path.append(float(weight.value.detach()))
    return np.array(path)


figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), sharey=True, layout="constrained")
w = np.linspace(-2.3, 2.3, 300)
ends = {}
for axis, momentum in zip(axes, (0.0, 0.9), strict=True):
    path = descend(momentum)
    ends[momentum] = loss(path[-1])
    axis.plot(w, loss(w), color="black", linewidth=1)
    axis.plot(path, loss(path), "o-", color="C1", markersize=3, linewidth=0.6)
    axis.plot(path[0], loss(path[0]), "s", color="C0", markersize=9, label="start")
    axis.plot(path[-1], loss(path[-1]), "X", color="C3", markersize=11, label=f"end: loss {ends[momentum]:.2f}")
    axis.set(xlabel="weight", title=f"momentum {momentum}")
    axis.legend(loc="upper center")
axes[0].set_ylabel("loss")
plt.show()

# %% [markdown]
# **What to look for.** Without momentum the weight ends in the nearer minimum: loss -2.62. With momentum 0.9 it keeps part
# of its velocity, passes the maximum in between, and ends in the lower minimum: loss -5.44. That is not certain: try other
# starts.

# %%
assert abs(ends[0.0] - -2.62) < 0.01
assert abs(ends[0.9] - -5.44) < 0.01

# %% [markdown]
# ## Under- and overfitting
#
# 20 noisy samples of a cosine, and the best polynomials of degree 1, 4 and 15. `fit_polynomials` uses NumPy's least
# squares; the errors are root mean squares.

# %%
fits = demos.fit_polynomials(degrees=(1, 4, 15), samples=20, noise=0.2, seed=0)

figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.6), sharey=True, layout="constrained")
for axis, degree in zip(axes, fits.curves, strict=True):
    axis.plot(fits.grid, fits.truth, "--", color="C1", label="cosine")
    axis.plot(fits.grid, fits.curves[degree], color="C0", label="polynomial")
    axis.plot(fits.x, fits.y, "o", color="black", markersize=4, label="samples")
    errors = f"on samples {fits.sample_error[degree]:.2f}, against cosine {fits.true_error[degree]:.2f}"
    axis.set(title=f"degree {degree}\n{errors}", ylim=(-2.2, 3.5))
    axis.title.set_fontsize(10)
axes[0].legend(loc="upper center")
plt.show()

# %% [markdown]
# **What to look for.** The error on the samples falls with the degree: 0.78, 0.12, 0.04. The error against the cosine, which
# stands for new samples, does not: 0.72, 0.07, 1.02. Degree 1 cannot bend (it *underfits*), degree 15 passes near every
# sample and swings wildly in between (it *overfits*). From the samples alone you would choose 15; that is why validation
# samples are held out.

# %%
for found, expected in (
    (fits.sample_error, {1: 0.78, 4: 0.12, 15: 0.04}),
    (fits.true_error, {1: 0.72, 4: 0.07, 15: 1.02}),
):
    assert all(abs(found[degree] - expected[degree]) < 0.01 for degree in expected)

# %% [markdown]
# ## How samples are split
#
# One split wastes samples and depends on luck. In K-fold cross-validation each part is the validation set once. When the
# validation samples have been used to *choose* something, a third part is needed that was not used for that.


# %%
def roles(parts, test=False):
    """Return the role of each part in each round: 0 training, 1 validation, 2 test."""
    table = np.zeros((parts, parts), int)
    for number, (_, held_out) in enumerate(KFold(parts).split(np.arange(parts))):
        table[number, held_out] = 1
        if test:
            table[number, (held_out + 1) % parts] = 2
    return table


schemes = {"one split": roles(5)[-1:], "5-fold": roles(5), "5 rounds with a test part": roles(5, test=True)}
figure, axes = plt.subplots(
    1, 3, figsize=(10.5, 2.8), width_ratios=(1, 1, 1), layout="constrained", subplot_kw={"xticks": []}
)
colours = plt.matplotlib.colors.ListedColormap(["#CDE7F7", "#E69F00", "#009E73"])
names = ("train", "valid.", "test")
for axis, (title, table) in zip(axes, schemes.items(), strict=True):
    axis.pcolormesh(table[::-1], cmap=colours, vmin=0, vmax=2, edgecolors="white", linewidth=2)
    axis.set(title=title, ylabel="round", xlabel="parts of the samples")
    axis.set_yticks(np.arange(len(table)) + 0.5, range(len(table), 0, -1))
    axis.grid(visible=False)
    for (row, part), role in np.ndenumerate(table[::-1]):
        axis.text(part + 0.5, row + 0.5, names[role], ha="center", va="center", fontsize=8)

assert (schemes["5-fold"] == 1).sum(axis=0).tolist() == [1] * 5

# %% [markdown]
# **What to look for.** In each column of the middle plot there is exactly one validation part: every sample is judged once,
# by a model that has not seen it. Notebook E6 uses the scheme on the right.
#
# ## Dropout
#
# 100 samples with 100 positive outputs of a layer each, before `Dropout(0.5)`, in training, and in prediction. White is
# zero.

# %%
before = np.random.default_rng(0).uniform(0.1, 1.0, (100, 100))
dropout = layers.Dropout(0.5, seed=0)
training = keras.ops.convert_to_numpy(dropout(before, training=True))
prediction = keras.ops.convert_to_numpy(dropout(before, training=False))

figure, axes = plt.subplots(1, 3, figsize=(10, 3.3), sharey=True, layout="constrained")
stages = {"before": before, "in training": training, "in prediction": prediction}
for axis, (name, values) in zip(axes, stages.items(), strict=True):
    zeros = (values == 0).mean()
    image = axis.imshow(np.ma.masked_equal(values, 0), cmap="viridis", vmin=0, vmax=2, interpolation="none")
    axis.set(title=f"{name}: mean {values.mean():.2f}, {zeros:.0%} zeros", xlabel="unit")
    axis.grid(visible=False)
axes[0].set_ylabel("sample")
figure.colorbar(image, ax=list(axes), shrink=0.8)
plt.show()

# %% [markdown]
# **What to look for.** In training about 50% of the outputs are zero, and the others are twice as large (brighter), so the
# mean stays near 0.55. In prediction nothing changes at all.

# %%
assert 0.48 < (training == 0).mean() < 0.52
assert abs(before.mean() - 0.55) < 0.01
assert abs(training.mean() - 0.55) < 0.02
assert np.allclose(prediction, before, atol=1e-6)

# %% [markdown]
# ## Exercises
#
# **1.** Write a function `momentum_step(weight, velocity, gradient, rate, momentum)` that returns the new weight and the new
# velocity after one step of SGD with momentum, as Keras computes it (without Nesterov).

# %%
first = exercise("E5.1")
first.check(...)

# %% [markdown]
# **2.** How many times larger is the cross-entropy of a sample of label 1 at p = 0.001 than at p = 0.1?

# %%
second = exercise("E5.2")
second.check(...)
