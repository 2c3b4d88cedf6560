"""Which clips are taken, by options and profile."""

from dataclasses import replace
from fractions import Fraction

import pytest

from exporter.errors import UsageError
from exporter.inference.predictions import SamplingRecord
from exporter.inference.types import ClipOptions
from exporter.video.sampling import Sampling, Seconds
from exporter.workflows.video_inputs import note_overlap, plan_sampling, record_sampling
from models.preprocessing.profiles import GLUONCV, JFZHANG95, MMACTION2


def test_the_profile_decides_what_the_options_leave_open() -> None:
    assert plan_sampling(16, JFZHANG95, ClipOptions()) == Sampling(16, step=1)
    assert plan_sampling(16, MMACTION2, ClipOptions()) == Sampling(16, clips=10)
    assert plan_sampling(16, GLUONCV, ClipOptions()) == Sampling(16, frame_step=2, clips=1)
    assert plan_sampling(16, replace(JFZHANG95, clip_step=None), ClipOptions()) == Sampling(16)
    assert plan_sampling(16, replace(MMACTION2, clip_step=4), ClipOptions()) == Sampling(16, clips=10)


def test_options_replace_the_profile() -> None:
    assert plan_sampling(16, MMACTION2, ClipOptions(step=8, short="pad")) == Sampling(16, step=8, short="pad")
    assert plan_sampling(16, JFZHANG95, ClipOptions(clips=3)) == Sampling(16, clips=3)
    window = Seconds(Fraction(1, 2))
    assert plan_sampling(16, MMACTION2, ClipOptions(window=window)) == Sampling(16, window=window)


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(UsageError):
        plan_sampling(16, JFZHANG95, ClipOptions(step=8, clips=3))


def test_a_step_of_the_profile_by_which_clips_overlap_is_noted() -> None:
    sampling = plan_sampling(16, JFZHANG95, ClipOptions())
    (note,) = note_overlap(sampling, ClipOptions())
    assert note == "clips overlap: the profile's step is 1; --step 16 is about 16 times as fast"
    asked = ClipOptions(step=8)
    assert note_overlap(plan_sampling(16, JFZHANG95, asked), asked) == ()
    for profile in (MMACTION2, replace(JFZHANG95, clip_step=16), replace(JFZHANG95, clip_step=None)):
        assert note_overlap(plan_sampling(16, profile, ClipOptions()), ClipOptions()) == ()


def test_the_record() -> None:
    assert record_sampling(Sampling(16, frame_step=2)) == SamplingRecord(16, 31, 32, None, "repeat")
    assert record_sampling(Sampling(16, clips=10)) == SamplingRecord(16, 16, None, 10, "repeat")
    second = Seconds(Fraction(1))
    assert record_sampling(Sampling(16, window=second, step=second)) == SamplingRecord(16, "1s", "1s", None, "repeat")
