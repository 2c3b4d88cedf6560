"""The names in the code are terms of the field: names that were given up for such a term are not used again.

An old name may be a local variable; it may not be a module, class, function, parameter, attribute or constant. A name
that becomes the right one for something new is taken out of the lists here.
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
        "absence AccuracyRule adopt Against agreeing Agreement alarms alike Answers _Answers ANY Applied "
        "Arithmetic arithmetic_of as_it_is AT_ONCE _attempt back Bench between_zeros blame BOOKKEEPING Bound "
        "boundary BROKEN BuiltNetwork caught check_clip CLEAN COARSEST _complaints computed_values Contents "
        "Contestant contestants conversion CONVERTIBLE convolutions ConvSite Copy COUNTER Counts Course Coverage "
        "cpu CROP cut _cut_space _cut_time departure distance Distribution distribution draw_for drop_unused "
        "dropping EDGES _edges elsewhere ENOUGH enough ensure enter Entrant essential _examine examine Exported "
        "expose _exposed exposed FACTOR _fault FC6_INPUTS _fed_dtype Fetched FEW FileTruth find_judge fit_of FIVE "
        "FIXED FixedRule flipped FLOOR followers Foreign Form formed found_in fresh frozen FULL gather "
        "GraphOptions growth HalvingPool hash_file heard _held highest hold_against imitates inherited "
        "_initialised INPUT InputPool instead is_rewritten _judge judgement_options Kind kind_of kinds known_by "
        "LARGER largest_tile _LEAKS LEAST_GAIN _left_alone LIKE likeness _listen load_subject load_whole "
        "LOADED LocalFile LONGEST LONGEST_ANSWER lost matching material MeasuredRule MERGE micro missed Missing "
        "MIXED mixes MOST_CLASSES MOST_LAYERS mount name_canonically _name_like_the_network _named NEAR "
        "NetworkTruth next_best NORMALISATIONS NotTheSameError OLDEST_OPSET _One only_use optimised optimization "
        "output_errors OWN paired_ports PAIRS Part Partial Peer picture Pictures pictures Place plant play POOLED "
        "portable Ports prefer put_in_place quiet _quietly RATE _recall recipes recognise Recognition recognition "
        "REDUCED _refer _referring refusal_of repack Rewriting RoleSite ROOM Rule rule_for SCREEN ScriptForm "
        "sentence Settings SETTLE _settle settle_open Shown shown_by _sides single Site site_of sites skips "
        "_Sliding sort_out _sound sound_members SoundGraph _Stem store_weights strangers Subject Tail tail "
        "_take_small target_of _tell telling _together _told told told_conventions torch_network TorchNetwork "
        "torchscript_forms trials _tried Truth truth tuning turned turns _Two type_of_option UNIT usable_cores "
        "Values verdicts View WEAK weights_as weights_facts WeightsFile what_else why _with_match without_secrets "
        "WORDS WORTH_IT _would_load Written _zipped"
    ),
    "models/": ("FEATURES FRAMES HEAD _loaded _ready spec stages"),
    "models/checkpoints/": ("EVERY KINDS aside fitting foreign provenance shown"),
    "exporter/": ("STORAGES printable processor share"),
    "exporter/formats/": ("_own _put check choose encoded opening parse places prepare repack"),
    "exporter/engines/": ("converted kernels title"),
    "exporter/parity/": ("DRAWN PEAK RoleSite Trial _keep _other alike ask draw_clips judge match ports rebuild shown"),
    "exporter/passes/": ("CHAIN CLOSE LONG _back alone forms graph label recipe"),
    "exporter/bench/": ("Entry Field others ratios report serve workers"),
    "exporter/fault_injection/": ("apart below bench planned refused scratch"),
    "exporter/reports/": ("machine places words written"),
    "exporter/cli/": ("checkpoints machine"),
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
