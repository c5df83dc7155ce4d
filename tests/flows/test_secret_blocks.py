"""Secrets in blocks of a real Prefect server."""

import pytest

from components.errors import ConfigError
from flows.secret_blocks import read_secret_block


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_secret_is_read_and_a_missing_block_is_named():
    from prefect.blocks.system import Secret

    Secret(value="json://host/path").save("ops-url", overwrite=True)
    assert read_secret_block("ops-url") == "json://host/path"
    with pytest.raises(ConfigError, match="the block missing of type Secret in Prefect"):
        read_secret_block("missing")
