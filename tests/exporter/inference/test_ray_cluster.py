"""Connecting to a Ray cluster."""

import pytest

from exporter.errors import UnavailableError
from exporter.inference.ray_cluster import require_reachable


def test_an_address_without_a_cluster_is_refused_at_once() -> None:
    with pytest.raises(UnavailableError, match="--ray-address 127.0.0.1:1: no cluster there: .*refused"):
        require_reachable("127.0.0.1:1")
    require_reachable("auto")
