"""The short header computes what torch's header does."""

import ctypes
import subprocess

from k3torch.stack import compiled_loops, cpp_build, cpp_prefix
import numpy as np
import pytest
from tests.stack import small_steps
import torch

NUMBERS = [-np.inf, -3.5, -1.0, -0.0, 0.0, 1e-38, 0.5, 2.0, 7.25, np.inf, np.nan]


def operators(x, y, i, out, counts):
    """Functions that the header has parts for: NaN in maxima and minima, integer division, conversions."""
    out[0].copy_(torch.maximum(x, y) + x.clamp(min=0))
    out[1].copy_(torch.minimum(x, y) - y.clamp(max=0.25))
    out[2].copy_(torch.exp(-x.abs()) + torch.tanh(y) + torch.sigmoid(x) + torch.log1p(x.abs()))
    out[3].copy_(i.float() * 0.5 + (x > y).float() + torch.sign(x) + torch.relu(y))
    out[4].copy_(x.amax().expand(11) + y[:5].amin() + x[1:4].sum() + torch.sqrt(x.abs()))
    out[5].copy_((torch.rand_like(x) < 2.0).float())
    counts[0].copy_(torch.div(i, 3, rounding_mode="floor"))
    counts[1].copy_(torch.maximum(i, -i) + i.amax() + i.clamp(min=-2, max=4))
    counts[2].copy_(i % 4 + (x > 0).long())


def operands():
    x, i = torch.tensor(NUMBERS), torch.arange(-5, 6)
    return [x, x.roll(3), i, torch.zeros(6, 11), torch.zeros(3, 11, dtype=torch.int64)]


def test_loops_with_it_compute_what_torch_does(monkeypatch, cache):
    monkeypatch.setattr(cpp_build, "_compile_with_torch", lambda _: pytest.fail("the short header lacks a part"))
    mine, expected = operands(), operands()
    operators(*expected)
    (loop,) = compiled_loops.compile_loops([small_steps.without_batch(operators, mine)])
    loop.bind(mine, [], small_steps.seed())(1, 1)
    for tensor, reference in zip(mine, expected, strict=True):
        torch.testing.assert_close(tensor, reference, equal_nan=True, rtol=1e-5, atol=1e-6)


def test_what_it_lacks_is_compiled_with_torchs_header(cache):
    def special(x, out):
        out.copy_(torch.special.i0e(x) + torch.digamma(x) + x.bfloat16().float())

    mine, expected = [torch.linspace(0.5, 4, 9), torch.zeros(9)], torch.zeros(9)
    special(mine[0], expected)
    (loop,) = compiled_loops.compile_loops([small_steps.without_batch(special, mine)])
    loop.bind(mine, [], small_steps.seed())(1, 1)
    torch.testing.assert_close(mine[1], expected)


@pytest.fixture(scope="module")
def uniform(tmp_path_factory):
    """The header's random numbers, as a function of the seed and the number of the element."""
    folder = tmp_path_factory.mktemp("header")
    text = f'{cpp_prefix.HEADER}\nextern "C" float draw(int64_t a, int64_t b) {{ return normalized_rand_cpu(a, b); }}\n'
    (folder / "draw.cpp").write_text(text)
    compiler = cpp_build.private_part(cpp_build.CPP_COMPILER)()
    command = [compiler, "-std=c++17", "-shared", "-fPIC", "-O1", "-o", "draw.so", "draw.cpp"]
    subprocess.run(command, cwd=folder, check=True)
    draw = ctypes.CDLL(str(folder / "draw.so")).draw
    draw.argtypes, draw.restype = [ctypes.c_int64, ctypes.c_int64], ctypes.c_float
    return lambda seeds, elements: np.array([[draw(s, e) for e in elements] for s in seeds])


def test_random_numbers_are_uniform_and_independent_of_element_and_seed(uniform):
    numbers = uniform([7, 8, 2**40, 2**62 - 1], range(5000))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    # The distance of the empirical from the true distribution exceeds 0.0275 once in a thousand times (Kolmogorov).
    for drawn in numbers:
        steps = np.arange(1, 5001) / 5000
        assert np.abs(np.sort(drawn) - steps).max() < 0.0277
    assert np.abs(np.corrcoef(numbers) - np.eye(4)).max() < 0.06
    following = [np.corrcoef(drawn[:-lag], drawn[lag:])[0, 1] for drawn in numbers for lag in (1, 2, 16, 64)]
    assert np.abs(following).max() < 0.06


def test_the_numbers_of_consecutive_seeds_differ(uniform):
    numbers = uniform(range(2000), [0, 1])
    assert len(np.unique(numbers[:, 0])) > 1990
    assert np.abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.1
    assert np.abs(np.corrcoef(numbers.T)[0, 1]) < 0.1
