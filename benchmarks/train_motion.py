"""Train a narrow C3D on synthetic motion, for accuracy figures of a network whose scores mean something.

    python benchmarks/train_motion.py motion-run [--steps 1200] [--seed 0]

Writes into the folder:

* `motion.safetensors`: a checkpoint of C3D with 8 base channels for clips of 3x16x32x32, with its classes and profile;
* `calibration/`, `test/` and `noisy/`: H.264 videos of one clip each that training never saw, the class in their names;
  those of `noisy/` have four times the noise and shapes of half the contrast;
* `training.json`: options, loss and accuracy on the way, versions.

It takes about 5 minutes of one core. On one machine, the same seed and versions give the same files.
`benchmarks/trained_accuracy.py` then measures every format and precision.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from motion_clips import CLASSES, FRAMES, Task, balanced_labels, draw_clips, write_video
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from exporter.system import environment
from models.builder import build
from models.c3d import C3D
from models.checkpoints.metadata import CONVENTIONS_KEY, Conventions
from models.options import BuildOptions
from models.preprocessing.recipe import Preprocessing

CHECKPOINT = "motion.safetensors"
BASE_CHANNELS = 8
FEATURE_DIM = 64
BATCH = 32
PEAK_RATE = 2e-3
REPORT_STEPS = 50
NOISY = Task(noise=32.0, min_contrast=20.0)
"""Clips so hard that many scores are close to each other: a small error changes the highest."""

TRAINING_SEED, CALIBRATION_SEED, TEST_SEED, NOISY_SEED = 0, 1, 2, 3
"""The second part of each generator's seed; the first is `--seed`. Clips of one never occur in another."""


@dataclass(frozen=True)
class Options:
    """What decides a run.

    Attributes:
        steps: batches of 32 clips, each clip drawn anew.
        seed: of the initial weights and of every clip.
        calibration: videos for `--calibrate`.
        test: videos for the accuracy; there are as many noisy ones.
    """

    steps: int
    seed: int
    calibration: int
    test: int


def profile(side: int) -> Preprocessing:
    """Return the profile of the clips: RGB from 0 to 1, minus 0.5, over 0.25."""
    return Preprocessing(
        name="motion",
        channels="RGB",
        scale=1 / 255,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        resize=(side, side),
        crop=(0, 0),
        source="benchmarks/motion_clips.py",
        clips=1,
    )


def to_input(clips: NDArray[np.uint8]) -> Tensor:
    """Return clips (N, T, H, W, 3) as the profile makes them: float32 (N, 3, T, H, W)."""
    return torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float().div(255).sub(0.5).div(0.25)


def make_network(task: Task, seed: int) -> C3D:
    """Return the untrained network."""
    size = (3, FRAMES, task.side, task.side)
    options = BuildOptions(
        num_classes=len(CLASSES), base_channels=BASE_CHANNELS, feature_dim=FEATURE_DIM, input_size=size, seed=seed
    )
    network = build(options).network
    assert isinstance(network, C3D)
    return network


def train(network: C3D, options: Options, task: Task) -> list[dict[str, float]]:
    """Train the network in place. Return step, loss and accuracy of the clips since the last report.

    Dropout is off: no clip is seen twice.
    """
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    network.train().requires_grad_(requires_grad=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=options.steps, pct_start=0.15)
    records: list[dict[str, float]] = []
    losses: list[float] = []
    right = 0
    for step, (clips, labels) in enumerate(_batches(options, task), start=1):
        scores = network(clips)
        loss = F.cross_entropy(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        right += int((scores.argmax(1) == labels).sum())
        if step % REPORT_STEPS == 0 or step == options.steps:
            accuracy = right / (len(losses) * BATCH)
            records.append({"step": step, "loss": float(np.mean(losses)), "accuracy": accuracy})
            print(
                f"step {step} of {options.steps}: loss {records[-1]['loss']:.3f}, accuracy {accuracy:.3f}, "
                f"{time.process_time():.0f} s of processor time",
                flush=True,
            )
            losses, right = [], 0
    network.eval().requires_grad_(requires_grad=False)
    return records


def _batches(options: Options, task: Task) -> Iterator[tuple[Tensor, Tensor]]:
    generator = np.random.default_rng((options.seed, TRAINING_SEED))
    for _ in range(options.steps):
        labels = balanced_labels(BATCH, generator)
        yield to_input(draw_clips(labels, task, generator)), torch.from_numpy(labels)


def write_videos(folder: Path, count: int, task: Task, seed: tuple[int, int]) -> None:
    """Write `count` videos of one clip each: `0007-north-east-slow.mp4`."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for number, label in enumerate(balanced_labels(count, generator)):
        (clip,) = draw_clips(np.array([label]), task, generator)
        write_video(folder / f"{number:04d}-{CLASSES[label].replace(' ', '-')}.mp4", clip)


def save(network: C3D, path: Path, task: Task) -> None:
    """Write the checkpoint, with the conventions that its names and shapes do not show."""
    conventions = Conventions(
        pool5=network.config.pool5,
        preprocessing=profile(task.side),
        variant=network.config.variant,
        input_size=network.config.clip_shape,
        class_names=CLASSES,
    )
    state = {name: value.contiguous() for name, value in sorted(network.state_dict().items())}
    save_file(state, path, metadata={CONVENTIONS_KEY: conventions.to_json()})


def main() -> None:
    """Train, and write the checkpoint and the videos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calibration", type=int, default=64, metavar="VIDEOS")
    parser.add_argument("--test", type=int, default=640, metavar="VIDEOS")
    arguments = parser.parse_args()
    options = Options(arguments.steps, arguments.seed, arguments.calibration, arguments.test)
    torch.set_num_threads(1)  # sums over threads depend on their number
    torch.use_deterministic_algorithms(mode=True)
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    task = Task()
    write_videos(folder / "calibration", options.calibration, task, (options.seed, CALIBRATION_SEED))
    write_videos(folder / "test", options.test, task, (options.seed, TEST_SEED))
    write_videos(folder / "noisy", options.test, NOISY, (options.seed, NOISY_SEED))
    network = make_network(task, options.seed)
    records = train(network, options, task)
    save(network, folder / CHECKPOINT, task)
    account = {"options": asdict(options), "task": asdict(task), "training": records, "environment": environment()}
    (folder / "training.json").write_text(json.dumps(account, indent=2) + "\n")


if __name__ == "__main__":
    main()
