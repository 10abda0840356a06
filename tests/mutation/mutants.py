"""Small changes to a program, each of which some test should notice. Only texts: nothing is run."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

COMPARED = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip
TOLD = ("log", "logger", "get_run_logger", "warnings")
"""What is called on these is for somebody who reads a log."""
SAID = ("description", "title", "help", "examples")
"""Arguments of which no program makes anything."""


@dataclass(frozen=True)
class Mutant:
    """One change: of what kind, in which line (from 1), from which characters to which text."""

    kind: str
    line: int
    begin: int
    end: int
    text: str
    was: str
    nth: int = 0
    """How many of the same text stand before it in its module."""

    def of(self, source: str) -> str:
        """The source with this change."""
        return source[: self.begin] + self.text + source[self.end :]

    @property
    def told(self) -> str:
        """What is changed, without where: it stays the same when lines move."""
        was, text = (" ".join(part.split())[:70] for part in (self.was, self.text))
        return f"{self.kind}: {was} → {text or 'nothing'}"

    def __str__(self) -> str:
        return f"{self.line}: {self.told}"


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a module's source, in the order of its lines.

    Dropped arguments, skipped calls, swapped branches, other comparisons, `and` for `or`, None
    returned, numbers one more, the other truth value, and names (texts without a space) spelled
    in another way. Left out is what only people read: docstrings, messages, descriptions, logs.
    """
    found = sorted(set(_Mutants(source).all()), key=lambda m: (m.begin, m.end, m.kind))
    times = Counter[str]()
    for number, mutant in enumerate(found):
        found[number] = replace(mutant, nth=times[mutant.told])
        times[mutant.told] += 1
    return found


class _Mutants:
    def __init__(self, source: str) -> None:
        self.source = source
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.lines = source.splitlines()

    def at(self, line: int, column: int) -> int:
        """Columns of the syntax tree are bytes of UTF-8; ours are characters."""
        text = self.lines[line - 1].encode()[:column].decode()
        return self.starts[line - 1] + len(text)

    def change(self, kind: str, node: ast.AST, text: str) -> Mutant:
        begin = self.at(node.lineno, node.col_offset)  # type: ignore[attr-defined]
        end = self.at(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
        return Mutant(kind, node.lineno, begin, end, text, self.source[begin:end])  # type: ignore[attr-defined]

    def text(self, node: ast.AST) -> str:
        return self.change("", node, "").was

    def all(self) -> Iterator[Mutant]:
        yield from self.of(ast.parse(self.source))

    def of(self, node: ast.AST) -> Iterator[Mutant]:
        """Mutants of a node and of what lies in it."""
        if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
            return
        if isinstance(node, ast.Call) and _root(node.func) in TOLD:
            return
        yield from self.itself(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "type_params", "bases"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not _only_said(node, child):
                    yield from self.of(child)

    def itself(self, node: ast.AST) -> Iterator[Mutant]:
        if isinstance(node, ast.Call):
            yield from self.arguments(node)
        elif isinstance(node, ast.Expr):
            call = node.value.value if isinstance(node.value, ast.Await) else node.value
            if isinstance(call, ast.Call) and _root(call.func) not in TOLD:
                yield self.change("skipped call", node, "pass")
        elif isinstance(node, ast.If | ast.While | ast.IfExp):
            yield self.change("swapped branches", node.test, f"(not ({self.text(node.test)}))")
        elif isinstance(node, ast.comprehension):
            for test in node.ifs:
                yield self.change("swapped filter", test, f"(not ({self.text(test)}))")
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            left, right = self.text(node.left), self.text(node.comparators[0])
            other = f"(({left}) {COMPARED[type(node.ops[0])]} ({right}))"
            yield self.change("other comparison", node, other)
        elif isinstance(node, ast.BoolOp):
            word = " or " if isinstance(node.op, ast.And) else " and "
            parts = word.join(f"({self.text(value)})" for value in node.values)
            yield self.change("and for or", node, f"({parts})")
        elif isinstance(node, ast.Return) and not _is(node.value, None):
            yield self.change("nothing returned", node, "return None")
        elif isinstance(node, ast.Constant):
            yield from self.constant(node)

    def arguments(self, call: ast.Call) -> Iterator[Mutant]:
        """Each argument with a name left out: one without a name would only be an error."""
        for keyword in call.keywords:
            if keyword.arg is None or keyword.arg in SAID:
                continue
            begin = self.at(keyword.lineno, keyword.col_offset)
            end = self.at(keyword.value.end_lineno or 0, keyword.value.end_col_offset or 0)
            was = self.source[begin:end]
            end += self.source[end : end + 1] == ","  # one before it may stay
            yield Mutant("dropped argument", keyword.lineno, begin, end, "", was)

    def constant(self, node: ast.Constant) -> Iterator[Mutant]:
        if isinstance(node.value, bool):
            yield self.change("other truth", node, str(not node.value))
        elif isinstance(node.value, int | float):
            yield self.change("one more", node, f"({self.text(node)} + 1)")
        elif isinstance(node.value, str) and node.value and not set(node.value) & set(" \n"):
            yield self.change("other name", node, repr(node.value + "x"))


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else ""


def _is(node: ast.AST | None, value: object) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is value)


def _only_said(node: ast.AST, child: ast.AST) -> bool:
    """Docstrings, texts that stand alone, descriptions, and what type checkers alone read."""
    if isinstance(node, ast.Expr) and isinstance(child, ast.Constant):
        return True
    if isinstance(node, ast.keyword):
        return node.arg in SAID
    if isinstance(node, ast.AnnAssign):
        return child is node.annotation or child is node.target
    if isinstance(node, ast.If):
        return child is node.test and _root(child) == "TYPE_CHECKING"
    if isinstance(node, ast.Assign):
        return any(isinstance(to, ast.Name) and to.id == "__all__" for to in node.targets)
    if isinstance(node, ast.Call):
        return _root(node.func) in ("TypeVar", "ParamSpec", "cast") and child in node.args[:1]
    return False
