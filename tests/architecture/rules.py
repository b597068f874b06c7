"""Rules that import-linter cannot state: each takes source text and returns what breaks it, as `line: why`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Set

# fmt: off
PURE_MODULES = frozenset({
    "__future__", "abc", "bisect", "collections", "dataclasses", "enum", "functools", "heapq", "itertools", "json",
    "math", "operator", "re", "struct", "types", "typing", "zlib", "eth_abi", "numpy", "scipy", "keeper",
})
# fmt: on
"""What pure rooms may import from outside; `keeper` itself is import-linter's business."""

MODE_WORDS = frozenset({"dry", "live", "fork"})
LINES_MOST = 400

# Written so that this file does not contain what it looks for.
_HOSTS = "|".join(
    re.escape(".".join(parts))
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("npmmirror", "com"),
        ("deb", "debian", "org"),
    )
)
_FOLDERS = "work|farm|root|home|Users|tmp/[a-z]|opt/pypi|opt/wheels"
_INDEX = "index" + "[-_]url"
_FOREIGN = re.compile(rf"({_HOSTS}|{_INDEX}|(?<![A-Za-z0-9_.}}-])/(?:{_FOLDERS})\b[\w./-]*)")

_ASSERTING_CALLS = re.compile(r"^(assert_|raises$|warns$|fail$)")


def inexact_numbers(source: str) -> list[str]:
    """Floats, true division and `round`, which have no place where amounts are computed."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=float() | complex() as number):
                found.append(f"{node.lineno}: literal {number}")
            case ast.BinOp(op=ast.Div()):
                found.append(f"{node.lineno}: true division")
            case ast.AugAssign(op=ast.Div()):
                found.append(f"{node.lineno}: true division")
            case ast.Call(func=ast.Name(id=("float" | "round" | "complex") as called)):
                found.append(f"{node.lineno}: {called}()")
            case ast.BinOp(op=ast.Pow(), right=ast.UnaryOp(op=ast.USub())):
                found.append(f"{node.lineno}: negative power")
    return found


def impure_imports(source: str) -> list[str]:
    """Imports of anything but the short list of modules that cannot reach the world."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom():
                names = [node.module or "."]
            case _:
                continue
        found += [f"{node.lineno}: {name}" for name in names if name.split(".")[0] not in PURE_MODULES]
    return found


def mode_comparisons(source: str) -> list[str]:
    """Comparisons with the words (or enum members) for dry, live and fork."""
    found = []
    for node in ast.walk(ast.parse(source)):
        sides: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.match_case):
            sides = [node.pattern]
        for side in sides:
            found += [f"{part.lineno}: {word}" for part, word in _mode_words(side)]
    return found


def _mode_words(side: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    for part in ast.walk(side):
        if isinstance(part, ast.Constant) and part.value in MODE_WORDS:
            yield part, str(part.value)
        elif isinstance(part, ast.Attribute) and part.attr.isupper() and part.attr.lower() in MODE_WORDS:
            yield part, part.attr


def too_long(source: str) -> list[str]:
    count = len(source.splitlines())
    return [f"{count}: more than {LINES_MOST} lines"] if count > LINES_MOST else []


def missing_docstring(source: str) -> list[str]:
    return [] if ast.get_docstring(ast.parse(source)) else ["1: no module docstring"]


def assertion_free_tests(source: str) -> list[str]:
    """Test functions that cannot fail by their own word: no assert, no `raises`, no `assert_…`, and no call of a function
    of the same file that has one."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    asserting: set[str] = set()
    while found := {f.name for f in functions if _asserts(f, asserting)} - asserting:
        asserting |= found
    return [f"{f.lineno}: {f.name}" for f in functions if f.name.startswith("test") and not _asserts(f, asserting)]


def _asserts(function: ast.AST, asserting: set[str]) -> bool:
    for node in ast.walk(function):
        match node:
            case ast.Assert(test=ast.Constant()):
                continue
            case ast.Assert():
                return True
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                if name in asserting or _ASSERTING_CALLS.match(name):
                    return True
    return False


def foreign_places(text: str) -> list[str]:
    """Package hosts, package indexes, and paths of one particular machine."""
    return [
        f"{number}: {match.group(1)}"
        for number, line in enumerate(text.splitlines(), start=1)
        for match in _FOREIGN.finditer(line)
    ]


def empty_package(sources: list[str]) -> list[str]:
    """`sources` are all modules of one package folder: one of them must hold more than a docstring."""
    bodies = [statement for source in sources for statement in ast.parse(source).body]
    only_words = all(isinstance(statement, ast.Expr | ast.ImportFrom) for statement in bodies)
    return ["1: a package without code"] if only_words else []


def off_the_map(text: str, room: str, modules: Set[str]) -> list[str]:
    """Modules of a room that its table in docs/ARCHITECTURE.md does not name, and names there that no module has."""
    _, _, after = text.partition(f"| `{room}` |")
    table = after.partition("\n\n")[0]
    named = set(re.findall(r"`([a-z0-9_]+)/?`", table))
    return [f"{name}: not in the table" for name in sorted(modules - named)] + [
        f"{name}: in the table, but not there" for name in sorted(named - modules)
    ]
