import os
from pathlib import Path
import types

from k3torch import files
from k3torch.claims import Claimed, claim, is_claimed
from k3torch.errors import InputError
from k3torch.files import atomic_folder, atomic_path, cached_arrays, cached_file, is_draft, remove_drafts
import numpy as np
import pytest


def test_atomic_path_leaves_the_old_file_when_the_block_fails(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(InputError), atomic_path(target) as draft:
        _refuse(draft.write_text("half"))
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    with atomic_path(target) as draft:
        draft.write_text("new")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_an_atomic_folder_is_there_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a" / "result"
    with pytest.raises(InputError), atomic_folder(target) as draft:
        _refuse((draft / "x").write_text("half"))
    assert list(target.parent.iterdir()) == []
    with atomic_folder(target) as draft:
        (draft / "x").write_text("whole")
        assert draft.parent == target.parent
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["result"]
    assert (target / "x").read_text() == "whole"
    assert target.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("before", [{}, {"x": "old", "y": "mine"}])
def test_an_atomic_folder_keeps_files_of_other_names(before, linked, tmp_path):
    folder, link = tmp_path / "result", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    for name, text in before.items():
        (folder / name).write_text(text)
    with atomic_folder(link if linked else folder) as draft:
        (draft / "x").write_text("new")
    assert {path.name: path.read_text() for path in folder.iterdir()} == before | {"x": "new"}
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "result"]


def test_an_atomic_folder_may_have_the_longest_name(tmp_path):
    with atomic_folder(tmp_path / ("n" * 255)) as draft:
        (draft / "x").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["n" * 255]


DRAFTS = ".k3torch-draft-aaaaaaaa", ".k3torch-draft-bbbbbbbb"


def test_drafts_of_folders_of_killed_processes_are_removed_and_nothing_else(tmp_path, without_locks):
    left, used = (tmp_path / name for name in DRAFTS)
    others = [tmp_path / name for name in (".result-insiders", ".k3torch-draft-of-mine", "result-2")]
    for folder in (left, used, *others):
        (folder / "below").mkdir(parents=True)
        (folder / "below/x").write_text("content")
    (tmp_path / ".k3torch-draft-linkedto").symlink_to(others[0])
    (tmp_path / ".k3torch-draft-afile000").write_text("content")
    before = set(tmp_path.iterdir())
    end = claim(used)
    with atomic_folder(tmp_path / "result") as draft, atomic_folder(tmp_path / "other"):
        assert draft.is_dir()  # each is claimed as long as it is written
    end()
    assert before - set(tmp_path.iterdir()) == (set() if without_locks else {left})
    assert all((folder / "below/x").read_text() == "content" for folder in (used, *others))


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.skipif(os.name == "nt", reason="locks a file"))])
def without_locks(request, monkeypatch):
    """Whether the file system has no locks, so that nobody knows whether a process is alive."""
    if request.param:
        import fcntl

        def unsupported(*_):
            raise OSError(37, "No locks available")

        monkeypatch.setattr(fcntl, "flock", unsupported)
    return request.param


def test_a_draft_that_another_process_removes_before_it_is_claimed_is_made_again(tmp_path, monkeypatch):
    made = []

    def claimed(folder):
        made.append(folder)
        if len(made) < 3:
            folder.rmdir()
            raise (FileNotFoundError, Claimed)[len(made) - 1]
        return lambda: None

    monkeypatch.setattr(files, "claim", claimed)
    with atomic_folder(tmp_path / "result") as draft:
        assert draft == made[2]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


LONG = ["n" * 255, "n" * 250 + ".json", "é" * 127, "n" * 100 + ".json", "n." + "s" * 253, "n" * 120 + "." + "s" * 134]
LONG += ["n" * 90 + "." + "s" * 50]


