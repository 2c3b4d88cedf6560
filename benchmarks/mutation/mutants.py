"""Every mutant of a Python module: its source with one change that could be a mistake."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Add,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


@dataclass(frozen=True)
class Mutant:
    """A change: the line, what it does, and the source with it."""

    line: int
    change: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module."""
    tree = ast.parse(source)
    skipped = {id(inner) for node in ast.walk(tree) for part in _annotations(node) for inner in ast.walk(part)}
    for place, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for number in range(len(_changes(node))):
            changed = copy.deepcopy(tree)
            target = next(inner for index, inner in enumerate(ast.walk(changed)) if index == place)
            text, new = _changes(target)[number]
            changed = _Replace(target, new).visit(changed)
            yield Mutant(getattr(node, "lineno", 0), text, ast.unparse(ast.fix_missing_locations(changed)))


def _annotations(node: ast.AST) -> list[ast.AST]:
    """Return the parts of a node that do nothing at run time."""
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return [part for part in (node.returns, *node.decorator_list) if part is not None]
    if isinstance(node, (ast.arg, ast.AnnAssign)):
        return [node.annotation] if node.annotation is not None else []
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return [node]
    return []


def _changes(node: ast.AST) -> list[tuple[str, ast.AST]]:
    """Return (description, what stands in the node's place) of every change of a node."""
    found: list[tuple[str, ast.AST]] = []
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=right) if type(operator) in COMPARISONS:
            new = COMPARISONS[type(operator)]
            found.append((f"{_name(operator)} becomes {new.__name__}", ast.Compare(left, [new()], right)))
        case ast.BoolOp(op=operator, values=values):
            other = ast.Or() if isinstance(operator, ast.And) else ast.And()
            found.append((f"{_name(operator)} becomes {_name(other)}", ast.BoolOp(other, values)))
            found += [
                (
                    f"without `{ast.unparse(left_out)[:40]}`",
                    ast.BoolOp(operator, [v for v in values if v is not left_out]),
                )
                for left_out in values
                if len(values) > 2
            ]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            found.append(("without `not`", operand))
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in OPERATORS:
            new = OPERATORS[type(operator)]
            found.append((f"{_name(operator)} becomes {new.__name__}", ast.BinOp(left, new(), right)))
        case ast.Constant(value=bool(value)):
            found.append((f"{value} becomes {not value}", ast.Constant(not value)))
        case ast.Constant(value=int(value) | float(value)):
            found.append((f"{value} becomes {value + 1}", ast.Constant(value + 1)))
        case ast.If(test=test, body=body, orelse=orelse):
            found.append(("never", ast.If(ast.Constant(False), body, orelse)))
            found.append(("always", ast.If(ast.Constant(True), body, orelse)))
            del test
        case ast.Raise():
            found.append(("nothing is raised", ast.Pass()))
        case ast.Expr(value=ast.Call() as call):
            found.append((f"without `{ast.unparse(call)[:40]}`", ast.Pass()))
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            found.append(("returns None", ast.Return(ast.Constant(None))))
        case _:
            pass
    return found


def _name(node: ast.AST) -> str:
    return type(node).__name__


class _Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, new: ast.AST) -> None:
        self._target, self._new = target, new

    def visit(self, node: ast.AST) -> ast.AST:
        """Put the new node in the target's place."""
        return self._new if node is self._target else self.generic_visit(node)
