from .artifacts.manifest import Artifact, FileEntry, Manifest
from .bench.types import BenchReport, BenchRequest
from .errors import (
    ArtifactError,
    BadInputError,
    C3DExportError,
    CheckFailedError,
    CheckpointError,
    IntegrityError,
    OutputError,
    UnavailableError,
    UsageError,
)
from .fault_injection.results import FaultResult, SelfTestOptions, SelfTestReport
from .network import BuildOptions, BuiltModel, ConvHint, OutputSpec, TensorSpec
from .results import Comparison, Determinism, Localization, ParityReport, Placement
from .types import (
    ConvertRequest,
    EngineReference,
    ExportRequest,
    OptimizeOptions,
    OptimizeRequest,
    ParityOptions,
)
from .workflows.bench import benchmark
from .workflows.candidates import ParityFailedError
from .workflows.convert import ConvertResult, convert
from .workflows.export import ExportResult, export
from .workflows.inspect import Inspection, inspect
from .workflows.optimize import OptimizationMismatchError, OptimizeResult, optimize
from .workflows.self_test import self_test
from .workflows.verify import verify_parity

__all__ = [
    "Artifact",
    "ArtifactError",
    "BadInputError",
    "BenchReport",
    "BenchRequest",
    "BuildOptions",
    "BuiltModel",
    "C3DExportError",
    "CheckFailedError",
    "CheckpointError",
    "Comparison",
    "ConvHint",
    "ConvertRequest",
    "ConvertResult",
    "Determinism",
    "EngineReference",
    "ExportRequest",
    "ExportResult",
    "FaultResult",
    "FileEntry",
    "Inspection",
    "IntegrityError",
    "Localization",
    "Manifest",
    "OptimizationMismatchError",
    "OptimizeOptions",
    "OptimizeRequest",
    "OptimizeResult",
    "OutputError",
    "OutputSpec",
    "ParityFailedError",
    "ParityOptions",
    "ParityReport",
    "Placement",
    "SelfTestOptions",
    "SelfTestReport",
    "TensorSpec",
    "UnavailableError",
    "UsageError",
    "benchmark",
    "convert",
    "export",
    "inspect",
    "optimize",
    "self_test",
    "verify_parity",
]

__version__: str
