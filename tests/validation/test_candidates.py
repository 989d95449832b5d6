"""Which candidates a grid has, and which of them share graphs."""

from k3torch import InputError
from k3torch.validation.candidates import MAX_CANDIDATES, make_candidates
import keras
import pytest
from scipy import stats
from sklearn.model_selection import ParameterGrid, ParameterSampler


def build(units=4, rate=0.1):
    return f"{units} {rate}"


@pytest.mark.parametrize(
    "grid",
    [{"units": [3, 5]}, [{"units": [3]}, {"units": [5]}], ({"units": [3, 5]},), ParameterGrid({"units": [3, 5]})],
)
def test_a_candidate_for_each_setting(grid):
    candidates = make_candidates(build, grid)
    assert [candidate.params for candidate in candidates] == [{"units": 3}, {"units": 5}]
    assert [candidate.build() for candidate in candidates] == ["3 0.1", "5 0.1"]


def test_samples_of_distributions():
    sampler = ParameterSampler({"units": [3, 5, 7], "rate": stats.loguniform(1e-4, 1)}, 5, random_state=0)
    assert [candidate.params for candidate in make_candidates(build, sampler)] == list(sampler)


@pytest.mark.parametrize(
    "grid", [{"units": 4}, [], {}, 5, None, "units", [5], {"units": []}, {5: [1]}, [{"units": [3]}, 7]], ids=repr
)
def test_what_is_no_grid_is_refused_in_one_line(grid):
    if grid == {}:
        assert [candidate.params for candidate in make_candidates(build, grid)] == [{}]
        return
    with pytest.raises(InputError, match="expected param_grid as a dict from parameter to a list of values") as error:
        make_candidates(build, grid)
    assert "\n" not in str(error.value)


def test_other_refusals():
    with pytest.raises(InputError, match=f"expected {MAX_CANDIDATES} candidates at most, got 20000"):
        make_candidates(build, {"units": range(20_000)})
    with pytest.raises(InputError, match=r"to take the parameters of param_grid, got: .*, did you mean 'units'"):
        make_candidates(build, {"unit": [3]})
    with pytest.raises(InputError, match="expected build_model as a function that takes the parameters"):
        make_candidates(keras.layers.Dense(1), {"units": [3]})
