"""The effect of each argument that the lecture varies, compared with its formula where there is one."""

from k3torch.models.builders import boston_regressor, imdb_classifier, vanilla_model
from k3torch.models.optimizers import make_optimizer
import keras
import numpy as np
import pytest

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 5)).astype("float32")
Y = (X[:, :1] - 2 * X[:, 1:2] + RNG.normal(0, 0.1, (64, 1))).astype("float32")
LABELS = (Y > 0).astype("float32")


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def _regressor(**options):
    keras.utils.set_random_seed(1)
    return vanilla_model(5, (16,), output_activation="linear", loss="mse", metrics=(), **options)


def _trained(epochs=30, **options):
    model = _regressor(optimizer=options.pop("optimizer", "adam"), learning_rate=0.02, **options)
    model.fit(X, Y, epochs=epochs, batch_size=16, shuffle=False, verbose=0)
    return model


def test_l2_shrinks_the_weights_and_l1_makes_some_of_them_zero():
    kernels = {
        name: _trained(kernel_regularizer=regularizer).layers[1].get_weights()[0]
        for name, regularizer in {
            "none": None,
            "l2": keras.regularizers.L2(0.05),
            "l1": keras.regularizers.L1(0.05),
        }.items()
    }
    assert np.linalg.norm(kernels["l2"]) < 0.7 * np.linalg.norm(kernels["none"])
    small = {name: (np.abs(kernel) < 0.01).mean() for name, kernel in kernels.items()}
    assert small["l1"] > 0.4 > 0.1 > small["none"]


@pytest.mark.parametrize("where", ["kernel_regularizer", "bias_regularizer", "activity_regularizer"])
def test_layer_losses_are_the_penalties_by_formula(where):
    model = _regressor(**{where: keras.regularizers.L1L2(0.1, 0.2)})
    hidden = model.layers[1]
    hidden.bias.assign(RNG.normal(size=16))
    outputs = _numpy(model.layers[1](X))  # this call also computes the activity penalty
    kernel, bias = hidden.get_weights()
    penalised = {"kernel_regularizer": kernel, "bias_regularizer": bias, "activity_regularizer": outputs}[where]
    expected = 0.1 * np.abs(penalised).sum() + 0.2 * (penalised**2).sum()
    if where == "activity_regularizer":
        expected /= len(X)  # averaged over the batch, so that its weight does not grow with the batch size
    assert [float(loss) for loss in hidden.losses] == [pytest.approx(expected, rel=1e-4)]


def test_keras_adds_the_penalty_to_the_loss_at_validation_too():
    plain, penalised = _regressor(), _regressor(kernel_regularizer=keras.regularizers.L2(0.1))
    penalty = 0.1 * (penalised.layers[1].get_weights()[0] ** 2).sum()
    assert penalty > 0.1
    assert penalised.evaluate(X, Y, verbose=0) == pytest.approx(plain.evaluate(X, Y, verbose=0) + penalty, rel=1e-5)


def test_dropout_is_on_in_training_and_off_at_prediction():
    model = _regressor(dropout=0.5)
    without = _regressor()
    without.set_weights(model.get_weights())
    np.testing.assert_array_equal(model.predict(X, verbose=0), without.predict(X, verbose=0))
    np.testing.assert_array_equal(_numpy(model(X)), _numpy(without(X)))
    passes = np.stack([_numpy(model(X, training=True)) for _ in range(400)])
    assert passes.std(axis=0).min() > 0.01
    # The outputs that are kept are scaled up, so that the mean equals the output without dropout.
    np.testing.assert_allclose(passes.mean(axis=0), _numpy(model(X)), atol=6 * passes.std(axis=0).max() / 20)


def test_max_norm_holds_after_every_step():
    model = _regressor(max_norm=0.5, optimizer="sgd", learning_rate=0.5)
    norms = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: norms.append(np.linalg.norm(model.layers[1].get_weights()[0], axis=0))
    )
    model.fit(X, Y, epochs=2, batch_size=16, callbacks=[watch], verbose=0)
    assert len(norms) == 8
    assert np.max(norms) <= 0.5 * (1 + 1e-5)
    assert np.max(norms) > 0.49  # the limit is reached: without it the weights would be longer


