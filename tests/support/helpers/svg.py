"""The charts of a page, parsed."""

import re
from xml.etree import ElementTree as ET


def svgs(markup: str) -> list[ET.Element]:
    found = re.findall(r"<svg.*?</svg>", markup, re.DOTALL)
    return [ET.fromstring(text) for text in found]  # so each is well-formed


def texts(svg: ET.Element) -> list[str]:
    return ["".join(text.itertext()).strip() for text in svg.iter("text")]
