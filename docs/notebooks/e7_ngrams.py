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
# # E7: From words to n-grams
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/k3torch/k3torch/blob/main/docs/notebooks/e7_ngrams.ipynb)
#
# A bag of words cannot tell "not good, bad" from "good, not bad". Sequences of two or three words, *n-grams*, keep that much
# of the order. With them, a network of a single unit beats the one of notebook E1, and you can see what it has
# learned.
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
from k3torch.data import NaiveBayesWeights, Ngrams, UnitRows, imdb
from k3torch.exercises import exercise
import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

plt.rcParams.update({"figure.figsize": (7, 3.6), "figure.dpi": 80, "axes.grid": True, "grid.alpha": 0.3})

# %% [markdown]
# ## What an n-gram is
#
# Two sentences of opposite meaning with the same words. As bags of words they are equal, as bags of pairs they are not.

# %%
sentences = ["not good bad", "good not bad"]
words = CountVectorizer(binary=True).fit_transform(sentences).toarray()
pairs = CountVectorizer(ngram_range=(1, 2), binary=True).fit(sentences)
print("words equal:", (words[0] == words[1]).all())
for sentence, row in zip(sentences, pairs.transform(sentences).toarray(), strict=True):
    print(f"{sentence!r}:", list(pairs.get_feature_names_out()[row == 1]))

assert (words[0] == words[1]).all()
assert (pairs.transform(sentences[:1]) != pairs.transform(sentences[1:])).nnz > 0

# %% [markdown]
# ## The data
#
# The reviews of E1, this time with all their words: 12,000 for training, 8,000 for validation, 5,000 for the test.
# `k3torch.data.Ngrams` finds the n-grams that occur at least twice in the **training** samples, on word ids, without
# making strings of them.

# %%
data = imdb.load_data("reviews", imdb.MAX_NUM_WORDS)
validation, training = data.train.slice(0, 8_000), data.train.slice(8_000, 20_000)

assert (len(training), len(validation), len(data.test)) == (12_000, 8_000, 5_000)

vocabulary, bags = Ngrams.fit_transform(training.ids, training.offsets, n=3, min_count=2)
counts = [len(keys) for keys in vocabulary.keys]
print("words, pairs, triples:", *(f"{count:,}" for count in counts))
print(f"{bags.shape[1]:,} columns; a review has {bags.nnz / len(training):.0f} of them")

plt.figure(figsize=(6, 2.4))
plt.barh(["words", "pairs", "triples"], counts)
plt.gca().invert_yaxis()
plt.xlabel("n-grams that occur twice or more")
plt.show()

# %% [markdown]
# 36,570 words, but 217,976 pairs and 230,445 triples. Such wide bags need a sparse layer: dense, the training samples
# would take 23 GB.

# %%
gigabytes = bags.shape[0] * bags.shape[1] * 4 / 1e9
assert counts == [36_570, 217_976, 230_445]
assert 22.5 < gigabytes < 23.5

# %% [markdown]
# ## Weights for the columns
#
# Most columns say nothing about the label. The *naive Bayes log-count ratio* says how much more often an n-gram occurs in
# positive reviews than in negative ones. Multiplying each column by it points the network to what matters. Then each row
# is scaled to length 1, so that long and short reviews count the same. Both are transformers in scikit-learn's sense, and
# the ratios are learned from training samples alone.

# %%
weights = NaiveBayesWeights().fit(bags, training.labels)


def ratio(text):
    """Return the log-count ratio of an n-gram."""
    ids = data.vocabulary.encode(text.split())
    row = vocabulary.transform(ids, [0, len(ids)])
    return float(weights.weights_[row.indices.max()])  # the longest n-gram comes last


for text in ("the", "good", "not good", "excellent", "waste", "waste of time", "must see"):
    print(f"{text:15} {ratio(text):6.2f}")

assert abs(ratio("the")) < 0.1
assert ratio("good") > -0.3
assert ratio("not good") < -0.3
assert ratio("waste of time") < -1.5 < 1 < ratio("excellent")

# %% [markdown]
# **What to look for.** "the" is near 0: it tells nothing. "not good" is clearly negative, although "good" is not.
#
# ## One unit
#
# The network is a single sigmoid unit: logistic regression. It is compiled and fitted like any Keras model. Train it on
# words, on words and pairs, and with triples too.


# %%
def build_unit(columns, rate=0.1):
    inputs = keras.Input((columns,))
    outputs = k3torch.SparseDense(1, activation="sigmoid", name="unit")(inputs)
    model = k3torch.FastModel(inputs, outputs)
    model.compile(keras.optimizers.Adam(rate), loss="binary_crossentropy", metrics=["accuracy"])
    return model


def samples(part, ngrams, learned):
    x = UnitRows().transform(learned.transform(ngrams.transform(part.ids, part.offsets)))
    return k3torch.BagDataset(x, part.labels)


