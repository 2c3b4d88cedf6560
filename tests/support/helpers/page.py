"""A page as parsed by Python's HTML parser."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "input", "hr"}


@dataclass
class Page(HTMLParser):
    """What a page holds.

    Attributes:
        tags: every element in order: (name, attributes, the elements around it).
        texts: every text in order, with the elements around it.
        unclosed: elements whose end tag is missing or misplaced.
    """

    source: str
    tags: list[tuple[str, dict[str, str], tuple[str, ...]]] = field(default_factory=list)
    texts: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    unclosed: list[str] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.source)
        self.close()
        self.unclosed += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}, tuple(self._open)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}, tuple(self._open)))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.unclosed.append(tag)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((" ".join(data.split()), tuple(self._open)))

    def named(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of every such element."""
        return [attributes for name, attributes, _ in self.tags if name == tag]

    def shown(self, *within: str) -> list[str]:
        """Return the texts inside all of these elements, style aside."""
        return [text for text, path in self.texts if "style" not in path and set(within) <= set(path)]


def assert_complete(page: Page) -> None:
    """Check that every element is closed and every id unique, and that nothing is loaded from the network or runs."""
    assert page.unclosed == []
    ids = [attributes["id"] for _, attributes, _ in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes, _ in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form")
        assert not [name for name in attributes if name.startswith("on")]
        assert set(attributes.get("aria-labelledby", "").split()) <= set(ids)
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
    assert set(re.findall(r"url\(#([^)]+)\)", page.source)) <= set(ids)
    assert not re.search(r"https?:|@import|url\((?!#)", page.source)