def _one_step(gradient, **options):
    """The values of variables after one update from 0 with this gradient."""
    variables = [keras.Variable(np.zeros(len(gradient)), dtype="float64")]
    optimizer = make_optimizer("sgd", learning_rate=1.0, **options)
    optimizer.apply([keras.ops.convert_to_tensor(np.asarray(gradient, "float64"))], variables)
    return _numpy(variables[0].value.detach())


def test_clipnorm_keeps_the_direction_and_clipvalue_does_not():
    np.testing.assert_allclose(_one_step([3.0, 4.0]), [-3, -4])
    np.testing.assert_allclose(_one_step([3.0, 4.0], clipnorm=1.0), [-0.6, -0.8], rtol=1e-6)
    np.testing.assert_allclose(_one_step([3.0, 4.0], clipnorm=10.0), [-3, -4], rtol=1e-6)
    np.testing.assert_allclose(_one_step([3.0, -0.2], clipvalue=0.5), [-0.5, 0.2], rtol=1e-6)


def test_momentum_and_nesterov_follow_their_formulas_and_differ():
    """For the loss w**2 / 2 the gradient is w: v <- m v - r w, then w <- w + v, or w + m v - r w with Nesterov."""
    paths = []
    for nesterov in (False, True):
        weight = keras.Variable(1.0, dtype="float64")
        optimizer = make_optimizer("sgd", learning_rate=0.1, momentum=0.9, nesterov=nesterov)
        w, v, path = 1.0, 0.0, []
        for _ in range(6):
            optimizer.apply([weight.value.detach().clone()], [weight])
            gradient = w
            v = 0.9 * v - 0.1 * gradient
            w += 0.9 * v - 0.1 * gradient if nesterov else v
            assert float(weight.value.detach()) == pytest.approx(w, rel=1e-6)
            path.append(w)
        paths.append(path)
    assert np.abs(np.subtract(*paths)).max() > 0.05


@pytest.mark.parametrize(
    ("schedule", "rate"),
    [
        (keras.optimizers.schedules.ExponentialDecay(0.2, 5, 0.5), lambda step: 0.2 * 0.5 ** (step / 5)),
        (keras.optimizers.schedules.CosineDecay(0.2, 10), lambda step: 0.1 * (1 + np.cos(np.pi * step / 10))),
        (keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.2, 0.02]), lambda step: 0.2 if step <= 2 else 0.02),
    ],
)
def test_a_schedule_sets_the_size_of_each_step(schedule, rate):
    weight = keras.Variable(0.0, dtype="float64")
    optimizer = make_optimizer("sgd", learning_rate=schedule)
    moves, before = [], 0.0
    for _ in range(5):
        optimizer.apply([keras.ops.ones((), dtype="float64")], [weight])
        moves.append(before - float(weight.value.detach()))
        before = float(weight.value.detach())
    np.testing.assert_allclose(moves, [rate(step) for step in range(5)], rtol=1e-5)


def _two_headed(loss_weights):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((5,))
    shared = keras.layers.Dense(8, activation="relu")(inputs)
    outputs = {
        "price": keras.layers.Dense(1, name="price")(shared),
        "cheap": keras.layers.Dense(1, activation="sigmoid", name="cheap")(shared),
    }
    model = keras.Model(inputs, outputs)
    losses = {"price": "mse", "cheap": "binary_crossentropy"}
    model.compile(keras.optimizers.SGD(0.05), loss=losses, loss_weights=loss_weights)
    return model


