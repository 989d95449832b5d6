"""The manifest: what is deleted, what is kept, and which manifests are not believed."""

import json
from pathlib import Path

from k3torch import __version__
from k3torch.errors import InputError
from k3torch.reports.manifest import EARLIER, Manifest
import pytest

MARKS = {"written_by": "k3torch", "version": "1.0"}


def write(folder, content):
    (folder / "manifest.json").write_text(content if isinstance(content, str) else json.dumps(content))


def replace_earlier(folder):
    """Delete what the manifest in ``folder`` lists, as a run does that ends well."""
    manifest = Manifest(folder)
    manifest.set_earlier_aside()
    manifest.close()


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_it_lists_a_file_before_it_is_written_and_drops_those_that_never_were(tmp_path):
    manifest = Manifest(tmp_path)
    assert manifest.add("a.txt") == tmp_path / "a.txt"
    manifest.add("b.txt").write_text("b")
    marks = {"written_by": "k3torch", "version": __version__}
    assert json.loads((tmp_path / "manifest.json").read_text()) == {**marks, "files": ["a.txt", "b.txt"]}
    manifest.close()
    assert json.loads((tmp_path / "manifest.json").read_text()) == {**marks, "files": ["b.txt"]}


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a", "a/../../b", "", ".", "C:/a", "C:a", "\\\\server\\a", "a\\..\\b", "a\0"]
)
def test_names_that_lead_out_are_refused_and_a_manifest_with_one_is_not_believed(tmp_path, name):
    with pytest.raises(InputError, match="expected a file name inside"):
        Manifest(tmp_path).add(name)
    (tmp_path / "a.txt").write_text("mine")
    write(tmp_path, {**MARKS, "files": ["a.txt", name]})
    replace_earlier(tmp_path)
    assert (tmp_path / "a.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "3", "[" * 100_000, "\ud800", {}, MARKS, *({**MARKS, "files": f} for f in ("a.txt", [3], [{}])),
        {**MARKS, "files": {"a.txt": 1}}, {"files": ["a.txt"]}, {"name": "app", "files": ["a.txt"]},
        {"version": "1.0", "files": ["a.txt"]}, {"written_by": "k3torch", "files": ["a.txt"]},
        {"written_by": "k3torch", "version": 1, "files": ["a.txt"]},
    ],
)  # fmt: skip
def test_without_a_valid_manifest_nothing_is_deleted_and_the_file_is_kept(tmp_path, content):
    (tmp_path / "a.txt").write_text("mine")
    if content == "\ud800":
        (tmp_path / "manifest.json").write_bytes(b"\xff\xfe")
    else:
        write(tmp_path, content)
    before = (tmp_path / "manifest.json").read_bytes()
    manifest = Manifest(tmp_path)
    manifest.set_earlier_aside()
    assert (tmp_path / "a.txt").read_text() == "mine"
    manifest.add("b.txt")
    manifest.close()
    assert (tmp_path / "a.txt").read_text() == "mine"
    assert (tmp_path / "manifest.json.bak").read_bytes() == before


def test_a_file_of_the_users_in_the_place_of_a_runs_is_renamed(tmp_path, capsys):
    for name in ("loss.png", "loss.png.bak"):
        (tmp_path / name).write_text(f"my {name}")
    Manifest(tmp_path).add("loss.png").write_text("the run's")
    assert (tmp_path / "loss.png.bak2").read_text() == "my loss.png"
    assert (tmp_path / "loss.png.bak").read_text() == "my loss.png.bak"
    assert capsys.readouterr().err == f"{tmp_path / 'loss.png'} was not written by a run: renamed to loss.png.bak2\n"


