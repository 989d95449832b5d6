from k3torch.stack import fixed_randomness
from k3torch.stack.fixed_randomness import FixedRandomness
from k3torch.stack.reasons import UntraceableStep
import pytest
import torch

DRAWS = {
    "bernoulli": lambda shape: torch.bernoulli(torch.ones(shape), 0.3),
    "bernoulli in place": lambda shape: torch.empty(shape).bernoulli_(0.3),
    "dropout": lambda shape: torch.nn.functional.dropout(torch.ones(shape), 0.3),
    "rand": torch.rand,
    "randn": torch.randn,
    "rand_like": lambda shape: torch.rand_like(torch.ones(shape)),
    "randn_like": lambda shape: torch.randn_like(torch.ones(shape)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_numbers_depend_on_their_place_alone_and_leave_the_generator(name):
    draw, state = DRAWS[name], torch.get_rng_state()
    found = []
    for _ in range(2):
        with FixedRandomness(stacked=False):
            found.append((draw((4, 50)), draw((4, 50))))
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(*found[0])


@pytest.mark.parametrize("name", DRAWS)
def test_each_model_of_a_stack_gets_what_it_gets_alone(name):
    draw = DRAWS[name]
    with FixedRandomness(stacked=True):
        stacked = draw((3, 4, 50))
    with FixedRandomness(stacked=False):
        alone = draw((4, 50))
    for model in stacked:
        assert torch.equal(model, alone)


def test_the_numbers_have_the_distribution_that_they_stand_for():
    with FixedRandomness(stacked=False):
        kept, uniform, normal = torch.bernoulli(torch.ones(10_000), 0.3), torch.rand(10_000), torch.randn(10_000)
    assert kept.mean() == pytest.approx(0.3, abs=0.01)
    assert uniform.quantile(0.25) == pytest.approx(0.25, abs=0.01)
    assert normal.mean() == pytest.approx(0, abs=0.02)
    assert normal.std() == pytest.approx(1, abs=0.02)


def test_without_dispatch_modes_it_says_so(monkeypatch):
    monkeypatch.setattr(fixed_randomness, "TorchDispatchMode", None)
    with pytest.raises(UntraceableStep, match="TorchDispatchMode"):
        FixedRandomness(stacked=False)
