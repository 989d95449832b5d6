"""Sorted pairs compared with those that Python sorts."""

from hypothesis import given, settings
from hypothesis import strategies as st
from k3torch.data.pair_sort import sort_pairs
import numpy as np
import pytest


def both_sorted(pairs):
    keys, values = np.array(pairs, np.int64).reshape(-1, 2).T.copy()
    sort_pairs(keys, values)
    assert keys.tolist() == sorted(keys.tolist())
    return list(zip(keys.tolist(), values.tolist(), strict=True))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_each_key_keeps_its_value(data):
    key, value = (st.integers(0, 2 ** data.draw(st.integers(0, most)) - 1) for most in (63, 31))
    pairs = data.draw(st.lists(st.tuples(key, value), max_size=20))
    assert sorted(both_sorted(pairs)) == sorted(pairs)


@pytest.mark.parametrize("bits", [2, 32, 62])
@pytest.mark.parametrize("more", [0, 1])
def test_pairs_of_64_bits_and_of_more(bits, more):
    key, value = 2**bits - 1, 2 ** (64 - bits + more) - 1
    pairs = [(key, value), (key, 0), (0, value), (0, 0)]
    assert sorted(both_sorted(pairs)) == sorted(pairs)
