"""Finds code by its structure, and puts other code in its place.

Python is compared as a syntax tree: white space, comments, quotes and docstrings do not matter. The code that
is looked for is one of

* one statement or more that follow each other in one block. Where a block is only ``...``, any block matches;
  a ``...`` in the replacement stands for that block,
* an expression,
* a keyword argument, as ``key=value``,
* an item of a dictionary, as ``key: value``.

Lua is compared token by token.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from textwrap import dedent
from typing import Any, TypeAlias

Block: TypeAlias = list[ast.stmt]
Place: TypeAlias = Callable[[], None]
"""Replaces what was found there."""
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
BLOCKS = ("body", "orelse", "finalbody")
LUA_TOKEN = re.compile(
    r"--\[\[.*?\]\]|--[^\n]*"  # comments
    r"|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
    r"|\w+(?:\.\d+)?|\.\.\.?|[=~<>]=|\S",
    re.DOTALL,
)


class NotOnceError(LookupError):
    """The code does not stand once where it is said to stand."""


def replace(source: str, where: str, code: str, replacement: str) -> str:
    """`source`, a Python module, with one piece of its code replaced.

    Args:
        source: the module.
        where: the qualified name of the function or class in which `code` stands; "" is the module.
        code: what stands there, once.
        replacement: what shall stand there; "" removes `code`.

    Raises:
        NotOnceError: there is no such function, or `code` does not stand in it once.
    """
    tree = ast.parse(source)
    scopes = list(_definitions(tree, where.split("."))) if where else [tree]
    if not scopes:
        raise NotOnceError(f"there is no {where}")
    places = [place for scope in scopes for place in _places(scope, code, replacement)]
    if len(places) != 1:
        raise NotOnceError(f"it stands {len(places)} times in {where or 'the module'}")
    places[0]()
    return ast.unparse(ast.fix_missing_locations(tree))


def replace_lua(source: str, code: str, replacement: str) -> str:
    """`source`, a Lua script, with the one occurrence of `code` replaced.

    Raises:
        NotOnceError: `code` does not stand in it once.
    """
    tokens, wanted = _lua_tokens(source), [token[0] for token in _lua_tokens(code)]
    texts = [token[0] for token in tokens]
    starts = [start for start in range(len(texts)) if texts[start : start + len(wanted)] == wanted]
    if len(starts) != 1:
        raise NotOnceError(f"it stands {len(starts)} times in the script")
    first, last = tokens[starts[0]], tokens[starts[0] + len(wanted) - 1]
    return source[: first.start()] + dedent(replacement).strip() + source[last.end() :]


def _lua_tokens(source: str) -> list[re.Match[str]]:
    return [token for token in LUA_TOKEN.finditer(source) if not token[0].startswith("--")]


def _places(scope: ast.AST, code: str, replacement: str) -> Iterator[Place]:
    """Where `code` stands, in each of the ways in which both can be read."""
    for find, read in ((_parts, _expression), (_parts, _keyword), (_items, _item)):
        old, new = read(code), read(replacement)
        if old is not None and (new is not None or not replacement):
            yield from find(scope, old, new)  # type: ignore[arg-type]
    both_expressions = _expression(code) is not None and _expression(replacement) is not None
    if not both_expressions and (statements := _statements(code)):
        yield from _statements_in(scope, statements, replacement)


def _parts(scope: ast.AST, old: ast.AST, new: ast.AST | None) -> Iterator[Place]:
    """Where an expression or a keyword argument stands that can be replaced, or removed from a list."""
    wanted = _form(old)
    for parent in ast.walk(scope):
        for field, value in ast.iter_fields(parent):
            for index, child in enumerate(value if isinstance(value, list) else [value]):
                if type(child) is not type(old) or _form(child) != wanted:
                    continue
                if isinstance(value, list):
                    yield partial(_splice, value, index, 1, [new] if new else [])
                elif new:
                    yield partial(setattr, parent, field, new)


def _items(scope: ast.AST, old: ast.Dict, new: ast.Dict | None) -> Iterator[Place]:
    """Where an item of a dictionary stands."""
    wanted = _form(old)
    for node in ast.walk(scope):
        if isinstance(node, ast.Dict):
            for index, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
                if _form(ast.Dict([key], [value])) == wanted:
                    yield partial(_replace_item, node, index, new or ast.Dict([], []))


def _replace_item(node: ast.Dict, index: int, new: ast.Dict) -> None:
    _splice(node.keys, index, 1, new.keys)
    _splice(node.values, index, 1, new.values)


def _statements_in(scope: ast.AST, old: Block, replacement: str) -> Iterator[Place]:
    """Where statements stand."""
    for block in _blocks(scope):
        for start in range(len(block) - len(old) + 1):
            present = block[start : start + len(old)]
            if _same(old, present):
                new = _filled(_statements(replacement) or [], next(_any_blocks(old, present), []))
                emptied = len(old) == len(block) and not new
                yield partial(_splice, block, start, len(old), [ast.Pass()] if emptied else new)


def _same(code: Block, present: Block) -> bool:
    """Whether statements have the form of `code`."""
    if [type(each) for each in code] != [type(each) for each in present]:
        return False
    code, present = deepcopy(code), deepcopy(present)
    for block in _any_blocks(code, present):
        block[:] = [ast.Expr(ast.Constant(...))]
    return [_form(each) for each in code] == [_form(each) for each in present]


def _any_blocks(code: Block, present: Block) -> Iterator[Block]:
    """The blocks of `present` that stand where `code` has only ``...``."""
    for one, other in zip(code, present, strict=True):
        for field in BLOCKS:
            if _is_any(getattr(one, field, [])) and getattr(other, field, []):
                yield getattr(other, field)


def _filled(new: Block, kept: Block) -> Block:
    """`new` with `kept` in the place of each block that is only ``...``."""
    for block in list(_blocks(ast.Module(new, []))):
        if _is_any(block):
            block[:] = kept
    return new


def _is_any(block: object) -> bool:
    match block:
        case [ast.Expr(ast.Constant(value))]:
            return value is ...
    return False


def _splice(present: list[Any], start: int, count: int, new: list[Any]) -> None:
    present[start : start + count] = new


def _statements(code: str) -> Block | None:
    try:
        return ast.parse(dedent(code)).body
    except SyntaxError:
        return None


def _expression(code: str) -> ast.expr | None:
    match _evaluated(f"f({code.strip()}\n)"):
        case ast.Call(args=[expression], keywords=[]):
            return expression
        case ast.Call(args=[_, *_], keywords=[]):  # a tuple
            return _evaluated(f"({code.strip()}\n)")
    return None


def _keyword(code: str) -> ast.keyword | None:
    match _evaluated(f"f({code.strip()}\n)"):
        case ast.Call(args=[], keywords=[ast.keyword(arg=str()) as keyword]):
            return keyword
    return None


def _item(code: str) -> ast.Dict | None:
    match _evaluated(f"{{{code.strip()}\n}}"):
        case ast.Dict(keys=[_, *_]) as items:
            return items
    return None


def _evaluated(code: str) -> ast.expr | None:
    try:
        return ast.parse(code, mode="eval").body
    except SyntaxError:
        return None


def _definitions(scope: ast.AST, path: list[str]) -> Iterator[ast.AST]:
    """The functions and classes of a qualified name, which branches may define more than once."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, Definition):
            yield from _definitions(child, path)
        elif child.name == path[0]:
            yield from _definitions(child, path[1:]) if path[1:] else [child]


def _blocks(scope: ast.AST) -> Iterator[Block]:
    for node in ast.walk(scope):
        for field in BLOCKS:
            if isinstance(block := getattr(node, field, None), list):
                yield block


def _form(node: ast.AST) -> str:
    """A text that nodes share if their code is the same but for docstrings."""
    documented = [each for each in ast.walk(node) if _is_documented(each)]
    if not documented:
        return ast.dump(node)
    node = deepcopy(node)
    for each in ast.walk(node):
        if _is_documented(each):
            del each.body[0]  # type: ignore[attr-defined]
    return ast.dump(node)


def _is_documented(node: ast.AST) -> bool:
    return isinstance(node, Definition) and ast.get_docstring(node, clean=False) is not None
