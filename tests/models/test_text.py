"""Text from files, on a terminal: what it may do there, and how long it may be."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.text import find_name_fault, format_memory, is_plain, shorten, visible

HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.characters(categories=("Cc", "Cf", "Cs", "Zl", "Zp", "Mn", "Me")),
        st.sampled_from("\\x0ab\u3164\ufe0f\u2800\U000e0041[]/"),
    )
)
ESCAPE = re.compile(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}")


@given(HOSTILE)
@example("a" + "\u0301" * 50)
def test_what_is_shown_controls_no_terminal(text: str) -> None:
    shown = visible(text)
    categories = {unicodedata.category(letter) for letter in shown}
    assert not categories & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not re.search("[\u3164\u115f\u2800\ufe00-\ufe0f\U000e0000-\U000e0fff]", shown)
    assert not re.search(r"^[\u0300-\u036f]|[\u0300-\u036f]{5}", shown)
    shown.encode()  # UTF-8 has it
    assert visible(shown) == shown
    assert is_plain(text) == (shown == text)


@given(st.text(st.characters(categories=("L", "N", "P", "Sm", "Sc"), exclude_characters="\u115f\u1160\u3164\uffa0")))
def test_letters_of_every_script_are_shown_as_they_are(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    "text", ["Größe", "動画", "वीडियो", "तेज़ी", "שָׁלוֹם", "الفيديو", "ภาพเคลื่อนไหว", "Tiếng Việt", "e\u0301"]
)
def test_words_with_marks_are_shown_as_they_are(text: str) -> None:
    assert visible(text) == text


@given(HOSTILE, st.integers(80, 200), st.integers(1, 200))
def test_a_text_of_any_length_fits(text: str, most: int, times: int) -> None:
    long = text * times
    shown = shorten(long, most)
    assert len(shown) <= most
    assert shown == visible(long) or f"({len(long):,} characters)" in shown
    if shown != visible(long):
        # both ends consist of whole letters and escapes of the text
        first, _, last = re.split(r"…(\([0-9,]+ characters\))…", shown, maxsplit=1)
        assert visible(long).startswith(first)
        assert not re.search(r"\\(x[0-9a-f]?|u[0-9a-f]{0,3}|U[0-9a-f]{0,7})$", first) or "\\" in text
        assert len(first) + len(last) > most - 60


@pytest.mark.parametrize("most", range(80, 100))
def test_no_escape_is_cut(most: int) -> None:
    for text in ("\x1b" * 99, r"\x1b" * 99, "\U000e0041" * 99):  # escaped here, and before
        shown = shorten(text, most)
        assert not ESCAPE.sub("", re.sub("….*…", "", shown))


def test_the_cost_does_not_grow_with_the_text() -> None:
    assert shorten("\x1b" * 50_000_000 + "end", 100).endswith(r"\x1bend")


@pytest.mark.parametrize(
    ("count", "text"), [(3.14e9, "3.1 GB"), (400_000_000, "400 MB"), (12, "12 bytes"), (999_999, "999999 bytes")]
)
def test_memory_is_stated_in_round_numbers(count: float, text: str) -> None:
    assert format_memory(count) == text


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


def test_a_text_that_holds_a_shortened_one_states_no_smaller_length() -> None:
    again = shorten(f"a.txt: {shorten('x' * 30_000, 10_000)}", 10_000)
    assert "…(more than 30,000 characters)…" in again
    assert "…(more than 30,000 characters)…" in shorten(again, 400)
    assert len(again) <= 10_000
