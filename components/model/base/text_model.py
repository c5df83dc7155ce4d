"""Take the language model out of a multimodal model, so that the rest of it needs no memory and has no effect.

Knows transformers' classes of text models by the config of the text model; does not know the name of any model.
"""

from typing import Any

import torch

from components.errors import BaseModelError
from components.model.base.attention_sites import differ_beyond_rounding
from components.model.base.text_config import find_text_configs

_PROBE_TOKENS = 3
_FIX = "load it with transformers, save its text model alone, and set base.path to that folder"


def load_model(config: Any, folder: Any, **options: Any) -> tuple[Any, Any]:
    """Return a folder's whole generative model, and transformers' loading report; `options` of `from_pretrained`."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForSeq2SeqLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and (
        _has_own_text_config(config) or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING
    ):
        auto = AutoModelForImageTextToText
    model, report = auto.from_pretrained(folder, config=config, output_loading_info=True, **options)
    return model, report


@torch.no_grad()
def take_text_model(model: Any, path: str) -> Any:
    """Return the model of text alone, which shares the weights of `model`; a model of text alone is returned itself.

    Raises:
        BaseModelError: transformers has no class for the text model, or it computes something else alone.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    text_config = find_text_configs(model.config)[0]
    if model.config.is_encoder_decoder or not _has_own_text_config(model.config):
        return model
    got = f"{path} ({text_config.model_type} in {model.config.model_type})"
    if type(text_config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise BaseModelError("a model of text alone", got, _FIX)
    text = _find_or_join(model, MODEL_FOR_CAUSAL_LM_MAPPING[type(text_config)], text_config)
    if text is None or any(tensor.is_meta for tensor in text.state_dict().values()):
        raise BaseModelError("a model of text alone", got, _FIX)
    text.generation_config = model.generation_config
    text.eval()
    ids_BT = torch.arange(_PROBE_TOKENS, device=model.device)[None]
    whole = model.eval()(input_ids=ids_BT, use_cache=False).logits.float()
    if differ_beyond_rounding(text(input_ids=ids_BT, use_cache=False).logits.float(), whole, text):
        raise BaseModelError("a text model that computes the same alone", got, _FIX)
    return text


def _find_or_join(model: Any, kind: Any, text_config: Any) -> Any:
    """Return the part of `model` of this class, or one made of its decoder and output layer; None: there is none."""
    for part in model.modules():
        if type(part) is kind:
            return part
    with torch.device("meta"):
        text = kind(text_config)
    pairs = (
        (text.get_decoder(), model.get_decoder()),
        (text.get_output_embeddings(), model.get_output_embeddings()),
    )
    for part, own in pairs:
        name = next((name for name, child in text.named_children() if child is part), None)
        if name is None or type(part) is not type(own):
            return None
        setattr(text, name, own)
    return text


def _has_own_text_config(config: Any) -> bool:
    return find_text_configs(config)[0] is not config