@pytest.mark.parametrize("name", LONG, ids=range(len(LONG)))
def test_a_file_may_have_the_longest_name(name, tmp_path):
    target, other = tmp_path / name, tmp_path / f"m{name[1:]}"
    with atomic_path(target) as draft:
        draft.write_text("whole")
        assert is_draft(draft, target)
        assert not is_draft(draft, other)
        assert len(os.fsencode(draft.name)) <= 143  # the longest name in an encrypted home folder
    assert [path.name for path in tmp_path.iterdir()] == [name]
    draft.write_text("half")
    remove_drafts(other)
    assert draft.exists()
    remove_drafts(target)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_place_of_an_atomic_folder_stays(tmp_path):
    (tmp_path / "result").write_text("mine")
    with pytest.raises(NotADirectoryError), atomic_folder(tmp_path / "result"):
        pass
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_arrays_are_built_once(cache):
    built = []

    def build():
        built.append(1)
        return {"x": np.arange(5), "y": np.array([0.5])}

    for _ in range(3):
        arrays = cached_arrays("thing", build)
        np.testing.assert_array_equal(arrays["x"], range(5))
        np.testing.assert_array_equal(arrays["y"], [0.5])
    assert len(built) == 1


@pytest.mark.parametrize("damage", ["flip", "truncate", "no checksum", "no text as checksum"])
def test_a_damaged_cache_is_rebuilt_and_says_so(cache, capsys, damage):
    cached_arrays("thing", lambda: {"x": np.arange(100)})
    path = cache / "thing.npz"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[200] ^= 1
        path.write_bytes(content)
    elif damage == "truncate":
        path.write_bytes(content[:100])
    elif damage == "no text as checksum":
        path.with_suffix(".sha256").write_bytes(b"\xff\xfe\x00")
    else:
        path.with_suffix(".sha256").unlink()
    np.testing.assert_array_equal(cached_arrays("thing", lambda: {"x": np.arange(3)})["x"], range(3))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "damaged: building it again" in said
    np.testing.assert_array_equal(cached_arrays("thing", lambda: {})["x"], range(3))


def test_nothing_is_left_when_building_fails(cache):
    with pytest.raises(InputError):
        cached_arrays("thing", _refuse)
    assert not (cache / "thing.npz").exists()


def _refuse(*_):
    raise InputError("no")


def _mode(path):
    return path.stat().st_mode & 0o777


needs_users = pytest.mark.skipif(not hasattr(os, "getuid"), reason="no file modes on this system")


@needs_users
def test_the_cache_folder_is_made_for_the_user_alone(cache):
    assert files.cache_dir() == cache
    cached_file("compiled/a.so", lambda path: path.write_text("code"))
    assert [_mode(cache), _mode(cache / "compiled")] == [0o700, 0o700]


@needs_users
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_nothing_is_loaded_from_a_folder_that_others_may_write_to(cache, capsys, mode):
    cached_file("a.so", lambda path: path.write_text("planted"))
    cache.chmod(mode)
    files._usable.cache_clear()
    path = cached_file("a.so", lambda path: path.write_text("ours"))
    assert path.read_text() == "ours"
    assert cache not in path.parents
    assert _mode(path.parent) == 0o700
    assert capsys.readouterr().err.count("other users may write to it") == 1


@needs_users
@pytest.mark.parametrize("of", ["folder", "file"])
def test_nothing_is_loaded_that_another_user_owns(cache, capsys, monkeypatch, of):
    cached_file("compiled/a.so", lambda path: path.write_text("planted"))
    planted = cache if of == "folder" else cache / "compiled/a.so"
    lstat = Path.lstat

    def of_another_user(path):
        found = lstat(path)
        return types.SimpleNamespace(st_uid=found.st_uid + (path == planted), st_mode=found.st_mode)

    monkeypatch.setattr(Path, "lstat", of_another_user)
    files._usable.cache_clear()
    assert cached_file("compiled/a.so", lambda path: path.write_text("ours")).read_text() == "ours"
    assert capsys.readouterr().err.count("\n") == 1