def test_links_are_never_followed(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (outside / name).write_text("mine")
    (folder / "sub").symlink_to(outside)
    (folder / "b.txt").symlink_to(outside / "b.txt")
    write(folder, {**MARKS, "files": ["sub/a.txt", "b.txt"]})

    manifest = Manifest(folder)
    manifest.set_earlier_aside()
    assert (folder / "b.txt").is_symlink()
    manifest.add("sub/a.txt").write_text("the run's")
    manifest.add("b.txt").write_text("the run's")
    assert {(outside / name).read_text() for name in ("a.txt", "b.txt")} == {"mine"}
    assert (folder / "sub.bak").readlink() == outside


def test_folders_that_become_empty_are_removed_and_others_stay(tmp_path):
    for name in ("one/two/a.txt", "three/b.txt", "three/mine.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    write(tmp_path, {**MARKS, "files": ["one/two/a.txt", "three/b.txt"]})
    replace_earlier(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["manifest.json", "mine.txt", "three"]


def test_undo_gives_every_file_its_place_back(tmp_path, capsys):
    (tmp_path / "sub").mkdir()
    for name in ("sub/a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text("old")
    write(tmp_path, {**MARKS, "files": ["sub/a.txt", "b.txt"]})  # c.txt is the user's
    before = tree(tmp_path)
    manifest = Manifest(tmp_path)
    manifest.set_earlier_aside()
    for name in ("sub/a.txt", "b.txt", "c.txt", "d.txt"):
        manifest.add(name).write_text("new")
    manifest.undo()
    assert tree(tmp_path) == before
    assert not list(tmp_path.glob(f"{EARLIER}*"))
    assert capsys.readouterr().err.endswith(f"{tmp_path / 'c.txt.bak'} renamed back to c.txt\n")


class Killed(BaseException):
    """Stands for a kill."""


def run_once(folder, refused):
    manifest = Manifest(folder)
    manifest.set_earlier_aside()
    for name in ("config.json", "sub/a.txt", "b.txt", "e.txt"):
        manifest.add(name).write_text("new")
    if refused:
        manifest.undo()
    else:
        manifest.close()


@pytest.fixture
def kill_after(monkeypatch):
    """A function: raise Killed instead of the change of the disk that follows ``changes`` others; None: never."""
    allowed = [None]

    def counted(change):
        def call(*arguments, **options):
            if allowed[0] is not None:
                allowed[0] -= 1
                if allowed[0] < 0:
                    raise Killed
            return change(*arguments, **options)

        return call

    for name in ("rename", "replace", "unlink", "mkdir", "rmdir"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    return lambda changes: allowed.__setitem__(0, changes)


@pytest.mark.parametrize("refused", [True, False])
def test_a_kill_at_any_moment_loses_nothing_that_a_run_was_not_to_replace(tmp_path, kill_after, refused):
    mine, old = {"sub/mine.txt": "mine", "c.txt": "mine"}, {"sub/a.txt": "old", "b.txt": "old"}
    for changes in range(200):
        kill_after(None)
        folder = tmp_path / str(changes)
        (folder / "sub").mkdir(parents=True)
        for name, content in {**mine, **old}.items():
            (folder / name).write_text(content)
        write(folder, {**MARKS, "files": list(old)})
        kill_after(changes)
        killed = False
        try:
            run_once(folder, refused)
        except Killed:
            killed = True
        kill_after(None)
        run_once(folder, refused=True)  # the next run is refused: the folder shows the results of a run
        found = tree(folder)
        shown = {name: text for name, text in found.items() if text in ("old", "new") and not name.startswith(".")}
        assert shown == old or "new" in shown.values(), changes
        if refused:
            assert list(found.values()).count("old") == len(old), changes
        run_once(folder, refused=False)  # and one that ends well leaves its own files and those of the user
        drafts = {path.relative_to(folder).as_posix() for path in folder.glob(".manifest-*")}
        expected = {**mine, **dict.fromkeys(("config.json", "sub/a.txt", "b.txt", "e.txt"), "new")}
        final = {name: text for name, text in tree(folder).items() if name not in {*drafts, "manifest.json"}}
        assert final == expected, changes
        if not killed:
            break
    assert not killed
    assert changes > 15
