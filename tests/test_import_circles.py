"""No module imports itself through others: also not inside a function, which hides a circle, nor for an annotation."""

from graphlib import TopologicalSorter

import grimp


def test_imports_have_no_circle() -> None:
    graph = grimp.build_graph("exporter", "models", cache_dir=None)
    TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()
