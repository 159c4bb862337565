"""The rendering of `conversation` as a Jinja template, saved with every tokenizer and model.

Other programs render with it: `transformers`, vLLM, llama.cpp. They encode the whole string, so
that control tokens spelled out in a text become control ids there; here they never do. What the
assistant writes stands between generation markers, for loss on that alone.
"""

from gptcore.conversation import (
    ASSISTANT,
    END_FUNCTION_CALL,
    END_FUNCTION_RESULT,
    END_OF_TURN,
    FUNCTION_CALL,
    FUNCTION_RESULT,
    SYSTEM,
    TOOLS_HEADING,
    USER,
)

# A macro writes one kind of thing; nothing is put out between the blocks.
_TEMPLATE = """
{%- macro type_of(schema) -%}
  {%- if schema.enum -%}
    {%- for choice in schema.enum -%}
      {{- choice | tojson }}{{ "" if loop.last else "|" -}}
    {%- endfor -%}
  {%- elif schema.type is string -%}{{ schema.type }}
  {%- else -%}any{%- endif -%}
  {%- if schema.description %} ({{ schema.description }}){% endif -%}
{%- endmacro -%}
{%- macro signatures() -%}
  {{- "HEADING" -}}
  {%- for tool in tools -%}
    {%- set function = tool.function if tool.function is defined else tool -%}
    {%- set parameters = function.parameters or {} -%}
    {{- "\\n" + function.name + "(" -}}
    {%- for name, schema in (parameters.properties or {}).items() -%}
      {{- name + ("" if name in (parameters.required or []) else "?") + ": " + type_of(schema) -}}
      {{- "" if loop.last else ", " -}}
    {%- endfor -%}
    {{- ")" + (" " + function.description if function.description else "") -}}
  {%- endfor -%}
{%- endmacro -%}
{%- macro written(message) -%}
  {{- message.content or "" -}}
  {%- for call in message.tool_calls or [] -%}
    {%- set called = call.function if call.function is defined else call -%}
    {%- set given = called.arguments -%}
    {{- "FUNCTION_CALL\\n" + called.name + "(" -}}
    {{- given if given is string else given | tojson -}}
    {{- ")\\nEND_CALL" -}}
  {%- endfor -%}
  {{- "END_OF_TURN" -}}
{%- endmacro -%}
{%- set begins_with_system = messages and messages[0].role == "system" -%}
{%- if tools -%}
  {%- set prompt = messages[0].content if begins_with_system else "" -%}
  {{- "SYSTEM" + (prompt + "\\n\\n" if prompt else "") + signatures() + "END_OF_TURN" -}}
{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == "assistant" -%}
    {{- "ASSISTANT" -}}
    {%- if message.weight is defined and message.weight == 0 -%}
      {{- written(message) -}}
    {%- else -%}
      {%- generation -%}{{- written(message) -}}{%- endgeneration -%}
    {%- endif -%}
  {%- elif message.role == "tool" -%}
    {{- "FUNCTION_RESULT\\n" + (message.name or "") + ": " + (message.content or "") -}}
    {{- "\\nEND_RESULT" -}}
  {%- elif message.role == "user" -%}
    {{- "USER" + message.content + "END_OF_TURN" -}}
  {%- elif not (loop.first and tools) -%}
    {{- "SYSTEM" + message.content + "END_OF_TURN" -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "ASSISTANT" -}}{%- endif -%}
"""


def chat_template() -> str:
    """The template, with the control tokens filled in."""
    filled = _TEMPLATE.strip()
    for name, token in (
        ("HEADING", TOOLS_HEADING),
        ("FUNCTION_CALL", FUNCTION_CALL),
        ("END_CALL", END_FUNCTION_CALL),
        ("FUNCTION_RESULT", FUNCTION_RESULT),
        ("END_RESULT", END_FUNCTION_RESULT),
        ("END_OF_TURN", END_OF_TURN),
        ("SYSTEM", SYSTEM),
        ("USER", USER),
        ("ASSISTANT", ASSISTANT),
    ):
        filled = filled.replace(f'"{name}', f'"{token}').replace(f"\\n{name}", f"\\n{token}")
    return filled
