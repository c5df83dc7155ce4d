"""The process of a local Prefect server: `python -m flows.server_process FD`, started by `local_server`.

FD is a listening socket. The process ends when its standard input closes, which happens when its parent ends.
"""

import os
import signal
import socket
import sys
import threading

from flows.quick_imports import import_without_collections


def main(descriptor: int) -> None:
    """Serve until SIGTERM or the end of standard input."""
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    with import_without_collections():
        import uvicorn
        from prefect.server.api.server import create_app

    config = uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on", access_log=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def _stop_at_end_of_input() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(int(sys.argv[1]))