def test_a_cache_that_cannot_be_a_folder_is_replaced_with_one_line(tmp_path, monkeypatch, capsys):
    file = tmp_path / "file"
    file.write_text("not a folder")
    for chosen in (str(file), str(file / "below")):
        monkeypatch.setenv("K3TORCH_CACHE", chosen)
        np.testing.assert_array_equal(cached_arrays("thing", lambda: {"x": np.arange(3)})["x"], range(3))
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"the cache folder {chosen} is not used" in said
    assert file.read_text() == "not a folder"


def test_a_read_only_cache_is_replaced_with_one_line(cache, monkeypatch, capsys):
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)  # the superuser may write anywhere
    path = cached_file("a", lambda path: path.write_text("content"))
    assert path.read_text() == "content"
    assert cache not in path.parents
    assert capsys.readouterr().err == f"the cache folder {cache} is not used: it is read-only\n"


def test_a_lock_that_belongs_to_another_user_is_no_end(cache, monkeypatch, capsys):
    acquire = files.FileLock.acquire

    def refused(lock, **arguments):
        if cache in Path(lock.lock_file).parents:
            raise PermissionError(13, "Permission denied", lock.lock_file)
        return acquire(lock, **arguments)

    monkeypatch.setattr(files.FileLock, "acquire", refused)
    np.testing.assert_array_equal(cached_arrays("thing", lambda: {"x": np.arange(3)})["x"], range(3))
    assert capsys.readouterr().err == f"continuing without the cache folder {cache}: Permission denied\n"


def test_a_home_folder_that_is_unknown_is_named(monkeypatch, capsys):
    monkeypatch.setenv("K3TORCH_CACHE", "~no-such-user/x")
    assert files.cache_dir() == files._temporary_dir()
    said = "the cache folder ~no-such-user/x is not used: Could not determine home directory.\n"
    assert capsys.readouterr().err == said


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("K3TORCH_CACHE", "~/x")
    assert files.cache_dir() == tmp_path / "x"


def test_the_temporary_cache_is_deleted_at_exit_if_it_still_exists(monkeypatch, capsys):
    import atexit

    at_exit = []
    monkeypatch.setattr(atexit, "register", lambda function, *args, **named: at_exit.append((function, args, named)))
    files._temporary_dir.cache_clear()
    try:
        folder = files._temporary_dir()
        (folder / "a").write_text("content")
        ((function, args, named),) = at_exit
        for _ in range(2):
            function(*args, **named)
            assert not folder.exists()
    finally:
        files._temporary_dir.cache_clear()


def test_a_directory_in_place_of_a_file_is_no_end(cache, capsys):
    (cache / "thing.npz").mkdir(parents=True)
    np.testing.assert_array_equal(cached_arrays("thing", lambda: {"x": np.arange(3)})["x"], range(3))
    assert "continuing without the cache folder" in capsys.readouterr().err
    assert (cache / "thing.npz").is_dir()


def test_a_full_disk_is_no_end(cache, capsys):
    tries = []

    def write(path):
        tries.append(path)
        if len(tries) == 1:
            raise OSError(28, "No space left on device")
        path.write_text("content")

    assert cached_file("a", write).read_text() == "content"
    assert capsys.readouterr().err == f"continuing without the cache folder {cache}: No space left on device\n"


@pytest.mark.parametrize(("error", "reason"), [(OSError("first\nsecond"), "first"), (OSError(), "OSError")])
def test_the_reason_is_the_first_line_of_the_error_or_its_kind(cache, capsys, error, reason):
    errors = [error]

    def write(path):
        if errors:
            raise errors.pop()
        path.write_text("content")

    cached_file("a", write)
    assert capsys.readouterr().err == f"continuing without the cache folder {cache}: {reason}\n"


