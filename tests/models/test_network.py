"""The command-line options of a network: defaults, where each arrives, and the message for bad ones."""

from dataclasses import replace

from k3torch import options
from k3torch.errors import InputError
from k3torch.models.builders import boston_regressor, digit_classifier, imdb_classifier
from k3torch.models.network import builder_options, check_network
import keras
import pytest

NETWORK = options.Network(units=(4, 3))


def configuration(model):
    """Return what defines a model but the numbers in names that Keras counts up."""
    layers = [layer.get_config() for layer in model.layers[1:]]
    return layers, {**model.optimizer.get_config(), "name": ""}, model.loss


@pytest.mark.parametrize(
    ("build", "units"), [(imdb_classifier, (16, 16)), (boston_regressor, (64, 64)), (digit_classifier, (32,))]
)
def test_by_default_the_network_is_the_builders_own(build, units):
    chosen = build(5, **builder_options(options.Network(units=units)))
    assert configuration(chosen) == configuration(build(5))


def test_every_option_arrives_in_the_model():
    network = options.Network(
        units=(4, 3), activation="tanh", dropout=0.25, l1=0.5, l2=0.125, max_norm=2.0, kernel_initializer="ones",
        optimizer="sgd", learning_rate=0.5, momentum=0.75, nesterov=True, clipnorm=1.5,
    )  # fmt: skip
    model = boston_regressor(5, **builder_options(network, keras.Sequential))
    assert isinstance(model, keras.Sequential)
    first, dropout, second, _, last = model.layers
    assert [layer.units for layer in (first, second, last)] == [4, 3, 1]
    assert dropout.rate == 0.25
    for layer in (first, second):
        assert layer.activation is keras.activations.tanh
        assert (float(layer.kernel_regularizer.l1), float(layer.kernel_regularizer.l2)) == (0.5, 0.125)
        assert layer.kernel_constraint.max_value == 2
        assert (keras.ops.convert_to_numpy(layer.kernel) == 1).all()
    sgd = model.optimizer
    assert (float(sgd.learning_rate), sgd.momentum, sgd.nesterov, sgd.clipnorm) == (0.5, 0.75, True, 1.5)
    assert boston_regressor(5, **builder_options(replace(NETWORK, clipvalue=0.5))).optimizer.clipvalue == 0.5


def test_each_call_creates_its_own_regularizer():
    network = replace(NETWORK, l2=0.1)
    first, second = (builder_options(network)["kernel_regularizer"] for _ in range(2))
    assert first is not second
    assert builder_options(NETWORK)["kernel_regularizer"] is None


def test_all_bad_options_are_named_at_once():
    network = replace(NETWORK, units=(0,), activation="rel", dropout=1.0, l1=-1.0, l2=float("nan"), learning_rate=0.0)
    with pytest.raises(InputError) as caught:
        check_network(network, boston_regressor)
    assert str(caught.value) == (
        "expected units as whole numbers of 1 or more, got 0; expected activation as a known name, got 'rel', "
        "did you mean 'relu'?; expected dropout as a fraction from 0 to, but not including, 1, got 1.0; "
        "expected learning_rate as a float32 number above 0, got 0.0; "
        "expected l1 as a float32 number of 0 or more, got -1.0; "
        "expected l2 as a float32 number of 0 or more, got nan"
    )


def test_what_only_training_shows_is_refused_in_one_line():
    def build(inputs, **_):
        return boston_regressor(inputs, units=(3, 3), activation=lambda x: x[:, :1])

    with pytest.raises(InputError, match=r"^expected options of a network that Keras can train, got: [^\n]*$"):
        check_network(NETWORK, build)


@pytest.mark.parametrize("build", [imdb_classifier, boston_regressor, digit_classifier])
def test_a_check_leaves_no_trace_in_the_names_of_models(build):
    keras.utils.clear_session()
    check_network(NETWORK, build)
    assert build(5).name == "functional"
