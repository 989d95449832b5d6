import hashlib
import http.server
import itertools
import threading
import types

from k3torch import files as cache_module
from k3torch.errors import InputError
from k3torch.files import atomic_path, cached_arrays, download
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


@pytest.mark.parametrize("damage", ["flip", "truncate", "no seal"])
def test_a_damaged_cache_is_rebuilt_and_says_so(cache, capsys, damage):
    cached_arrays("thing", lambda: {"x": np.arange(100)})
    path = cache / "thing.npz"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[200] ^= 1
        path.write_bytes(content)
    elif damage == "truncate":
        path.write_bytes(content[:100])
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


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/good" else 404)
            self.end_headers()
            self.wfile.write(b"content")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_download_holds_to_the_checksum_and_fetches_once(tmp_path, server):
    good = "sha256:" + hashlib.sha256(b"content").hexdigest()
    path = download(f"{server}/good", tmp_path / "file", good, 5)
    assert path.read_bytes() == b"content"
    assert download("http://127.0.0.1:9/nobody", path, good, 1) == path


def test_a_failed_download_leaves_no_file(tmp_path, server):
    with pytest.raises(InputError, match="does not"):
        download(f"{server}/good", tmp_path / "file", "sha256:" + "0" * 64, 5)
    with pytest.raises(InputError, match="HTTPError"):
        download(f"{server}/missing", tmp_path / "file", "sha256:" + "0" * 64, 5)
    with pytest.raises(InputError, match="ConnectionError"):
        download("http://127.0.0.1:9/nobody", tmp_path / "file", "sha256:" + "0" * 64, 1)
    assert not (tmp_path / "file").exists()


def test_a_download_that_trickles_past_its_deadline_leaves_no_file(tmp_path, server, monkeypatch):
    ten_seconds_a_look = types.SimpleNamespace(monotonic=itertools.count(0, 10).__next__)
    monkeypatch.setattr(cache_module, "time", ten_seconds_a_look)
    with pytest.raises(InputError, match="within 5 s, got Timeout"):
        download(f"{server}/good", tmp_path / "file", "sha256:" + "0" * 64, 5)
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "file.lock"])
