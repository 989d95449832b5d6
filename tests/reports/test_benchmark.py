from k3torch.reports import benchmark
from k3torch.reports.benchmark import JOBS, Job
import pytest

JOB = Job({"ours": "this project", "theirs": "another"}, "ours", "seconds", {"peak memory MB": ("peak MB", ".0f")})


def rounds(*pairs, **more):
    """Return a round for each pair of times, of ours and of theirs."""
    return [
        {
            name: {"seconds": time, "peak memory MB": 100.4, **more}
            for name, time in zip(JOB.contenders, pair, strict=True)
        }
        for pair in pairs
    ]


def test_a_row_has_the_median_time_and_the_ratios_within_rounds():
    assert benchmark.summary(JOB, rounds((1, 3), (2, 4), (4, 40))) == [
        {
            "contender": "this project",
            "seconds": "2.00",
            "ratio": "1.00",
            "in rounds": "1.00 to 1.00",
            "peak MB": "100",
        },
        {"contender": "another", "seconds": "4.00", "ratio": "3.00", "in rounds": "2.00 to 10", "peak MB": "100"},
    ]


def test_times_by_device_events_are_a_column_if_the_first_contender_has_them():
    (row, _) = benchmark.summary(JOB, rounds((1, 3), **{"seconds by device events": 0.5}))
    assert row["device s"] == "0.500"


@pytest.mark.parametrize(("contenders", "base"), [(["ours", "theirs"], "theirs"), (["ours"], "ours"), ([], "ours")])
def test_the_peer_is_the_base_if_it_runs(contenders, base):
    assert Job(JOB.contenders, "ours", "seconds", {}, peer="theirs").base(contenders) == base
    assert JOB.base(contenders) == "ours"


def test_rounds_without_a_result_have_no_ratio():
    found = rounds((1, 3), (2, None), (None, 4), (4, 2))
    assert benchmark.ratios(found, "theirs", "ours", "seconds") == [3, 0.5]
    assert benchmark.ratios(found, "numba", "ours", "seconds") == []
    assert benchmark.median(found, "theirs", "seconds") == 3
    assert benchmark.median(found, "theirs", "steady seconds") is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0421, "0.042"), (0.9994, "0.999"), (1, "1.00"), (9.99, "9.99"), (10, "10"), (2065.4, "2,065")],
)
def test_a_time_has_about_three_digits(value, text):
    assert benchmark.short(value) == text


def test_a_markdown_table_aligns_all_columns_but_the_first_to_the_right():
    lines = benchmark.markdown([{"way": "a", "s": "1"}, {"way": "b", "s": "2"}]).splitlines()
    assert lines == ["| way | s |", "|---|---:|", "| a | 1 |", "| b | 2 |"]


def test_the_contenders_that_jobs_name_are_theirs():
    for job in JOBS.values():
        assert {job.first, job.base(job.contenders)} <= set(job.contenders)
    names = [name for job in JOBS.values() for name in job.contenders]
    assert {name for name in names if names.count(name) > 1} == {
        "keras-torch",
        "numba",
        "keras-jax",
        "keras-tensorflow",
    }
