"""Chat templates: what real ones need works, and hostile ones end with an error."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from mlr.errors import RequestError, TemplateError
from mlr.tokenizer import chat

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi <there>"},
]

CHATML = """{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\\nDefault<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

GEMMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant") }}
    {%- endif -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}
"""

TOOLS = """{% macro describe(tool) -%}
- {{ tool.function.name }}: {{ tool.function.parameters | tojson }}
{% endmacro %}
{% set ns = namespace(count=0) %}
{% for tool in tools or [] %}
{% set ns.count = ns.count + 1 %}
{{ describe(tool) }}
{% if ns.count >= 2 %}{% break %}{% endif %}
{% endfor %}
{% generation %}{{ ns.count ~ " tools, " ~ strftime_now("%d %b %Y") }}{% endgeneration %}
{{ messages | selectattr("role", "equalto", "user") | map(attribute="content") | join(", ") }}
{%- for key, value in messages[0].items() %} {{ key }}={{ value.split(".")[0] }}{% endfor %}"""


def render(template: str, messages: Any = MESSAGES, **options: Any) -> str:
    return chat.render(template, messages, bos_token="<s>", eos_token="</s>", **options)


def test_a_chatml_template() -> None:
    assert render(CHATML) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <there><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert render(CHATML, MESSAGES[1:], add_generation_prompt=False) == (
        "<|im_start|>system\nDefault<|im_end|>\n<|im_start|>user\nHi <there><|im_end|>\n"
    )


def test_a_template_as_gemma_has_it() -> None:
    assert render(GEMMA) == (
        "<s><start_of_turn>user\nBe brief.\n\nHi <there><end_of_turn>\n<start_of_turn>model\n"
    )
    with pytest.raises(TemplateError, match="refuses the messages: Conversation roles"):
        render(GEMMA, [MESSAGES[1], MESSAGES[1]])


def test_tools_macros_dates_and_loop_controls() -> None:
    tools = [
        {"type": "function", "function": {"name": name, "parameters": {"größe": [1, None, "<"]}}}
        for name in "abc"
    ]
    text = render(TOOLS, tools=tools, now=lambda: datetime(2026, 3, 4, tzinfo=UTC))
    assert text == (
        '- a: {"größe": [1, null, "<"]}\n\n- b: {"größe": [1, null, "<"]}\n\n'
        "2 tools, 04 Mar 2026Hi <there> role=system content=Be brief"
    )


def test_the_plain_transcript() -> None:
    assert render(chat.PLAIN) == "system: Be brief.\nuser: Hi <there>\nassistant:"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}", "failed"),
        ("{{ messages[9].content.x }}", "failed"),
        ("{{ nothing() }}", "failed"),
        ("{% include 'x' %}", "failed"),
        ("{{ 1 / 0 }}", "failed"),
        ("{{ 'x' | pprint }}", "failed"),
        ("{{ lipsum() }}", "failed"),
        ("{{ messages.append(1) }}", "failed"),
        ("{{ ''.__class__.__mro__ }}", "failed"),
        ("{{ ''['__class__'] }}", "failed"),
        ("{{ raise_exception.__globals__ }}", "failed"),
        ("{{ strftime_now.__code__ }}", "failed"),
        ("{{ messages.__init__.__globals__ }}", "failed"),
        ("{{ '{0.__class__}'.format(messages) }}", "failed"),
        ("{{ ('{0.__class__}' | map('format', messages)) | list }}", "failed"),
        ("{{ 'a'.center(1000000000) }}", "failed"),
        ("{{ 'a'['ljust'](1000000000) }}", "failed"),
        ("{{ namespace }}", "where only text"),
        ("{% macro m() %}{% endmacro %}{{ m }}", "where only text"),
        ("{{ '%1000000000d' % 1 }}", "great width"),
        ("{{ '%*d' % (1000000000, 1) }}", "great width"),
        ("{{ 'x' * 1000000000 }}", "beyond"),
        ("{{ 1000000000 * 'x' }}", "beyond"),
        ("{{ [1] * 1000000000 }}", "beyond"),
        ("{{ 10 ** (10 ** 10) }}", "number"),
        ("{{ 'x' | indent(1000000) }}", "indents"),
        ("{{ messages | tojson(indent=1000000) }}", "indents"),
        ("{{ ('a' * 100000) | replace('a', 'b' * 1000) }}", "beyond"),
        ("{{ ('a' * 100000).replace('a', 'b' * 1000) }}", "beyond"),
        ("{{ ('b' * 100000).join(['a'] * 1000) }}", "beyond"),
        ("{{ (['a'] * 1000) | join('b' * 100000) }}", "beyond"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "failed"),
        (
            "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}"
            "{% endfor %}",
            "beyond",
        ),
        (
            "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}"
            "{% endfor %}",
            "beyond",
        ),
        (
            "{% set n = namespace(x='ab') %}{% for i in range(60) %}"
            "{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}{% endfor %}",
            "beyond",
        ),
        (
            "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}"
            "{% endfor %}{{ n.x == 1 }}",
            "values",
        ),
        (
            "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = dict(a=n.x, b=n.x)"
            " %}{% endfor %}",
            "values",
        ),
        (
            "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}"
            "{% endfor %}",
            "values|beyond",
        ),
        (
            "{% set x %}{% for a in range(99999) %}" + "y" * 5000 + "{% endfor %}{% endset %}",
            "beyond",
        ),
        ("{% for a in range(99999) %}" + "y" * 500 + "{% endfor %}", "more than|beyond"),
        ("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "recursive"),
        ("(" * 100 + "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "failed"),
        ("x" * (chat.MAX_TEMPLATE + 1), "characters"),
    ],
)
def test_what_goes_wrong_or_too_far_is_an_error(template: str, reason: str) -> None:
    begin = time.monotonic()
    with pytest.raises(TemplateError, match=reason):
        render(template)
    assert time.monotonic() - begin < 10


def test_messages_must_be_json() -> None:
    with pytest.raises(RequestError, match="messages must be JSON"):
        render("x", [{"role": object()}])
    with pytest.raises(RequestError, match="tools must be JSON"):
        render("x", tools=[{"a": {1, 2}}])


def test_templates_do_not_change_the_messages() -> None:
    messages = [{"role": "user", "content": ["a"]}]
    with pytest.raises(TemplateError):
        render("{{ messages[0].update(role='x') }}", messages)
    assert messages == [{"role": "user", "content": ["a"]}]


def test_importing_the_tokenizer_does_not_import_jinja() -> None:
    code = (
        "import sys, mlr.tokenizer, mlr.tokenizer.chat, mlr.tokenizer.gguf, "
        "mlr.tokenizer.huggingface; sys.exit('jinja2' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
