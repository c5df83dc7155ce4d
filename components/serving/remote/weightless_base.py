"""A base without its weights: what encodes texts and checks artifacts in a server whose engines run elsewhere.

Knows how a base is loaded; does not know engines.
"""

from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.load import Base, load_base


def load_weightless_base(config: BaseConfig) -> Base:
    """Load a base on the CPU, note the shape of its prefixes, and drop its weights.

    Raises:
        BaseModelError: the base is refused; or it is one that a remote engine cannot serve.
    """
    if config.quantize is not None:
        fix = "leave base.quantize out, and name a folder that is quantised already; or set serve.engine: local"
        raise BaseModelError("a base that the engine loads as its folder has it", f"quantize: {config.quantize}", fix)
    base = load_base(config, device="cpu")
    if base.is_encoder_decoder:
        got = f"{type(base.model).__name__}, an encoder-decoder base"
        raise BaseModelError("a decoder-only base", got, "set serve.engine: local")
    _ = base.shape  # is found by a forward, which needs the weights
    base.model.to("meta")
    return base
