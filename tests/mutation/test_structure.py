"""Code is found by its structure, once, and replaced."""

from __future__ import annotations

import ast
import re

import pytest

from tests.mutation.structure import NotOnceError, replace, replace_lua

SOURCE = '''
LIMIT = 10
LEVELS = {"one": 1, "two": 2}

class Queue:
    """Waits."""

    size: int = 0

    def put(self, item):
        """Put it."""
        if item and self.size < LIMIT:  # there is room
            self.items.append(item)
            self.wake(now=True, all=False)
        else:
            raise Full

    def get(self):
        def first():
            return self.items[0]
        return first()
'''


@pytest.mark.parametrize(
    ("where", "code", "replacement", "before", "after"),
    [
        ("Queue.put", "item and self.size < LIMIT", "True", "item and self.size < LIMIT", "True"),
        ("Queue.put", "( item  and\n self.size<LIMIT )", "item", "item and self.size < LIMIT", "item"),
        ("Queue.put", "self.items.append(item)", "", "            self.items.append(item)\n", ""),
        ("Queue.put", "raise Full", "", "raise Full", "pass"),
        ("Queue.put", "now=True", "", "now=True, ", ""),
        ("Queue.put", "all=False", "all=None", "all=False", "all=None"),
        ("Queue.get.first", "return self.items[0]", "return None", "self.items[0]", "None"),
        ("Queue", "size: int = 0", "size: int = 1", "= 0", "= 1"),
        ("", "LIMIT = 10", "LIMIT = 11", "10", "11"),
        ("", "'two': 2", "", ', "two": 2', ""),
        ("", "'two': 2", "'two': 3", '"two": 2', '"two": 3'),
    ],
)
def test_code_is_replaced_where_it_stands(
    where: str, code: str, replacement: str, before: str, after: str
) -> None:
    expected = ast.unparse(ast.parse(SOURCE.replace(before, after, 1)))
    assert replace(SOURCE, where, code, replacement) == expected


def test_an_ellipsis_is_any_block_and_kept() -> None:
    code = "if item and self.size < LIMIT: ...\nelse: raise Full"
    mutant = replace(SOURCE, "Queue.put", code, "...")
    assert "if item" not in mutant
    assert "self.items.append(item)\n        self.wake(now=True, all=False)" in mutant


def test_a_definition_is_found_without_its_docstring() -> None:
    code = "def get(self):\n  def first(): return self.items[0]\n  return first()"
    assert "get" not in replace(
        SOURCE.replace("def get(self):", 'def get(self):\n        "Get."'), "", code, ""
    )


@pytest.mark.parametrize(
    ("where", "code", "message"),
    [
        ("Queue.put", "raise Empty", "stands 0 times in Queue.put"),
        ("Queue", "item", "stands 2 times in Queue"),
        ("Queue.take", "item", "there is no Queue.take"),
        ("Queue.get", "LIMIT", "stands 0 times"),
    ],
)
def test_code_that_does_not_stand_once_is_an_error(where: str, code: str, message: str) -> None:
    with pytest.raises(NotOnceError, match=re.escape(message)):
        replace(SOURCE, where, code, "True")


def test_lua_is_compared_token_by_token() -> None:
    source = "local a = call( 'x  y',1 ) -- why\nif a then\n  return a\nend"
    assert replace_lua(source, "call('x  y', 1)\nif a then", "2 if true then") == (
        "local a = 2 if true then\n  return a\nend"
    )
    with pytest.raises(NotOnceError, match="stands 0 times"):
        replace_lua(source, "call('x y', 1)", "")
    with pytest.raises(NotOnceError, match="stands 3 times"):
        replace_lua(source, "a", "b")
