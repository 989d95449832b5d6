"""Serve the model of a run as a web page and a JSON API.

    k3torch serve runs/imdb-TIME
    k3torch serve runs/boston-TIME --port 8001
    curl http://127.0.0.1:8000/predict --json '{"texts": ["A wonderful film."]}'
    curl http://127.0.0.1:8001/table --data-binary @new.csv

RUN is a folder of train-imdb, kfold-boston, kfold-table or search-boston. The page takes a review, and shows its
probability and the words that changed it most, or takes a table, and shows the predictions. Only this computer reaches
the page, unless --host says otherwise; there is no password. The server keeps nothing that it receives. Ctrl-C ends it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from k3torch import cli
from k3torch.options import Device, shown_as
import tyro


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    run: tyro.conf.Positional[Annotated[Path, shown_as("RUN")]]
    """A run folder."""
    port: Annotated[int, shown_as("N")] = 8000
    """Where the page is: http://127.0.0.1:8000."""
    host: str = "127.0.0.1"
    """The address to listen at. 0.0.0.0 lets every computer of the network in."""
    device: Device = "auto"
    """auto is cuda where there is a GPU, else cpu."""


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from importlib.util import find_spec
import ipaddress
import socket

from k3torch import runtime
from k3torch.errors import InputError
from k3torch.files import reason_of

MAX_CONNECTIONS = 512  # at once; further ones are answered 503


def main(settings: Settings) -> None:
    """Load the model and answer requests until Ctrl-C."""
    if missing := [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]:
        raise InputError(f"expected {' and '.join(missing)}, found none: pip install 'k3torch[serve]'")
    from k3torch.serving.app import make_app
    import uvicorn

    listening = listen(settings.host, settings.port)
    runtime.configure(settings.device)
    six = ":" in settings.host  # an IPv6 address; Starlette's check of host names knows none
    here = is_loopback(settings.host) and not six
    app = make_app(settings.run, ("127.0.0.1", "localhost") if here else ("*",))
    print(f"http://{f'[{settings.host}]' if six else settings.host}:{settings.port} (Ctrl-C ends)", flush=True)
    configuration = uvicorn.Config(
        app, log_level="warning", limit_concurrency=MAX_CONNECTIONS, timeout_keep_alive=5, server_header=False
    )
    with listening:
        uvicorn.Server(configuration).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the address.

    Raises:
        InputError: for an address that cannot be used.
    """
    if not 0 < port < 2**16:
        raise InputError(f"expected port as a number from 1 to {2**16 - 1}, got {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"expected to listen at {host}:{port}, got: {reason_of(error)}: give another --host or --port"
        ) from error
    return listening


def is_loopback(host: str) -> bool:
    """Return whether only this computer reaches the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    cli.run(main, SETTINGS)
