"""Device, precision, seed and threads."""

from concurrent.futures import ThreadPoolExecutor
import contextlib
import gc
from pathlib import Path
import types
import weakref

import k3torch
from k3torch import runtime
from k3torch.errors import InputError
import keras
import numpy as np
import pytest
from tests import forked
import torch


@pytest.fixture(autouse=True)
def _restore():
    yield
    runtime.configure("cpu")


def test_the_same_seed_gives_the_same_weights_and_another_gives_others():
    def weights(seed):
        runtime.configure("cpu", seed=seed)
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)]).get_weights()[0], torch.rand(2).tolist()

    (first, drawn), (again, drawn_again), (other, _) = weights(1), weights(1), weights(2)
    np.testing.assert_array_equal(first, again)
    assert drawn == drawn_again
    assert (first != other).any()


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights():
    runtime.configure("cpu", precision="bfloat16")
    layer = keras.layers.Dense(2)
    out = layer(np.ones((1, 3)))
    assert out.dtype == torch.bfloat16
    assert layer.kernel.dtype == "float32"
    runtime.configure("cpu")
    assert keras.layers.Dense(2)(np.ones((1, 3))).dtype == torch.float32


def test_auto_is_cuda_where_it_is_available_and_never_mps(monkeypatch, capsys):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.available_devices() == ["mps", "cpu"]
    assert runtime.configure("auto") == torch.device("cpu")
    assert capsys.readouterr().err == ""
    assert runtime.configure("mps") == torch.device("mps")
    assert capsys.readouterr().err == "mps has no sparse CSR tensors: models with SparseDense fail there\n"
    monkeypatch.setattr(runtime, "available_devices", lambda: ["cuda", "mps", "cpu"])
    assert runtime.configure("auto") == torch.device("cuda")


def test_the_device_takes_effect_after_keras_was_imported_and_the_last_one_counts(monkeypatch):
    def device():
        return keras.Variable([1.0]).value.device.type

    monkeypatch.setattr(runtime, "available_devices", lambda: ["meta", "cpu"])
    assert device() == "cpu"
    runtime.configure("meta")
    assert device() == "meta"
    runtime.configure("cpu")
    assert device() == "cpu"
    runtime.configure("meta")
    runtime.configure("meta")
    assert device() == "meta"


def test_the_device_holds_in_other_threads_and_after_clear_session(monkeypatch):
    def device():
        return keras.Variable([1.0]).value.device.type

    monkeypatch.setattr(runtime, "available_devices", lambda: ["meta", "cpu"])
    runtime.configure("meta")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(device).result() == "meta"
    keras.utils.clear_session()
    gc.collect()
    assert device() == "meta"
    runtime.configure("cpu")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(device).result() == "cpu"
    assert device() == "cpu"


def test_the_memory_of_a_gpu_is_reported_where_there_is_one_in_use(monkeypatch):
    assert set(runtime.peak_memories()) == {"peak_memory_mb"} | (
        {"peak_gpu_memory_mb"} if torch.cuda.is_initialized() else set()
    )
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3_500_000)
    assert runtime.peak_memories()["peak_gpu_memory_mb"] == 3.5


@pytest.mark.cuda
def test_the_peak_of_the_gpu_counts_what_was_allocated():
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated() / 1e6
    torch.empty(25_000_000, device="cuda")  # 100 MB
    assert runtime.peak_memories()["peak_gpu_memory_mb"] == pytest.approx(before + 100, abs=3)


def test_all_bad_values_are_refused_at_once_with_the_devices_of_this_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"expected device as one of 'auto', .*'cpu', got 'cuda'; expected seed"):
        runtime.configure("cuda", seed=-1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "float8"}, "precision as one of 'float32', 'bfloat16', got 'float8'"),
        ({"seed": -1}, "seed as a whole number from 0 to 4294967295, got -1"),
        ({"seed": 2**32}, "seed as a whole number from 0 to"),
        ({"seed": "1"}, "seed as a whole number from 0 to 4294967295, got '1'"),
    ],
)
def test_other_bad_values_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        runtime.configure("cpu", **options)


@pytest.mark.cuda
def test_cuda_places_weights_there():
    assert runtime.configure("cuda").type == "cuda"
    assert keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)]).weights[0].value.device.type == "cuda"


def test_peak_memory_is_that_of_a_process_with_torch():
    assert 100 < runtime.peak_memory_mb() < 20_000


WITHOUT_UNIX = """
import builtins, importlib, sys
unix = {"resource", "fcntl", "pwd", "grp", "termios"}
real = builtins.__import__
def without(name, globals=None, *rest, **named):
    if name in unix and ((globals or {}).get("__name__") or "").startswith("k3torch"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return real(name, globals, *rest, **named)
builtins.__import__ = without
for name in sys.argv[1:]:
    importlib.import_module(name)
from pathlib import Path
from k3torch import runtime
Path.exists = lambda path: False  # no /proc either
print(runtime.peak_memory_mb())
"""


