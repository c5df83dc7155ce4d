"""Two ranks that divide the heads between them give the same texts, and both hold and drop the same artifacts."""

from collections.abc import Callable

from engines import Served, make_ids
from tiny_models import Model


def test_texts_and_orders_with_two_ranks(make_tiny: Callable[[str], Model], start: Callable[..., Served]) -> None:
    served = start(make_tiny("llama"), tensor_parallel_size=2, distributed_executor_backend="mp")
    artifacts = [served.write(length, length) for length in (1, 5, 31, 33, 64)]
    asked = [served.ask(one, make_ids(12, one.length)) for one in artifacts]
    damaged = served.write(5, 99)
    (served.store / damaged.sha256 / "prefix.safetensors").write_bytes(b"")
    served.check(*asked, served.ask(damaged, make_ids(9, 1), fails=True), served.ask(None, make_ids(9, 1)))
    assert served.order(drop=[artifacts[3].sha256]) == {"dropped": 1}
    served.check(*asked)