def test_a_held_lock_is_mentioned_and_given_up(cache, capsys, monkeypatch):
    monkeypatch.setattr(files, "LOCK_NOTICE", 0.01)
    monkeypatch.setattr(files, "LOCK_TIMEOUT", 0.05)
    cache.mkdir()
    with files.FileLock(cache / "a.lock"):
        path = cached_file("a.txt", lambda path: path.write_text("content"))
    assert path.read_text() == "content"
    assert cache not in path.parents
    waiting, without = capsys.readouterr().err.splitlines()
    assert waiting == f"waiting for another process, which holds {cache / 'a.lock'}"
    assert "continuing without the cache folder" in without


def test_drafts_of_killed_processes_are_removed(cache):
    cache.mkdir()
    (cache / ".a-killed00.txt").write_text("half")
    (cache / ".b-killed00.txt").write_text("of another file")
    cached_file("a.txt", lambda path: path.write_text("content"))
    assert sorted(path.name for path in cache.glob(".*")) == [".b-killed00.txt"]


def test_the_compiler_gets_a_cache_folder_inside_ours(cache, monkeypatch):
    for before, after in (
        (None, cache / "inductor"),
        (str(Path(files.tempfile.gettempdir(), "torchinductor_somebody")), cache / "inductor"),
        ("/chosen/by/the/user", Path("/chosen/by/the/user")),
    ):
        if before is None:
            monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        else:
            monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", before)
        files.private_compiler_cache()
        assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]) == after


def test_a_draft_is_beside_its_target(tmp_path):
    """A rename between file systems would copy, and so be no longer atomic."""
    with files.atomic_path(tmp_path / "a" / "model.keras") as draft:
        assert draft.parent == tmp_path / "a"
        assert draft.suffix == ".keras"
        draft.write_text("whole")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["model.keras"]


def test_drafts_are_told_from_files_of_the_user(tmp_path):
    target = tmp_path / "model.keras"
    drafts = [tmp_path / name for name in (".model-abcd_123.keras", ".model-abcdefgh.keras")]
    mine = "model.keras .model-mine.keras .model-abcdefgh.json .other-abcdefgh.keras .model-ABCDEFGH.keras"
    others = [tmp_path / name for name in mine.split()]
    for path in drafts + others:
        path.write_text("")
    (tmp_path / ".model-linklink.keras").symlink_to(target)
    assert [is_draft(path, target) for path in drafts + others] == [True] * 2 + [False] * 5
    remove_drafts(target)
    assert set(tmp_path.iterdir()) == {*others, tmp_path / ".model-linklink.keras"}
    remove_drafts(tmp_path / "missing" / "x")


def test_a_durable_file_is_flushed_before_it_has_its_name_and_its_folder_after(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: events.append(os.fstat(descriptor).st_ino))
    with atomic_path(tmp_path / "a", durable=True) as draft:
        draft.write_text("content")
    assert events == [(tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino]
    with atomic_path(tmp_path / "b") as draft:
        draft.write_text("content")
    assert len(events) == 2


def test_temporary_caches_of_killed_processes_are_removed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("K3TORCH_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    names = {"left": "k3torch-cache-aaaaaaaa", "used": "k3torch-cache-bbbbbbbb", "mine": "k3torch-cache-of-mine"}
    folders = {key: tmp_path / name for key, name in names.items()}
    for folder in folders.values():
        folder.mkdir(mode=0o700)
        (folder / "x").write_text("")
    end = claim(folders["used"])
    files._temporary_dir.cache_clear()
    files._usable.cache_clear()
    made = files.cache_dir()
    files._temporary_dir.cache_clear()
    files._usable.cache_clear()
    end()
    assert is_claimed(made)
    assert {key for key, folder in folders.items() if folder.exists()} == {"used", "mine"}


def test_arrays_are_built_where_no_file_can_be_written(cache, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.tempfile, "mkstemp", full)
    found = files.cached_arrays("thing", lambda: {"a": np.arange(3)})
    assert found["a"].tolist() == [0, 1, 2]
    assert capsys.readouterr().err.splitlines() == [
        f"continuing without the cache folder {cache}: No space left on device",
        "continuing without any cache: No space left on device",
    ]