def test_every_module_can_be_imported_without_unix_modules():
    package = Path(k3torch.__file__).parent
    files = [path.relative_to(package.parent).with_suffix("") for path in package.rglob("*.py")]
    names = [".".join(file.parts) for file in files if "scripts" not in file.parts]
    assert {"k3torch.runtime", "k3torch.stack.torch_internals", "k3torch.reports.manifest"} <= set(names)
    done = forked.run_code(WITHOUT_UNIX, *names)
    assert (done.returncode, done.stdout) == (0, "nan\n"), done.stderr


def test_the_largest_memory_is_read_from_proc_in_kib(monkeypatch):
    monkeypatch.setattr(runtime.Path, "exists", lambda path: str(path) == "/proc/self/status")
    monkeypatch.setattr(runtime.Path, "read_text", lambda _: "VmPeak:\t9000 kB\nVmHWM:\t    2000 kB\nVmRSS:\t1 kB\n")
    assert runtime.peak_memory_mb() == 2.048  # 2000 * 1024 bytes


@pytest.mark.parametrize(("platform", "megabytes"), [("linux", 2.048), ("darwin", 0.002)])
def test_without_proc_it_is_that_of_getrusage_in_kib_or_bytes(monkeypatch, platform, megabytes):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(runtime.Path, "exists", lambda _: False)
    monkeypatch.setattr(runtime.sys, "platform", platform)
    usage = {resource.RUSAGE_SELF: types.SimpleNamespace(ru_maxrss=2000)}
    monkeypatch.setattr(resource, "getrusage", usage.__getitem__)
    assert runtime.peak_memory_mb() == megabytes


@pytest.mark.parametrize("fails", [False, True])
def test_threads_and_denormals_are_as_before_after_single_threaded(fails):
    def denormal():
        return (torch.tensor([1e-30]) * 1e-10).item()  # 1e-40

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with contextlib.suppress(KeyError), runtime.single_threaded():
            assert torch.get_num_threads() == 1
            assert denormal() == 0
            if fails:
                raise KeyError
        assert torch.get_num_threads() == 2
        assert denormal() == pytest.approx(1e-40, rel=1e-3)
    finally:
        torch.set_num_threads(before)


class Cycle:
    """An object that only a search finds to be unused, since it refers to itself."""

    def __init__(self):
        self.itself = self


@pytest.mark.parametrize("fails", [False, True])
def test_no_unused_object_is_searched_for_during_the_block_and_all_can_be_freed_after_it(fails):
    searches = []
    gc.callbacks.append(lambda phase, info: searches.append(info["generation"]) if phase == "start" else None)
    try:
        with contextlib.suppress(KeyError), runtime.garbage_collection_paused():
            cycles = [Cycle() for _ in range(5000)]
            freed = weakref.finalize(cycles[0], bool)
            del cycles
            assert not gc.isenabled()
            if fails:
                raise KeyError
        assert gc.isenabled()
        assert searches == []
        assert gc.get_count()[0] < 700
        assert freed.alive
        gc.collect()
        assert not freed.alive
    finally:
        gc.callbacks.pop()


def test_garbage_of_many_blocks_is_freed():
    gc.collect()
    all_objects, searches = len(gc.get_objects()), gc.get_stats()[-1]["collections"]
    freed = []
    for _ in range(3):
        with runtime.garbage_collection_paused():
            cycles = [Cycle() for _ in range(all_objects // 10)]
            freed.append(weakref.finalize(cycles[0], bool))
            del cycles
    assert gc.get_stats()[-1]["collections"] == searches + 1
    assert [each.alive for each in freed] == [False, False, False]


def test_objects_that_stay_cause_no_search():
    gc.collect()
    all_objects, searches = len(gc.get_objects()), gc.get_stats()[-1]["collections"]
    kept = []
    for _ in range(2):
        with runtime.garbage_collection_paused(), runtime.objects_that_stay():
            kept += [Cycle() for _ in range(all_objects // 3)]
    assert gc.get_stats()[-1]["collections"] == searches
    with runtime.objects_that_stay():  # where searches go on, nothing is counted
        kept.clear()
    assert runtime._Unsearched.objects < all_objects // 3


def test_garbage_collection_goes_on_after_an_interrupt_at_the_end_of_a_block(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    counts = iter([lambda: 0, interrupted])
    with monkeypatch.context() as patch:
        patch.setattr(gc, "get_freeze_count", lambda: next(counts)())
        patch.setattr(runtime._Unsearched, "FEW", -1)
        patch.setattr(runtime._Unsearched, "few", -1)
        with pytest.raises(KeyboardInterrupt), runtime.garbage_collection_paused():
            pass
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_garbage_collection_that_the_caller_manages_stays_as_it_is():
    gc.disable()
    try:
        with runtime.garbage_collection_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with runtime.garbage_collection_paused():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() >= frozen > 0
    finally:
        gc.unfreeze()
