import hashlib
import http.server
import itertools
import threading
import types

from k3torch import downloads
from k3torch.downloads import download
from k3torch.errors import InputError
import pytest


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
    monkeypatch.setattr(downloads, "time", ten_seconds_a_look)
    with pytest.raises(InputError, match="within 5 s, got Timeout"):
        download(f"{server}/good", tmp_path / "file", "sha256:" + "0" * 64, 5)
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "file.lock"])


def test_a_target_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the place of a folder")
    target = tmp_path / "file" / "below"
    with pytest.raises(InputError, match=f"^expected to write {target}, got: (File exists|Not a directory)$"):
        download("http://127.0.0.1:9/nobody", target, "sha256:" + "0" * 64, 1)