def test_losses_of_several_outputs_are_summed_with_their_weights():
    targets = {"price": Y, "cheap": LABELS}
    metrics = _two_headed({"price": 0.25, "cheap": 3.0}).evaluate(X, targets, return_dict=True, verbose=0)
    assert metrics["loss"] == pytest.approx(0.25 * metrics["price_loss"] + 3 * metrics["cheap_loss"], rel=1e-5)

    unweighted = _two_headed({"price": 1.0, "cheap": 0.0})
    head = unweighted.get_layer("cheap").get_weights()[0]
    unweighted.fit(X, targets, epochs=2, verbose=0)
    # A loss of weight 0 changes no weight.
    np.testing.assert_array_equal(unweighted.get_layer("cheap").get_weights()[0], head)


def _weights_after(**fit_arguments):
    model = vanilla_model(5, kernel_initializer="ones", optimizer="sgd", learning_rate=0.1)
    model.fit(X, LABELS, epochs=2, batch_size=16, shuffle=False, verbose=0, **fit_arguments)
    return np.concatenate([weights.ravel() for weights in model.get_weights()])


def test_class_weight_is_the_sample_weight_of_each_class():
    by_class = _weights_after(class_weight={0: 1.0, 1: 5.0})
    by_sample = _weights_after(sample_weight=np.where(LABELS[:, 0] == 1, 5.0, 1.0))
    np.testing.assert_allclose(by_class, by_sample, rtol=1e-5)
    assert np.abs(by_class - _weights_after()).max() > 0.01


def test_a_heavier_class_is_predicted_more_often():
    means = []
    for weight in (1.0, 8.0):
        keras.utils.set_random_seed(0)
        model = vanilla_model(5, learning_rate=0.02)
        noise = (np.random.default_rng(5).random((64, 1)) < 0.3).astype("float32")  # independent of the features
        model.fit(X, noise, epochs=5, class_weight={0: 1.0, 1: weight}, verbose=0)
        means.append(model.predict(X, verbose=0).mean())
    assert means[1] > means[0] + 0.1


def test_samples_of_weight_zero_change_no_weight():
    model = vanilla_model(5, kernel_initializer="ones", optimizer="sgd")
    before = model.get_weights()
    model.fit(X[:16], LABELS[:16], sample_weight=np.zeros(16), verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_initial_epoch_continues_the_count_of_epochs():
    def run(model, **epochs):
        return model.fit(X, Y, batch_size=64, verbose=0, **epochs)

    whole, resumed = _regressor(optimizer="adam"), _regressor(optimizer="adam")
    complete = run(whole, epochs=6)
    first = run(resumed, epochs=2)
    rest = run(resumed, epochs=6, initial_epoch=2)
    assert rest.epoch == [2, 3, 4, 5]
    np.testing.assert_allclose(first.history["loss"] + rest.history["loss"], complete.history["loss"], rtol=1e-5)


def test_validation_split_is_the_last_fraction_of_the_samples():
    model, same = _regressor(optimizer="sgd"), _regressor(optimizer="sgd")
    split = model.fit(X, Y, validation_split=0.25, shuffle=False, verbose=0).history
    given = same.fit(X[:48], Y[:48], validation_data=(X[48:], Y[48:]), shuffle=False, verbose=0).history
    assert split == given


def test_predict_in_batches_equals_one_call_on_all_samples():
    model = imdb_classifier(5)
    called = model(X)
    predicted = model.predict(X, batch_size=10, verbose=0)
    assert isinstance(predicted, np.ndarray)
    assert called.requires_grad  # a torch tensor, with its graph
    np.testing.assert_allclose(predicted, _numpy(called), rtol=1e-5, atol=1e-7)


def test_the_history_key_of_the_metric_is_val_mae():
    history = boston_regressor(5).fit(X, Y, validation_split=0.5, verbose=0).history
    assert set(history) == {"loss", "mae", "val_loss", "val_mae"}


def test_an_optimizer_by_name_is_its_object_with_default_arguments():
    for name, class_ in (("sgd", keras.optimizers.SGD), ("rmsprop", keras.optimizers.RMSprop)):
        by_name, by_object = (_regressor(optimizer=choice) for choice in (name, class_()))
        for model in (by_name, by_object):
            model.fit(X, Y, shuffle=False, verbose=0)
        for one, other in zip(by_name.get_weights(), by_object.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
