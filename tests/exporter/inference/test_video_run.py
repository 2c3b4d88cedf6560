"""Results of videos, kept while they are yielded."""

from exporter.inference.predictions import VideoFailure
from exporter.inference.video_run import VideoRun


def test_what_was_yielded_is_kept_apart_by_whether_it_failed() -> None:
    failure = VideoFailure("b.mp4", "b.mp4: no video", 3)
    results = VideoRun[str](iter(("a", failure, "c")), 0.0)
    for result in results:
        if result is failure:
            break
    assert (results.videos, results.failures) == (("a",), (failure,))
    assert list(results) == ["c"]  # goes on where it was left
    assert results.videos == ("a", "c")
    assert results.seconds > 0
