"""The names in the code are terms of the field: names that were given up for such a term are not used again.

An old name may be a local variable; it may not be a module, class, function, parameter, attribute or constant. Only
compounds are listed: a single word can be the right one for something new.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = ("exporter/", "models/", "benchmarks/")

RULES = {
    r"_?(MOST|LEAST|FEWEST|LONGEST)_.*": "MAX_, MIN_ or _TIMEOUT_S",
    r".*_of": "a verb: get_, find_, read_, make_",
    r".*_object": "_to_dict",
    r"(Exported|Optimized|Converted|Written|Applied|Fetched)": "Result, with what it is the result of",
}
"""{a pattern of names: what is written instead}."""

REPLACED = {
    "": (
        "AccuracyRule arithmetic_of as_it_is AT_ONCE between_zeros BuiltNetwork check_clip computed_values "
        "ConvSite _cut_space _cut_time draw_for drop_unused FC6_INPUTS _fed_dtype FileTruth find_judge fit_of "
        "FixedRule found_in GraphOptions HalvingPool hash_file hold_against InputPool is_rewritten "
        "judgement_options kind_of known_by largest_tile LEAST_GAIN _left_alone load_subject load_whole "
        "LocalFile LONGEST_ANSWER MeasuredRule MOST_CLASSES MOST_LAYERS name_canonically "
        "_name_like_the_network NetworkTruth next_best NotTheSameError OLDEST_OPSET only_use output_errors "
        "paired_ports put_in_place refusal_of RoleSite rule_for ScriptForm settle_open shown_by site_of "
        "sort_out sound_members SoundGraph store_weights _take_small target_of told_conventions torch_network "
        "TorchNetwork torchscript_forms type_of_option usable_cores weights_as weights_facts WeightsFile "
        "what_else _with_match without_secrets WORTH_IT _would_load"
    ),
    "exporter/parity/": "RoleSite draw_clips",
}
"""{folder: names that were replaced in it}; those of "" in all of CODE."""


def read_definitions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and line of everything that a module defines, without local variables; first its own name."""
    yield path.stem, 1
    yield from _walk(ast.parse(path.read_bytes()), local=False)


def _walk(node: ast.AST, *, local: bool) -> Iterator[tuple[str, int]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name, node.lineno
        local = not isinstance(node, ast.ClassDef)
    elif isinstance(node, ast.Lambda | ast.comprehension):
        local = True
    elif isinstance(node, ast.arg):
        yield node.arg, node.lineno
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.attr, node.lineno
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and not local:
        yield node.id, node.lineno
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, local=local)


MODULES = [path for folder in (*CODE, "tests") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_name_breaks_a_rule_or_was_replaced() -> None:
    replaced = {folder or CODE: {*names.split()} for folder, names in REPLACED.items()}
    found: list[str] = []
    for path in MODULES:
        place = path.relative_to(ROOT).as_posix()
        names = set[str]().union(*(names for folder, names in replaced.items() if place.startswith(folder)))
        for name, line in read_definitions(path):
            better = next((text for rule, text in RULES.items() if re.fullmatch(rule, name)), "")
            if (better or name in names) and not name.startswith("test_"):
                found.append(f"{place}:{line}: {name} {better}")
    assert not found


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def f(a, *b, c=1, **d):\n    e = a\n    return [g for g in e]", {"f", "a", "b", "c", "d"}),
        ("class A:\n    b: int = 0\n    def c(self):\n        self.d = 1", {"A", "b", "c", "self", "d"}),
        ("A, B = 1, 2\nC = [x for x in ()]", {"A", "B", "C"}),
    ],
)
def test_definitions_are_found_without_local_variables(text: str, names: set[str], tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(text)
    assert {name for name, _ in read_definitions(tmp_path / "module.py")} == {"module"} | names
