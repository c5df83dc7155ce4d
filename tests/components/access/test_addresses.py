import socket

from components.access.addresses import listen
from components.config.serve import ListenConfig


def test_connections_send_small_parts_at_once():
    with listen(ListenConfig(port=0)) as (listener, url), socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert url == f"http://127.0.0.1:{listener.getsockname()[1]}"
