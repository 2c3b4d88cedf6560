"""Names that become file names."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.file_names import find_name_fault

BAD = {
    "": "empty",
    " \t": "empty",
    "a/b": "a /",
    "a\\b": "a \\",
    "..": "begins",
    "-rf": "begins",
    ".hidden": "begins",
    " a": "begins",
    "a.": "ends",
    "a ": "ends",
    "a\nb": "U+000A",
    "a\0b": "U+0000",
    "\x1b[2J": "U+001B",
    "a\x85": "U+0085",
    "gpj\u202egnp": "U+202E",
    "\u2066a": "U+2066",
    "a\u200bb": "U+200B",
    "a\ufeff": "U+FEFF",
    "a\u2028b": "U+2028",
    "a\u00a0b": "U+00A0",
    "a\u3164": "U+3164",
    "a\ufe0f": "U+FE0F",
    "a\U000e0061": "U+E0061",
    "\udcff": "U+DCFF",
    "\u0301a": "combining",
    "q" + "\u0301" * 9: "combining",
    "e\u0301": "NFC",
    "a:b": "Windows",
    "a|b": "Windows",
    "what?": "Windows",
    "CON": "device",
    "nul": "device",
    "com1.v2": "device",
    "lpt¹": "device",
    "x" * 101: "101 bytes",
    "動" * 34: "102 bytes",
}


@pytest.mark.parametrize("name", BAD)
def test_names_that_a_terminal_or_a_file_system_would_misread(name: str) -> None:
    assert BAD[name] in str(find_name_fault(name, 100))


@pytest.mark.parametrize(
    "name",
    [
        "c3d",
        "c3d-ucf101",
        "c3d v2.1",
        "C3D_é",
        "動画",
        "видео",
        "وصف",
        "हिन्दी",
        "שלום",
        "ไทย",
        "con1",
        "com10",
        "a(1)'&#",
    ],
)
def test_words_of_every_script_are_names(name: str) -> None:
    assert find_name_fault(unicodedata.normalize("NFC", name), 100) is None


@given(st.text(st.characters(codec=None), max_size=30))
def test_what_is_accepted_is_one_visible_word_of_a_path(name: str) -> None:
    if find_name_fault(name, 100) is None:
        assert name.isprintable()
        assert name == name.strip()
        assert not set(name) & set('/\\<>:"|?*')
        assert len(name.encode()) <= 100
