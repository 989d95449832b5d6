from k3torch.formats import counted, format_number


def test_large_numbers_have_all_their_digits():
    values = (0.00123456, 999.94, 1234.5, 258_123.4, -1e6, float("nan"), 1e20)
    assert [format_number(v) for v in values] == ["0.001235", "999.9", "1,234", "258,123", "-1,000,000", "nan", "1e+20"]


def test_one_is_not_a_plural():
    assert [counted(n, "fold") for n in (0, 1, 2, 1500)] == ["0 folds", "1 fold", "2 folds", "1,500 folds"]
