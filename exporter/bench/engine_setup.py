"""What the added engines run: the network in torch, the plain graph, what MNN's converter makes of it."""

import subprocess
import tempfile
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.rebuilding import rebuild_network
from exporter.bench.inputs import Feeds, matching_names
from exporter.bench.targets import THIS_PYTHON, BenchTarget
from exporter.bench.types import BenchRequest, Skipped
from exporter.bench.worker_client import child_environment
from exporter.engines import Engine, bench_engines
from exporter.engines.base import RuntimeOptions
from exporter.engines.mnn import convert
from exporter.errors import C3DExportError, OutOfMemoryError, UsageError
from exporter.formats import FORMATS
from exporter.formats.base import Attempt, WriteRequest
from exporter.onnx_io.signature import read_signature
from exporter.parity.arrays import shape_fits
from exporter.storage import translate_os_errors
from exporter.types import DEFAULT_OPSET
from models.built_model import BuiltModel
from models.options import BuildOptions
from models.progress import Progress
from models.specs import Signature

MIN_PYTHON = (3, 11)
LOOKUP_TIMEOUT_S = 60
LOOKUP = """
import importlib.util, sys
sys.exit(2 if sys.version_info < {version} else importlib.util.find_spec({library!r}) is None)
"""


@dataclass
class EngineSetup:
    """Makes what engines run, each thing once and only if it is needed.

    Attributes:
        request: what is measured, and which engines.
        first: the first artifact, whose network the engines run.
        signature: what it takes and returns, where that is stated.
        feeds: its inputs.
        plain: the plain graph, where an artifact or the user's file is one, or once it is written.
        folder: where files for the engines are written.
        progress: called at each long step.
        notes: how the network that is built again differs from the one that the artifact was exported from.
    """

    request: BenchRequest
    first: LoadedArtifact
    signature: Signature | None
    feeds: Feeds
    plain: Path | None
    folder: Path
    progress: Progress
    notes: tuple[str, ...] = ()
    _built: BuiltModel | None = None

    def prepare(self, *, plain_takes_part: bool) -> tuple[tuple[BenchTarget, ...], tuple[Skipped, ...]]:
        """Return the engines that can take part, and the others with the reason.

        Args:
            plain_takes_part: the plain graph is one of the artifacts, so the default engine need not run it once more.
        """
        targets: list[BenchTarget] = []
        missing: list[Skipped] = []
        for engine in bench_engines():
            interpreter = self.request.engine_python.get(engine.name, THIS_PYTHON)
            if engine.name == "onnxruntime" and plain_takes_part and interpreter == THIS_PYTHON:
                continue
            if self.request.device not in engine.devices:
                reason = f"runs on {', '.join(engine.devices)} only"
            else:
                reason = missing_reason(engine, interpreter)
            if reason is None:
                try:
                    with translate_os_errors(self.folder):
                        targets.append(self._make_target(engine, interpreter))
                except OutOfMemoryError:
                    raise
                except (C3DExportError, subprocess.SubprocessError) as error:
                    reason = str(error)
            if reason is not None:
                missing.append(Skipped(_display_name(engine), reason, added=True))
        self._built = None  # the measurements need its memory
        return tuple(targets), tuple(missing)

    def _make_target(self, engine: Engine, interpreter: Path) -> BenchTarget:
        options = RuntimeOptions(self.request.device)
        if "network" in engine.runs:
            model = self._network()
            inputs, outputs = (model.input.name,), self._outputs()
            path, file = self._saved_network(), model.title
        else:
            path = self._plain()
            file = "the plain graph" if path.parent == self.folder else str(path)
            signature = read_signature(path)
            options = replace(options, signature=signature)
            inputs = matching_names(path, self.feeds, signature)
            outputs = tuple(output.name for output in signature.outputs)
            if "mnn" in engine.runs:
                self.progress("converting the plain graph for MNN")
                path, plain = self.folder / "plain.mnn", path
                convert(plain, path, interpreter, child_environment(interpreter))
        # inductor caches compiled code between runs, and its load time would depend on earlier runs
        scratch = {"TORCHINDUCTOR_CACHE_DIR": tempfile.mkdtemp(dir=self.folder)} if engine.name == "inductor" else {}
        return BenchTarget(
            _display_name(engine),
            file,
            engine,
            path,
            options,
            inputs,
            outputs,
            interpreter,
            added=True,
            environment=scratch,
        )

    def _network(self) -> BuiltModel:
        reference = self.request.reference
        if self.first.manifest is None and isinstance(reference, BuildOptions) and reference.weights is None:
            raise UsageError(
                f"{self.first.path.name} has no manifest that states its network; give its checkpoint with "
                "--weights FILE"
            )
        if self._built is None:
            self.progress("building the network for the engines")
            self._built, self.notes = rebuild_network(self.first, reference, self.progress)
        if len(self.feeds.inputs) != 1 or not shape_fits(
            self.feeds.sizes(1).popitem()[1][1:], self._built.input.shape[1:]
        ):
            raise UsageError(f"{self.first.path.name} takes another input than {self._built.title}")
        return self._built

    def _outputs(self) -> tuple[str, ...]:
        """Return the first artifact's outputs, as far as the network has them by name, else its default outputs."""
        model = self._network()
        known = {output.name for output in model.outputs}
        stated = self.signature.outputs if self.signature else ()
        named = tuple(output.name for output in stated if output.name in known)
        return tuple(output.name for output in model.select(named or None))

    def _plain(self) -> Path:
        """Return the plain graph: an artifact that is one, or the network exported now."""
        if self.plain is None:
            model = self._network()
            if self.first.manifest is None:
                raise UsageError(
                    f"{self.first.path.name} has no manifest to export the plain graph by; --engine-model FILE does"
                )
            self.progress("writing the plain graph for the engines")
            manifest = replace(self.first.manifest.embedded(), format="onnx", options={"target": "portable"})
            manifest = replace(manifest, signature=model.signature(self._outputs(), manifest.signature.batch))
            (candidate,) = FORMATS["onnx"].candidates(model, WriteRequest("plain", manifest, DEFAULT_OPSET))
            written = candidate.write(Attempt(self.folder))
            self.plain = self.folder / written.files[0].name
        return self.plain

    def _saved_network(self) -> Path:
        from exporter.engines.pytorch import save_network

        path = self.folder / "network.pt"
        if not path.exists():
            save_network(self._network(), path)
        return path


def missing_reason(engine: Engine, interpreter: Path) -> str | None:
    """Return why an interpreter cannot run an engine, before anything is made for it; None where it can."""
    if interpreter == THIS_PYTHON:
        return f"not installed; {engine.install}" if find_spec(engine.library) is None else None
    try:
        found = subprocess.run(  # noqa: S603 - the interpreter is the user's own choice
            [str(interpreter), "-c", LOOKUP.format(version=MIN_PYTHON, library=engine.library)],
            env=child_environment(interpreter),
            capture_output=True,
            timeout=LOOKUP_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{interpreter} cannot be started: {error}"
    if found.returncode == 2:
        return f"{interpreter} is older than Python {'.'.join(map(str, MIN_PYTHON))}, which bench needs"
    return None if found.returncode == 0 else f"not installed in {interpreter}; {engine.install}"


def _display_name(engine: Engine) -> str:
    return f"{engine.display_name} plain" if engine.name == "onnxruntime" else engine.display_name
