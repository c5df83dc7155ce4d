"""The chat template of the built-in base: a conversation is written as pairs are, `text <eos> answer <eos>`."""

CHAT_TEMPLATE_FILE = "chat_template.jinja"
CHAT_TEMPLATE = """\
{#- A turn is a text and the end token; an answer has a space before it, as a target after its source. -#}
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{ ' ' ~ message.content ~ eos_token }}
{%- elif message.role in ('system', 'user') -%}
{{ message.content ~ eos_token }}
{%- else -%}
{{ raise_exception('the built-in base knows the roles system, user and assistant') }}
{%- endif -%}
{%- endfor -%}
"""
