"""Chat templates in the forms that are in use, short; and tokenizers with the special tokens that they write."""

import json
from typing import Any

from tokenizer_kinds import make_tokenizer

CHATML = (
    "{%- for message in messages -%}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
MARKED = (
    "{{- bos_token -}}{%- for message in messages -%}{{ '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.role == 'assistant' -%}"
    "{% generation %}{{ message.content + '<|im_end|>' + '\n' }}{% endgeneration %}"
    "{%- else -%}{{ message.content + '<|im_end|>' + '\n' }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
LLAMA2 = (
    "{%- for message in messages -%}{%- if message.role == 'user' -%}"
    "{{ bos_token + '[INST] ' + message.content + ' [/INST]' }}"
    "{%- elif message.role == 'assistant' -%}{{ ' ' + message.content + ' ' + eos_token }}"
    "{%- else -%}{{ raise_exception('Only user and assistant roles are supported!') }}{%- endif -%}{%- endfor -%}"
)
THINKING = (
    "{%- for message in messages -%}{{ '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.role == 'assistant' and loop.last -%}{{ '<think>\n\n</think>\n\n' }}{%- endif -%}"
    "{{ message.content + '<|im_end|>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}{{ '<think>\n\n</think>\n\n' }}{%- endif -%}"
    "{%- if force_thinking is defined -%}{{ '<thought>' }}{%- endif -%}{%- endif -%}"
)
"""As Qwen3: earlier turns have no thoughts. `force_thinking` as DeepSeek-R1: a prompt that no answer begins with."""
TOOLS = (
    "{%- if tools -%}{{ '<|im_start|>system\n' + tools | tojson + '<|im_end|>\n' }}{%- endif -%}"
    "{%- for message in messages -%}{{ '<|im_start|>' + message.role + '\n' + message.content }}"
    "{%- for call in message.tool_calls or [] -%}"
    "{{ '<tool_call>' ~ call.function.name ~ ' ' ~ ARGUMENTS ~ '</tool_call>' }}"
    "{%- endfor -%}{{ '<|im_end|>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
TOOLS_OBJECT = TOOLS.replace("ARGUMENTS", "(call.function.arguments | tojson)")
TOOLS_TEXT = TOOLS.replace("ARGUMENTS", "call.function.arguments")
PLAIN = (
    "{%- for message in messages -%}{{ message.role + ': ' + message.content + '\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'assistant:' }}{%- endif -%}"
)
"""Ends no turn with a special token."""

CALL = {"type": "function", "id": "1", "function": {"name": "find", "arguments": json.dumps({"a": "blue"})}}
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}


def make_chat_tokenizer(kind: str, template: str | None) -> Any:
    """Make one of `tokenizer_kinds.KINDS` with this template and the special tokens of ChatML."""
    tokenizer = make_tokenizer(kind)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.add_tokens(["\n"] if kind == "metaspace-first" else [])
    tokenizer.chat_template = template
    return tokenizer


def say(*turns: str, system: str | None = None) -> list[dict[str, Any]]:
    """Return messages of user and assistant in turn, perhaps after a system message."""
    first = [] if system is None else [{"role": "system", "content": system}]
    return first + [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(turns)]
