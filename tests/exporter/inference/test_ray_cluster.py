"""Connecting to a Ray cluster."""

import pytest

from exporter.errors import UnavailableError
from exporter.inference import ray_cluster
from exporter.inference.ray_cluster import require_reachable


def test_an_address_without_a_cluster_is_refused_at_once() -> None:
    with pytest.raises(UnavailableError, match="--ray-address 127.0.0.1:1: no cluster there: .*refused"):
        require_reachable("127.0.0.1:1")
    require_reachable("auto")


def test_a_cluster_that_refuses_is_reported_with_the_reason_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="pip install 'c3d-export[ray]'")
    frames = '  File "node.py", line 996, in _init\n    client = GcsClient(\n             ^^^^^^^^^^\n' * 9
    cause = RuntimeError(
        f"Failed to connect to GCS. Last connection error: Traceback (most recent call last):\n{frames}"
        "ray.exceptions.AuthenticationError: Authentication token is missing or incorrect."
    )

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster") from cause

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(UnavailableError) as caught, ray_cluster.connect("auto"):
        pass
    assert str(caught.value) == (
        "--ray-address auto: cannot connect to Ray: Failed to connect to Ray cluster; Failed to connect to GCS. "
        "Last connection error: ray.exceptions.AuthenticationError: Authentication token is missing or incorrect."
    )
