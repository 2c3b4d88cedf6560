"""Publishing on real file systems that are full or read-only, and folders of other users."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy

FULL = """
import json, os, sys
from pathlib import Path
from helpers.publications import PUBLICATIONS, REFUSED
from exporter.errors import OutputError

disk = Path(sys.argv[1])
for name, publication in PUBLICATIONS.items():
    found, damaged = [], []
    for pages in range(14):
        folder = disk / f"{name}-{pages}"
        folder.mkdir()
        publication.publish(folder, "a")
        free = os.statvfs(disk).f_bavail
        filler = disk / "filler"
        filler.write_bytes(bytes(4096 * (free - pages)))
        try:
            publication.publish(folder, "b")
            told = ""
        except (OutputError, OSError) as error:
            told = str(error)
        left = [path.name for path in folder.glob(".c3d-export-*")]
        filler.unlink()
        content = publication.read(folder)
        found.append(content)
        if content == REFUSED or left or ("No space left on device" not in told and content != "b"):
            damaged.append([pages, content, left, told])
    print(json.dumps([name, sorted({str(one) for one in found}), damaged]))
"""
"""Publishes on a disk of 2 MB on which ever more pages of 4 KiB are free."""


def unshared(*arguments: str) -> list[str]:
    """A command in a user namespace of its own; skips where the system does not allow one."""
    command = ["unshare", "--user", *arguments]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs unshare(1), and a system that allows user namespaces")
    return command


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": "/nonexistent"}


def test_a_disk_that_fills_at_any_page(tmp_path: Path) -> None:
    script, disk = tmp_path / "full.py", tmp_path / "disk"
    script.write_text(FULL)
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=2m none {disk} && {sys.executable} {script} {disk}"
    command = [*unshared("--map-root-user", "--mount"), "sh", "-c", mount]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    if "mount" in done.stderr:
        pytest.skip("the system does not allow mounting")
    assert done.stderr == ""
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [damaged for _, _, damaged in results] == [[]] * len(results)
    assert all("b" in found and len(found) > 1 for _, found, _ in results), results


def test_a_folder_without_permission_is_known_before_the_work(tmp_path: Path) -> None:
    """In a user namespace root has its files, and may no longer write anywhere."""
    check = (
        "import sys; from pathlib import Path; from exporter.output_targets import check_output_file\n"
        "check_output_file(Path(sys.argv[1]) / 'scores.csv', '--csv')"
    )
    tmp_path.chmod(0o500)
    command = [*unshared(), sys.executable, "-c", check, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.stderr.splitlines()[-1].endswith("scores.csv: cannot be written: no permission")
