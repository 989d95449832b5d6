"""The manifest: what is deleted, what is kept, and which manifests are not believed."""

import json

from k3torch.errors import InputError
from k3torch.reports.manifest import Manifest
import pytest


def write(folder, content):
    (folder / "manifest.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_it_lists_a_file_before_it_is_written_and_drops_those_that_never_were(tmp_path):
    manifest = Manifest(tmp_path)
    assert manifest.add("a.txt") == tmp_path / "a.txt"
    manifest.add("b.txt").write_text("b")
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"files": ["a.txt", "b.txt"]}
    manifest.close()
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"files": ["b.txt"]}


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a", "a/../../b", "", ".", "C:/a", "C:a", "\\\\server\\a", "a\\..\\b", "a\0"]
)
def test_names_that_lead_out_are_refused_and_a_manifest_with_one_is_not_believed(tmp_path, name):
    with pytest.raises(InputError, match="expected a file name inside"):
        Manifest(tmp_path).add(name)
    (tmp_path / "a.txt").write_text("mine")
    write(tmp_path, {"files": ["a.txt", name]})
    Manifest(tmp_path).delete_earlier_files()
    assert (tmp_path / "a.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", "[" * 100_000, {}, {"files": "a.txt"}, {"files": [3]}, {"files": {"a.txt": 1}}, "\ud800"],
)
def test_without_a_valid_manifest_nothing_is_deleted_and_the_file_is_kept(tmp_path, content):
    (tmp_path / "a.txt").write_text("mine")
    if content == "\ud800":
        (tmp_path / "manifest.json").write_bytes(b"\xff\xfe")
    else:
        write(tmp_path, content)
    before = (tmp_path / "manifest.json").read_bytes()
    manifest = Manifest(tmp_path)
    manifest.delete_earlier_files()
    assert (tmp_path / "a.txt").read_text() == "mine"
    manifest.add("b.txt")
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
    write(folder, {"files": ["sub/a.txt", "b.txt"]})

    manifest = Manifest(folder)
    manifest.delete_earlier_files()
    assert (folder / "b.txt").is_symlink()
    manifest.add("sub/a.txt").write_text("the run's")
    manifest.add("b.txt").write_text("the run's")
    assert {(outside / name).read_text() for name in ("a.txt", "b.txt")} == {"mine"}
    assert (folder / "sub.bak").readlink() == outside


def test_folders_that_become_empty_are_removed_and_others_stay(tmp_path):
    for name in ("one/two/a.txt", "three/b.txt", "three/mine.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    write(tmp_path, {"files": ["one/two/a.txt", "three/b.txt"]})
    Manifest(tmp_path).delete_earlier_files()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine.txt", "three"]
