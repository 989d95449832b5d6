"""Downloads, limited in time and compared with a checksum."""

from collections.abc import Callable
from pathlib import Path
import time

from k3torch.errors import InputError
from k3torch.files import locked, reason_of


def download(url: str, target: Path, checksum: str, deadline: float) -> Path:
    """Download ``url`` to ``target`` unless that file is there already, and return ``target``.

    Args:
        url: address of the file.
        target: where it is written, atomically.
        checksum: ``"sha256:..."`` or ``"md5:..."``; an existing file is compared with it as well.
        deadline: seconds that the whole download may take.

    Raises:
        InputError: if the download fails or takes too long, or the file has another checksum.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # the caller reports what happens
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_suffix(".lock")):
            pooch.retrieve(url, checksum, fname=target.name, path=target.parent, downloader=_downloader(deadline))
    except requests.RequestException as error:
        raise InputError(
            f"expected to download {url} within {deadline:g} s, got {type(error).__name__}: "
            "check the network, or give a local file"
        ) from error
    except OSError as error:
        raise InputError(f"expected to write {target}, got: {reason_of(error)}") from error
    except ValueError as error:  # pooch raises it for a wrong checksum
        raise InputError(f"expected {url} to match its checksum, but it does not: try again later") from error
    return target


def _downloader(deadline: float) -> Callable[..., None]:
    """Return a downloader for pooch that limits the time of the whole download, not only of each silence."""
    import requests

    def fetch(url: str, output_file: str, _: object) -> None:
        end = time.monotonic() + deadline
        with requests.get(url, stream=True, timeout=deadline) as answer, Path(output_file).open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_content(chunk_size=1 << 16):
                file.write(chunk)
                if time.monotonic() > end:
                    raise requests.Timeout(f"not done after {deadline:g} s")

    return fetch
