"""Folds that are trained in other processes have the bits of those that are trained here."""

import os
import signal
import sys
import threading

from k3torch import InputError, cross_validate
from k3torch.validation import tasks
from k3torch.validation.checkpoints import Checkpoints
import keras
import numpy as np
import pytest
import torch

rng = np.random.default_rng(3)
X, Y = rng.normal(3, 2, (24, 3)), rng.normal(size=24)


def built():
    dropout = keras.layers.Dropout(0.3)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), dropout, keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def validated(n_jobs, build=built, **arguments):
    arguments = {"folds": 3, "epochs": 2, "batch_size": 4, "engine": "fit", "normalize_y": True, **arguments}
    return cross_validate(lambda: build(), X, Y, n_jobs=n_jobs, **arguments)


def bits(result):
    variables = [v for model in result.models for v in (*model.variables, *model.optimizer.variables)]
    arrays = [result.scores, result.out_of_fold, *result.history.values(), *(v.numpy() for v in variables)]
    return [array.tobytes() for array in map(np.asarray, arrays)]


def test_results_do_not_depend_on_the_number_of_processes():
    stopping = [keras.callbacks.EarlyStopping(patience=0, restore_best_weights=True)]
    before = torch.get_num_threads(), keras.config.dtype_policy().name
    found = [bits(validated(n_jobs, repeats=2, callbacks=stopping, normalize="fold")) for n_jobs in (1, 2)]
    assert found[0] == found[1]
    assert before == (torch.get_num_threads(), keras.config.dtype_policy().name)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_worker_changes_nothing_and_each_worker_uses_one_thread(tmp_path, capsys):
    parent = os.getpid()

    def build():
        if os.getpid() != parent:
            (tmp_path / f"threads-{torch.get_num_threads()}").touch()
            if not (tmp_path / "killed").exists():
                (tmp_path / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return built()

    expected = bits(validated(1))
    assert bits(validated(2, build, checkpoint=tmp_path / "checkpoints")) == expected
    assert "a worker process was lost: its work is done again" in capsys.readouterr().err
    assert [path.name for path in tmp_path.glob("threads-*")] == ["threads-1"]
    assert bits(validated(2, build, checkpoint=tmp_path / "checkpoints")) == expected  # loaded


@pytest.mark.slow
def test_stacks_do_not_depend_on_the_number_of_processes():
    assert bits(validated(1, engine="stacked", repeats=2)) == bits(validated(2, engine="stacked", repeats=2))


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_bits():
    distributed = pytest.importorskip("distributed")
    import joblib

    expected = bits(validated(1, engine="auto"))
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        assert bits(validated(-1, engine="auto")) == expected


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_bits_also_if_a_worker_is_killed(tmp_path, capsys):
    ray = pytest.importorskip("ray")
    import joblib
    from ray.util.joblib import register_ray

    def build():
        if ray.is_initialized() and os.getpid() != parent and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return built()

    parent, expected = os.getpid(), bits(validated(1, engine="auto"))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        register_ray()
        with joblib.parallel_config("ray"):
            assert bits(validated(2, engine="auto")) == expected
            assert bits(validated(2, build, engine="auto")) == expected
    finally:
        ray.shutdown()
    assert "a worker process was lost: its work is done again" in capsys.readouterr().err


def test_what_cannot_be_trained_elsewhere_is_refused():
    with pytest.raises(InputError, match="expected n_jobs as a whole number other than 0, or None, got 0"):
        validated(0)
    lock = threading.Lock()
    with pytest.raises(InputError, match="that can be sent to other processes with n_jobs, got: "):
        validated(1, lambda: lock and built())


def test_a_task_is_a_repeat_or_a_fold():
    assert tasks.divided([["a", "b"]]) == [[["a", None]], [[None, "b"]]]
    assert tasks.divided([["a", "b"], ["c", "d"]]) == [[["a", "b"], [None, None]], [[None, None], ["c", "d"]]]
    assert tasks.seed_of_task(7, 0) == 7
    assert len({tasks.seed_of_task(7, number) for number in range(9)}) == 9


def test_values_are_sent_as_plain_values_and_arrays():
    values = {"a": [np.arange(3), torch.ones(2)], "b": None}
    sent = tasks.packed(values, ["a notice"])
    assert all(type(array) is np.ndarray for array in sent[1].values())
    assert tasks.unpacked(sent)["a"][0].tolist() == [0, 1, 2]
    assert sent[2] == ["a notice"]
    sent[1]["0"].flags.writeable = False  # as Ray returns arrays
    tasks.unpacked(sent)["a"][0][:] = 7
    assert sent[1]["0"].tolist() == [0, 1, 2]
    assert not Checkpoints(None, {}).is_due()
