"""Files and modules that pages, docstrings and comments name exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXTS = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")]
FOLDERS = ("benchmarks", "docs", "exporter", "models", "tests")


def test_files_that_texts_name_exist() -> None:
    named = re.compile(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w/.-]+\.(?:py|pyi|md|html)\b")
    sources = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md")]
    for source in (*sources, *TEXTS):
        for path in named.findall(source.read_text()):
            assert (ROOT / path).is_file(), f"{source}: {path}"


def test_modules_that_texts_name_exist() -> None:
    sources = [
        *TEXTS,
        *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md")),
    ]
    named = [
        (source, name)
        for source in sources
        for name in re.findall(r"(?<!`)`((?:exporter|models)(?:\.[A-Za-z_]\w*)+)`", source.read_text())
    ]
    assert len(named) > 50
    for source, name in named:
        place, parts = ROOT, name.split(".")
        while parts and (place / parts[0]).is_dir():
            place /= parts.pop(0)
        if parts and (place / f"{parts[0]}.py").is_file():
            place /= f"{parts.pop(0)}.py"
        stated = [place] if place.is_file() else [*place.glob("__init__.py*")]
        text = "".join(path.read_text() for path in stated)
        assert not parts or re.search(rf"\b{parts[0]}\b", text), f"{source}: {name}"
