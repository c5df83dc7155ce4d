"""Find the decoding with which a version was judged: a text is generated with it unless another is asked for.

Knows the tags of versions and the section `evaluate`; does not know requests.
"""

import json
import logging
from functools import lru_cache

from pydantic import ValidationError

from components.config import EvaluateConfig, Params
from components.registry.mlflow.versions import DECODING_TAG, Version

_CACHED_TAGS = 4096
_LOGGER_NAME = "prefixfleet"


def find_judged_decoding(version: Version, params: Params) -> EvaluateConfig:
    """Return the decoding in the version's tag; that of the tenant's `evaluate` section if it has none.

    `params` are the tenant's.
    """
    tag = version.tags.get(DECODING_TAG, "")
    return (_read_tag(version.tenant, tag) if tag else None) or params.evaluate


def compute_default_max_tokens(version: Version, params: Params) -> int:
    """Return the limit of an answer, in tokens, if the request has none; `params` are the tenant's."""
    return min(find_judged_decoding(version, params).max_new_tokens, params.access.max_tokens)


@lru_cache(_CACHED_TAGS)
def _read_tag(tenant: str, tag: str) -> EvaluateConfig | None:
    try:
        return EvaluateConfig.model_validate(json.loads(tag))
    except (ValueError, ValidationError) as problem:
        message = "%s: the tag %s of a version is no decoding; the section evaluate is used: %s"
        logging.getLogger(_LOGGER_NAME).warning(message, tenant, DECODING_TAG, problem)
        return None
