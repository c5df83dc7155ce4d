"""The registry of architectures that the tests show to work: each with a tiny configuration.

docs/bases.md has its table from here. Adding an architecture means adding an entry; the parametrised tests take it.
"""

from dataclasses import dataclass, field
from typing import Any

EOS, PAD, CONTEXT, VOCABULARY = 0, 1, 64, 67
WINDOW = 4
"""Of windows and chunks, in tokens: shorter than the rows of the tests."""


@dataclass(frozen=True)
class Architecture:
    """One architecture."""

    config: str
    """The class of its config in transformers."""
    name: str
    """Its name in the docs."""
    attention: str
    """Its attention, in the docs."""
    sizes: dict[str, Any] = field(repr=False)


_COMMON = {"vocab_size": VOCABULARY, "bos_token_id": EOS, "eos_token_id": EOS, "pad_token_id": PAD}
_PLAIN = {**_COMMON, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
_WIDE = {"initializer_range": 0.2, "max_position_embeddings": CONTEXT}
_GROUPED = {**_PLAIN, **_WIDE, "num_key_value_heads": 2, "intermediate_size": 48}
_SIZED = {**_GROUPED, "head_dim": 8}
_MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 4}
"""Every token goes to all experts: where it goes to some, rounding in 16 bits decides to which."""
_ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 4, "moe_intermediate_size": 16, "n_shared_experts": 1}
_ROUTED |= {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
_LATENT = {**_GROUPED, **_ROUTED, "num_key_value_heads": 4, "q_lora_rank": 8, "kv_lora_rank": 8}
_LATENT |= {"qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 12}
_FOUR = {**_SIZED, "num_hidden_layers": 4, "layer_types": _MIXED["layer_types"] * 2, "sliding_window": WINDOW}
_FOUR |= {"num_kv_shared_layers": 2, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY}
_GEMMA_3N = {**_FOUR, "intermediate_size": [48] * 4, "laurel_rank": 4, "altup_num_inputs": 2}
_GEMMA_3N |= {"activation_sparsity_pattern": [0.0] * 4}
_LINEAR = {**_SIZED, "layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2}
_LINEAR |= {"linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
_NEXT = {"num_experts": 4, "num_experts_per_tok": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
_NEMOTRON = {"layers_block_type": ["mamba", "attention", "mlp"], "mamba_num_heads": 4, "mamba_head_dim": 8}
_NEMOTRON |= {"num_hidden_layers": 3, "ssm_state_size": 8, "n_groups": 1, "chunk_size": 8}
_JAMBA = {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1}
_JAMBA |= {"num_experts": 4, "num_experts_per_tok": 4, "mamba_d_state": 8, "mamba_dt_rank": 4}
_OPT = {"ffn_dim": 48, "word_embed_proj_dim": 16, "init_std": 0.2, "max_position_embeddings": CONTEXT}
_GPT2 = {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": CONTEXT, "initializer_range": 0.2}
_PAIR = {**_COMMON, "decoder_start_token_id": PAD, "forced_eos_token_id": None}
_BART = {**_PAIR, "d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "init_std": 0.2}
_BART |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
_BART |= {"max_position_embeddings": CONTEXT}
_T5 = {**_PAIR, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_LLAMA4 = {"attention_chunk_size": WINDOW, "layer_types": ["chunked_attention", "full_attention"]}
_LLAMA4 |= {"no_rope_layers": [1, 0], "intermediate_size_mlp": 48, "moe_layers": []}

FULL, WINDOWS, ALL_WINDOWS = "full", "full and sliding windows", "sliding windows"
LATENT, HYBRID = "latent (slots are expanded keys and values)", "full (with slots) and"
DECODERS = {
    "gpt2": Architecture("GPT2Config", "GPT-2", FULL, {**_COMMON, **_GPT2}),
    "llama": Architecture("LlamaConfig", "Llama 1 to 3", FULL, _GROUPED),
    "qwen2": Architecture("Qwen2Config", "Qwen 2", FULL, _GROUPED),
    "opt": Architecture("OPTConfig", "OPT", FULL, {**_PLAIN, **_OPT}),
    "gpt_neox": Architecture("GPTNeoXConfig", "GPT-NeoX, Pythia", FULL, {**_PLAIN, **_WIDE, "intermediate_size": 48}),
}
"""Decoder-only models with full attention in every layer."""
PAIRS = {
    "bart": Architecture("BartConfig", "BART", FULL, _BART),
    "t5": Architecture("T5Config", "T5", FULL, _T5),
    "mbart": Architecture("MBartConfig", "mBART", FULL, _BART),
    "marian": Architecture("MarianConfig", "Marian", FULL, _BART),
    "pegasus": Architecture("PegasusConfig", "Pegasus", FULL, _BART),
    "mt5": Architecture("MT5Config", "mT5", FULL, _T5),
}
"""Encoder-decoder models."""
RECENT = {
    "gemma2": Architecture(
        "Gemma2Config",
        "Gemma 2",
        f"{WINDOWS}, soft-capped scores",
        {**_SIZED, **_MIXED, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 3.0},
    ),
    "gemma3_text": Architecture(
        "Gemma3TextConfig", "Gemma 3", WINDOWS, {**_SIZED, **_MIXED, "query_pre_attn_scalar": 8}
    ),
    "gpt_oss": Architecture("GptOssConfig", "gpt-oss", f"{WINDOWS}, learned sinks", {**_SIZED, **_MIXED, **_EXPERTS}),
    "olmo3": Architecture("Olmo3Config", "OLMo 3", WINDOWS, {**_GROUPED, **_MIXED}),
    "cohere2": Architecture("Cohere2Config", "Cohere 2 (Command R7B, A)", WINDOWS, {**_SIZED, **_MIXED}),
    "exaone4": Architecture("Exaone4Config", "EXAONE 4", WINDOWS, {**_SIZED, **_MIXED}),
    "mistral": Architecture("MistralConfig", "Mistral", ALL_WINDOWS, {**_SIZED, "sliding_window": WINDOW}),
    "ministral": Architecture("MinistralConfig", "Ministral", WINDOWS, {**_SIZED, **_MIXED}),
    "phi3": Architecture("Phi3Config", "Phi-3", ALL_WINDOWS, {**_GROUPED, "sliding_window": WINDOW}),
    "qwen2_windows": Architecture(
        "Qwen2Config",
        "Qwen 2 with a window",
        WINDOWS,
        {**_GROUPED, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "llama4_text": Architecture("Llama4TextConfig", "Llama 4", "full and chunks", {**_SIZED, **_LLAMA4}),
    "gemma3n_text": Architecture(
        "Gemma3nTextConfig", "Gemma 3n", f"{WINDOWS}, layers that share keys and values", _GEMMA_3N
    ),
    "gemma4_text": Architecture(
        "Gemma4TextConfig",
        "Gemma 4",
        f"{WINDOWS} of different head sizes, layers that share keys and values",
        {**_FOUR, "global_head_dim": 16},
    ),
    "deepseek_v2": Architecture("DeepseekV2Config", "DeepSeek V2", LATENT, _LATENT),
    "deepseek_v3": Architecture("DeepseekV3Config", "DeepSeek V3, R1, Kimi K2", LATENT, _LATENT),
    "glm4_moe_lite": Architecture("Glm4MoeLiteConfig", "GLM-4.7 Flash", LATENT, _LATENT),
    "qwen3_next": Architecture("Qwen3NextConfig", "Qwen3-Next", f"{HYBRID} linear attention", {**_LINEAR, **_NEXT}),
    "qwen3_5_text": Architecture("Qwen3_5TextConfig", "Qwen 3.5", f"{HYBRID} linear attention", _LINEAR),
    "falcon_h1": Architecture(
        "FalconH1Config", "Falcon-H1", f"{HYBRID} Mamba 2", {**_SIZED, **_MAMBA, "mamba_d_ssm": 32, "mamba_n_heads": 4}
    ),
    "granitemoehybrid": Architecture(
        "GraniteMoeHybridConfig",
        "Granite 4 hybrid",
        f"{HYBRID} Mamba 2",
        {**_GROUPED, **_MAMBA, **_EXPERTS, "layer_types": ["mamba", "attention"], "shared_intermediate_size": 16},
    ),
    "nemotron_h": Architecture("NemotronHConfig", "Nemotron-H", f"{HYBRID} Mamba 2", {**_SIZED, **_NEMOTRON}),
    "lfm2": Architecture(
        "Lfm2Config",
        "LFM2",
        f"{HYBRID} convolutions",
        {**_GROUPED, "layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
    ),
    "jamba": Architecture("JambaConfig", "Jamba", f"{HYBRID} Mamba", {**_GROUPED, **_JAMBA}),
}
"""Decoder-only models whose layers are not all of plain full attention."""
COUNT_COLUMNS = ("llama4_text",)
"""Those that derive something from the columns of a batch: rows are padded in training and decoded one by one."""
HYBRIDS = ("qwen3_next", "qwen3_5_text", "falcon_h1", "granitemoehybrid", "nemotron_h", "lfm2", "jamba")
"""Those with recurrent layers."""
INITIAL_STATES = {
    "lfm2": ("convolution",),
    **dict.fromkeys(
        ("qwen3_next", "qwen3_5_text", "falcon_h1", "granitemoehybrid", "nemotron_h"), ("recurrent", "convolution")
    ),
}
"""Hybrids whose rows can start from given states, and the kinds of these states."""
NO_INITIAL_STATES = {"jamba": "its Mamba layers ignore a given state where they read several tokens"}
"""The other hybrids, and why theirs cannot."""
ATTACHED = ("gemma4_text", "deepseek_v2", "deepseek_v3", "glm4_moe_lite", *HYBRIDS)
"""Those that are decoded under attached prefixes: rows or caches hold more than keys and values of one shape."""
ALL = {**DECODERS, **PAIRS, **RECENT}
