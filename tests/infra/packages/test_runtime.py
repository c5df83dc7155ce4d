"""Which packages are the product's, and which its development's."""

from infra.packages.runtime import is_runtime, read_runtime_pins


def test_the_lock_says_what_the_product_runs_with() -> None:
    pins = read_runtime_pins()
    assert is_runtime("Torch", pins)
    assert is_runtime("typing_extensions", pins)
    assert is_runtime("nvidia-cublas-cu13", pins)
    assert not is_runtime("pytest", pins)