accuracies, curves = {}, {}
for n, name in ((1, "words"), (2, "pairs"), (3, "triples")):
    ngrams, plain = Ngrams.fit_transform(training.ids, training.offsets, n=n, min_count=2)
    learned = NaiveBayesWeights().fit(plain, training.labels)
    keras.utils.set_random_seed(0)
    unit = build_unit(ngrams.num_features)
    history = unit.fit(
        k3torch.bag_loader(samples(training, ngrams, learned), batch_size=512, shuffle=True),
        validation_data=k3torch.bag_loader(samples(validation, ngrams, learned), batch_size=512),
        epochs=6,
        shuffle=False,
        verbose=0,
    ).history
    curves[name] = history["val_loss"]
    accuracies[name] = history["val_accuracy"][int(np.argmin(history["val_loss"]))]
print({name: round(accuracy, 4) for name, accuracy in accuracies.items()})

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
left.plot(accuracies.keys(), accuracies.values(), "o-", markersize=8)
left.axhline(0.881, color="black", linestyle=":", label="16-16-1 on 10,000 words, E1")
left.set(ylim=(0.87, 0.92), ylabel="validation accuracy", xlabel="longest n-gram")
left.margins(x=0.15)
left.legend(loc="upper left")
for name, losses in curves.items():
    right.plot(range(1, 7), losses, ".-", label=name)
right.set(xlabel="epoch", ylabel="validation loss")
right.legend(loc="center right")
plt.show()

# %% [markdown]
# **What to look for.** Pairs add between 1 and 2 percentage points to words; triples add next to nothing to pairs. All three
# beat the network with two hidden layers of E1, whose validation accuracy is about 0.881. The inputs can matter more than the
# network.

# %%
assert 0.885 < accuracies["words"] < 0.905
assert 0.01 < accuracies["pairs"] - accuracies["words"] < 0.025
assert abs(accuracies["triples"] - accuracies["pairs"]) < 0.006
assert min(accuracies.values()) > 0.881

# %% [markdown]
# ## The final model
#
# Pairs are enough. Vocabulary, ratios and unit are learned anew from all 20,000 training reviews, and tested once.

# %%
ngrams, plain = Ngrams.fit_transform(data.train.ids, data.train.offsets, n=2, min_count=2)
learned = NaiveBayesWeights().fit(plain, data.train.labels)
epochs = int(np.argmin(curves["pairs"])) + 1

keras.utils.set_random_seed(0)
unit = build_unit(ngrams.num_features)
unit.fit(k3torch.bag_loader(samples(data.train, ngrams, learned), 512, shuffle=True), epochs=epochs, shuffle=False)
testing = k3torch.bag_loader(samples(data.test, ngrams, learned), 512)
test = unit.evaluate(testing, return_dict=True, verbose=0)
print(f"test accuracy {test['accuracy']:.4f}")

lecture_network = 0.888  # E1
assert 0.917 < test["accuracy"] < 0.935

# %% [markdown]
# Test accuracy near 0.927; that of E1 was 0.888.
#
# ## What has it learned?
#
# With a single unit the answer is in its weights: the unit's weight times the ratio of the column is what an n-gram adds.

# %%
kernel = unit.get_layer("unit").get_weights()[0][:, 0]
effect = kernel * learned.weights_
order = np.argsort(effect)


def names(columns):
    return [data.vocabulary.decode(ids) for ids in ngrams.word_ids(columns)]


figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), sharex=True, layout="constrained")
for axis, columns, label, colour in (
    (axes[0], order[:12], "negative", "C3"),
    (axes[1], order[::-1][:12], "positive", "C0"),
):
    axis.barh(names(columns), np.abs(effect[columns]), color=colour)
    axis.invert_yaxis()
    axis.set(title=label, xlabel="weight (absolute value)")

# %% [markdown]
# **What to look for.** Some of the surest n-grams are ratings that reviewers typed into their texts, "7 10" for 7 out of 10. Is
# that cheating? For the task "guess the label" it is not; for "understand the review" it is. Reading what a model has
# learned is how you find out.

# %%
surest = names(order[-40:]) + names(order[:40])
ratings = [name for name in surest if name.endswith(" 10") and name.split()[0].isdigit()]
print("ratings among the 80 surest n-grams:", ratings)

assert "7 10" in ratings

# %% [markdown]
# ## Exercises
#
# **1.** Write a function `word_ngrams(words, n)` that returns the list of all sequences of `n` consecutive words, each as one
# string with spaces. `first.check(word_ngrams)` tries it.

# %%
first = exercise("E7.1")
first.check(...)

# %% [markdown]
# **2.** An n-gram occurs in 30 positive and 10 negative reviews. The sums over all n-grams, 1 added to each, are 1,000
# and 1,200. What is its log-count ratio, to two decimals?

# %%
second = exercise("E7.2")
second.check(...)
