"""make_optimizer: where every argument arrives, and the message for each that does not fit."""

from k3torch.errors import InputError
from k3torch.models.builders import vanilla_model
from k3torch.models.optimizers import make_optimizer
import keras
import numpy as np
import pytest


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sgd", keras.optimizers.SGD),
        ("RMSprop", keras.optimizers.RMSprop),
        ("adam", keras.optimizers.Adam),
        ("ADAM", keras.optimizers.Adam),
        ("nadam", keras.optimizers.Nadam),
    ],
)
def test_a_name_gives_the_optimizer_with_keras_defaults(name, kind):
    made = make_optimizer(name)
    assert isinstance(made, kind)
    assert made.get_config() | {"name": ""} == kind().get_config() | {"name": ""}


def test_the_default_is_rmsprop_and_every_call_returns_a_new_object():
    assert isinstance(make_optimizer(), keras.optimizers.RMSprop)
    assert make_optimizer() is not make_optimizer()


def test_an_object_is_returned_unchanged():
    mine = keras.optimizers.Adam(0.125)
    assert make_optimizer(mine) is mine


@pytest.mark.parametrize("rate", [1, 0.5, np.float32(0.25), np.int64(2)])
def test_rates_may_be_integers_and_numbers_of_numpy(rate):
    assert float(make_optimizer("sgd", learning_rate=rate).learning_rate) == rate
    assert make_optimizer("sgd", clipnorm=rate).clipnorm == rate


def test_momentum_may_be_0_and_1():
    assert make_optimizer("sgd", momentum=0).momentum == 0
    assert make_optimizer("sgd", momentum=1, nesterov=True).momentum == 1
    assert make_optimizer("sgd", momentum=1, nesterov=True).nesterov is True


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("rmsporp", "expected optimizer as a known name, got 'rmsporp', did you mean 'rmsprop'"),
        ("xyz", "expected optimizer as a known name, got 'xyz', known: adadelta"),
        (None, "expected optimizer as a name or an object, got None"),
        (keras.optimizers.SGD, "expected optimizer as a name or an object"),
    ],
)
def test_what_is_no_optimizer_is_refused(optimizer, message):
    with pytest.raises(InputError, match=message):
        make_optimizer(optimizer, learning_rate=0.1)


def test_all_bad_arguments_are_listed_at_once():
    with pytest.raises(InputError) as caught:
        make_optimizer("adam", learning_rate=0, momentum=2, clipnorm=-1)
    assert str(caught.value) == (
        "expected momentum as an argument of the optimizer, got 'adam', which does not have it; expected learning_rate "
        "as a float32 number above 0, got 0; expected momentum as a fraction from 0 to 1, got 2; expected clipnorm as "
        "a float32 number above 0, got -1"
    )


def test_a_misspelt_optimizer_does_not_hide_the_other_problems():
    with pytest.raises(InputError, match=r"did you mean 'adam'.*; expected learning_rate as .* got 'fast'"):
        make_optimizer("adm", learning_rate="fast")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"optimizer": "adam", "momentum": 0.9},
            "momentum as an argument of the optimizer, got 'adam', which does not have it",
        ),
        ({"optimizer": "sgd", "nesterov": True}, "momentum as a number above 0 for Nesterov momentum, got none"),
        (
            {"optimizer": "sgd", "clipnorm": 1.0, "clipvalue": 1.0},
            "clipnorm as the only clipping of the gradients, got clipping by value too",
        ),
        ({"optimizer": "sgd", "learning_rate": -0.1}, "learning_rate as a float32 number above 0, got -0.1"),
        ({"optimizer": "sgd", "learning_rate": "0.1"}, "learning_rate as a float32 number above 0, got '0.1'"),
        ({"optimizer": "sgd", "learning_rate": float("nan")}, "learning_rate as a float32 number above 0, got nan"),
        ({"optimizer": "sgd", "clipnorm": 0}, "clipnorm as a float32 number above 0, got 0"),
        ({"optimizer": "sgd", "clipvalue": -1.0}, "clipvalue as a float32 number above 0, got -1.0"),
        ({"optimizer": "sgd", "learning_rate": 1e39}, "learning_rate as a float32 number above 0, got 1e\\+39"),
        ({"optimizer": "sgd", "learning_rate": 10**400}, "learning_rate as a float32 number above 0, got 1000"),
        (
            {"optimizer": "sgd", "clipnorm": keras.optimizers.schedules.CosineDecay(1.0, 5)},
            "clipnorm as a float32 number above 0, got <",
        ),
        (
            {"optimizer": "sgd", "momentum": 0.5, "nesterov": "no"},
            "nesterov as one of True, False, got 'no'",
        ),
        ({"optimizer": "rmsprop", "momentum": 1.5}, "momentum as a fraction from 0 to 1, got 1.5"),
        (
            {"optimizer": keras.optimizers.SGD(), "learning_rate": 0.1},
            "no learning_rate together with an optimizer object, which has its own",
        ),
    ],
)
def test_optimizer_arguments_that_do_not_fit_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        make_optimizer(**arguments)


def test_a_schedule_takes_the_place_of_keras_2_decay():
    """Inverse time decay is what ``decay=1e-2`` did: rate / (1 + decay * step)."""
    schedule = keras.optimizers.schedules.InverseTimeDecay(0.1, decay_steps=1, decay_rate=1e-2)
    model = vanilla_model(2, optimizer="sgd", learning_rate=schedule)
    model.fit(np.zeros((6, 2)), np.zeros(6), batch_size=2, epochs=2, verbose=0)
    assert float(model.optimizer.iterations) == 6
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1 / 1.06)


def test_optimizer_arguments_reach_the_optimizer():
    sgd = vanilla_model(2, optimizer="SGD", learning_rate=0.5, momentum=0.9, nesterov=True, clipnorm=1.5).optimizer
    assert isinstance(sgd, keras.optimizers.SGD)
    assert (float(sgd.learning_rate), sgd.momentum, sgd.nesterov, sgd.clipnorm) == (0.5, 0.9, True, 1.5)
    assert make_optimizer("adam", clipvalue=0.25).clipvalue == 0.25
    assert make_optimizer("rmsprop", momentum=0.5).momentum == 0.5
    mine = keras.optimizers.Adam(0.125)
    assert vanilla_model(2, optimizer=mine).optimizer is mine
