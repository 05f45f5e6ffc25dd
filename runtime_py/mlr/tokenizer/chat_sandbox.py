"""The sandbox that chat templates run in. It needs Jinja2, so `chat` imports it when it renders.

Jinja2's sandbox keeps a template away from Python's internals but lets it use any amount of time
and memory. Here every way to use much of either is counted against a budget:

- turns of loops, calls and printed values are steps;
- texts are measured before they are joined, repeated, replaced or printed;
- lists and objects are measured when they are made, so that no small program can build a value
  that takes forever to compare or print;
- filters, functions and text methods come from lists of those that templates use.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from jinja2 import Template, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from mlr.errors import MlrError, TemplateError

__all__ = ["MAX_OUTPUT", "MAX_SECONDS", "MAX_STEPS", "MAX_TEXT", "run"]

MAX_OUTPUT = 4 << 20
"""Characters of one text, and of the rendered text."""

MAX_TEXT = 64 << 20
"""Characters of all texts that are made on the way, together."""

MAX_STEPS = 1_000_000
MAX_SECONDS = 10.0
_MAX_VALUES = 200_000  # in one list or object, all levels together
_MAX_BITS = 4096  # of a whole number

_TEXT_METHODS = frozenset(
    (
        *("capitalize", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdigit"),
        *("islower", "isnumeric", "isspace", "isupper", "join", "lower", "lstrip", "partition"),
        *("removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit"),
        *("rstrip", "split", "splitlines", "startswith", "strip", "title", "upper"),
    )
)
_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float"),
    *("int", "items", "last", "length", "list", "lower", "map", "max", "min", "reject"),
    *("rejectattr", "reverse", "round", "safe", "select", "selectattr", "sort", "sum", "title"),
    *("trim", "unique", "upper"),
)
_FORMAT_WIDTH = re.compile(r"%[^a-zA-Z%]*(?:\d{4}|\*)")


class _Budget:
    """What one rendering may still use."""

    def __init__(self) -> None:
        self._steps = MAX_STEPS
        self._text = MAX_TEXT
        self._deadline = time.monotonic() + MAX_SECONDS

    def spend(self, text: int = 0) -> None:
        """One step, and `text` characters that are about to be made."""
        self._steps -= 1
        self._text -= text
        if self._steps < 0:
            raise TemplateError(f"the chat template takes more than {MAX_STEPS} steps")
        if text > MAX_OUTPUT or self._text < 0:
            raise TemplateError(f"the chat template makes texts beyond {MAX_OUTPUT} characters")
        if time.monotonic() > self._deadline:
            raise TemplateError(f"the chat template takes longer than {MAX_SECONDS} seconds")


_budget: ContextVar[_Budget] = ContextVar("budget")


def run(source: str, variables: Mapping[str, Any]) -> str:
    """The rendered text. TemplateError for everything that can go wrong in a template."""
    token = _budget.set(_Budget())
    try:
        parts: list[str] = []
        size = 0
        for part in _compile(source).generate(variables):
            size += len(part)
            if size > MAX_OUTPUT:
                raise TemplateError(f"the chat template writes more than {MAX_OUTPUT} characters")
            parts.append(part)
        return "".join(parts)
    except MlrError:
        raise
    except Exception as error:  # a template can fail in any way that Python can
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise TemplateError(f"the chat template failed: {reason}") from None
    finally:
        _budget.reset(token)


@lru_cache(maxsize=16)
def _compile(source: str) -> Template:
    environment = _Environment()
    tree = _Counting().visit(environment.parse(source))
    code = environment.compile(tree)
    return Template.from_code(environment, code, environment.make_globals(None))


def _measure(value: Any) -> int:
    """About how many characters `value` has when it is printed, which must be a plain value."""
    budget = _budget.get()
    total = values = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        values += 1
        if values > _MAX_VALUES:
            raise TemplateError(f"the chat template makes more than {_MAX_VALUES} values of one")
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, (list, tuple)):
            waiting += item
        elif isinstance(item, dict):
            waiting += item.keys()
            waiting += item.values()
        elif item is not None and not isinstance(item, (int, float, Undefined)):
            raise TemplateError(
                f"the chat template uses a {type(item).__name__} where only text, numbers, lists "
                "and objects can be"
            )
        if values % 64 == 0:
            budget.spend()
        total += 8
    return total


def _text(value: Any) -> str:
    """`value` as text, measured first."""
    if not isinstance(value, str):
        _budget.get().spend(_measure(value))
        return str(value)
    return value


def _join(values: Iterable[Any], separator: Any = "") -> str:
    texts = [_text(value) for value in values]
    between = _text(separator)
    _budget.get().spend(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _join_filter(value: Iterable[Any], d: Any = "", attribute: str | None = None) -> str:
    if attribute is not None:
        value = [item[attribute] for item in value]
    return _join(value, d)


def _replace(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    whole, before, after = _text(text), _text(old), _text(new)
    times = whole.count(before)
    if count is not None and 0 <= count < times:
        times = count
    _budget.get().spend(len(whole) + times * len(after))
    return whole.replace(before, after, times)


def _indent(text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    if isinstance(width, int):
        if not 0 <= width <= 256:
            raise TemplateError(f"the chat template indents by {width} characters; at most 256")
        width = " " * width
    lines = _text(text).split("\n")
    _budget.get().spend(sum(map(len, lines)) + len(lines) * (len(width) + 1))
    return "\n".join(
        width + line if (line.strip() or blank) and (first or number) else line
        for number, line in enumerate(lines)
    )


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    _budget.get().spend(_measure(value))
    if indent is not None and not 0 <= indent <= 16:
        raise TemplateError(f"the chat template indents JSON by {indent}; at most 16")
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=None if separators is None else (separators[0], separators[1]),
        sort_keys=sort_keys,
    )


def _raise_exception(message: Any) -> None:
    raise TemplateError(f"the chat template refuses the messages: {_text(message)[:500]}")


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, _Generation],
            finalize=self.printed,
        )
        self.filters = {name: self.filters[name] for name in _FILTERS}
        self.filters.update(
            join=_join_filter, replace=_replace, indent=_indent, tojson=_tojson, string=_text
        )
        names = ("range", "dict", "namespace")
        self.globals = {name: self.globals[name] for name in names}
        self.globals["raise_exception"] = _raise_exception

    def printed(self, value: Any) -> str:
        """What `{{ value }}` writes."""
        text = _text(value)
        _budget.get().spend(len(text))
        return text

    def written(self, size: int) -> None:
        """The template's own text, `size` characters of it, is about to be written."""
        _budget.get().spend(size)

    def counted(self, values: Any) -> Iterator[Any]:
        """The values of a loop, every one of them a step."""
        budget = _budget.get()
        for value in values:
            budget.spend()
            yield value

    def joined(self, *values: Any) -> str:
        """What `a ~ b` makes."""
        return _join(values)

    def checked(self, value: Any) -> Any:
        """A list or object that the template wrote down."""
        _measure(value)
        return value

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr not in _TEXT_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """An error at once, not only when the value is used."""
        raise SecurityError(f"{attribute!r} of a {type(obj).__name__} must not be used")

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """No formatting with widths by `str.format`: it is not among the text methods."""
        return None

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        _budget.get().spend()
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name in ("join", "replace"):
            return _join(args[0], owner) if name == "join" else _replace(owner, *args, **kwargs)
        result = super().call(__context, __obj, *args, **kwargs)
        if isinstance(result, (list, tuple, dict)):
            _measure(result)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget = _budget.get()
        budget.spend()
        for value, other in ((left, right), (right, left)):
            if isinstance(value, (str, list, tuple)):
                size = _measure(value)
                if operator == "+":
                    budget.spend(size + _measure(other))
                elif operator == "*" and isinstance(other, int):
                    budget.spend(size * max(other, 0))
        if operator == "%" and isinstance(left, str):
            if _FORMAT_WIDTH.search(left):
                raise TemplateError("the chat template formats a text to a great width")
            budget.spend(len(left) + _measure(right))
        elif operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = max(left.bit_length(), 1)
            if (bits * abs(right) if operator == "**" else bits + right.bit_length()) > _MAX_BITS:
                raise TemplateError("the chat template computes too great a number")
        return super().call_binop(context, operator, left, right)


class _Counting(NodeTransformer):
    """Puts the budget's functions where Jinja2 would use Python's own."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise TemplateError("the chat template has a recursive loop, which is not supported")
        self.generic_visit(node)
        node.iter = _environment_call("counted", [node.iter])
        return node

    def visit_Output(self, node: nodes.Output) -> Any:
        self.generic_visit(node)
        size = sum(len(part.data) for part in node.nodes if isinstance(part, nodes.TemplateData))
        if not size:
            return node
        # Text of the template itself costs what it adds, wherever it is written to.
        return [nodes.ExprStmt(_environment_call("written", [nodes.Const(size)])), node]

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _environment_call("joined", node.nodes)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        if all(isinstance(item, nodes.Const) for item in node.items):
            return node
        return _environment_call("checked", [node])

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        if node.ctx != "load" or all(isinstance(item, nodes.Const) for item in node.items):
            return node
        return _environment_call("checked", [node])

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        return _environment_call("checked", [node])


def _environment_call(name: str, arguments: Sequence[nodes.Node]) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), list(arguments), [], None, None)


class _Generation(Extension):
    """`{% generation %}` marks the model's words for training; here it is what it holds."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)
