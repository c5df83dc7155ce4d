"""Non-public parts of the libraries that models, metrics, the command line and the server are made of."""

import inspect

from upstream_parts.checks import Part, has, load, says, takes

MODELS = (
    Part(
        "transformers",
        "config._attn_implementation and PreTrainedModel._can_set_attn_implementation",
        "components/model/base/attention_sites.py",
        "switches a model's attention over and back",
        lambda: (
            has("transformers:PreTrainedModel", "_can_set_attn_implementation")()
            and isinstance(
                inspect.getattr_static(load("transformers:PretrainedConfig"), "_attn_implementation"), property
            )
        ),
        ("_attn_implementation", "_can_set_attn_implementation"),
    ),
    Part(
        "transformers",
        "integrations.sdpa_attention.sdpa_attention_forward and masking_utils.sdpa_mask",
        "components/model/base/attention_interface.py",
        "the attention that a registered function computes after it has put the prefix in",
        lambda: (
            callable(load("transformers.integrations.sdpa_attention:sdpa_attention_forward"))
            and takes("transformers.masking_utils:sdpa_mask", "allow_is_causal_skip", "allow_is_bidirectional_skip")()
        ),
    ),
    Part(
        "transformers",
        "cache_utils.DynamicLayer",
        "components/model/decoding/beam_tree.py",
        "cache layers of our own, with beams that share their columns",
        has("transformers.cache_utils:DynamicLayer", "update", "reorder_cache", "batch_select_indices"),
    ),
    Part(
        "transformers",
        "convert_slow_tokenizer.bytes_to_unicode",
        "components/model/text/banned.py",
        "which bytes a token of a byte-level vocabulary adds",
        lambda: len(load("transformers.convert_slow_tokenizer:bytes_to_unicode")()) == 256,
    ),
    Part(
        "peft",
        "tuners.lora.LoraModel, target module mapping, check_target_module_exists",
        "components/model/weights/lora.py",
        "LoRA layers of the library without its wrapper around the model",
        lambda: (
            callable(load("peft.tuners.lora:LoraModel"))
            and bool(load("peft.utils:TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING"))
            and callable(load("peft.tuners.tuners_utils:check_target_module_exists"))
        ),
    ),
    Part(
        "peft",
        "tuners.tuners_utils._check_lora_target_modules_mamba",
        "components/model/weights/lora.py",
        "which layers a fused kernel computes with the weights alone, so that a LoRA layer around them has no effect",
        takes("peft.tuners.tuners_utils:_check_lora_target_modules_mamba", "peft_config", "model", "target_name"),
        ("_check_lora_target_modules_mamba",),
    ),
    Part(
        "torch",
        "Module._parameters and Module._modules",
        "components/model/weights/replaced.py",
        "puts trained tensors in the place of parameters for the time of a block",
        lambda: {"_parameters", "_modules"} <= set(vars(load("torch.nn:Module")())),
        ("_parameters", "_modules"),
    ),
    Part(
        "torch",
        "_softmax_backward_data",
        "components/model/packing/attention.py",
        "the backward of softmax without keeping its input",
        has("torch", "_softmax_backward_data"),
        ("_softmax_backward_data",),
    ),
    Part(
        "torch",
        "ops.mkldnn._linear_pointwise, _reorder_linear_weight and _is_mkldnn_bf16_supported",
        "components/model/base/packed_products.py",
        "products with weights that are packed once; torch has them for compiled models only",
        has("torch:ops.mkldnn", "_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported"),
        ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported", "_version"),
    ),
    Part(
        "accelerate",
        "PartialState._reset_state",
        "components/training/distributed/worker.py",
        "a process may train by several processes more than once",
        has("accelerate:PartialState", "_reset_state"),
        ("_reset_state",),
    ),
)

OTHERS = (
    Part(
        "sacrebleu",
        "metrics.lib_ter: _shift, _MAX_SHIFT_CANDIDATES, BeamEditDistance",
        "components/evaluation/ter.py",
        "the same search for shifts with less arithmetic under it",
        has("sacrebleu.metrics.lib_ter", "_shift", "_MAX_SHIFT_CANDIDATES", "BeamEditDistance"),
        ("_shift", "_MAX_SHIFT_CANDIDATES"),
    ),
    Part(
        "sacrebleu",
        "Metric._extract_corpus_statistics",
        "components/evaluation/metrics.py",
        "statistics of single sentences, for bootstrap intervals",
        has("sacrebleu.metrics.base:Metric", "_extract_corpus_statistics"),
        ("_extract_corpus_statistics",),
    ),
    Part(
        "sacrebleu",
        "Metric._preprocess_segment",
        "components/evaluation/metrics.py",
        "counts of n-grams of references against themselves, without a comparison",
        has("sacrebleu.metrics.base:Metric", "_preprocess_segment"),
        ("_preprocess_segment",),
    ),
    Part(
        "typer",
        "core.TyperGroup.invoke",
        "cli/main.py",
        "turns errors of every command into a message and an exit code",
        has("typer.core:TyperGroup", "invoke"),
    ),
    Part(
        "uvicorn",
        "Server.handle_exit, on_tick and should_exit",
        "components/serving/http/server.py",
        "answers requests in flight before the server ends",
        lambda: has("uvicorn:Server", "handle_exit", "on_tick")() and says("uvicorn:Server.__init__", "should_exit")(),
    ),
    Part(
        "alembic",
        "MigrationStep.upgrade_from_script, ScriptDirectory.revision_map and the option fn of MigrationContext",
        "components/storage/migrations.py",
        "runs revisions without env.py and without the proxies that are global to the process",
        lambda: (
            has("alembic.runtime.migration:MigrationStep", "upgrade_from_script")()
            and says("alembic.runtime.migration:MigrationContext.__init__", 'opts.get("fn")', "self._migrations_fn")()
            and says("alembic.script:ScriptDirectory.__init__", "self.revision_map = ")()
        ),
    ),
)
