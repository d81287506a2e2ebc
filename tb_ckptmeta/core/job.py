"""What the caller asks of a worker process, and the files in which they meet. Runs anywhere.

A job is a folder. The caller writes REQUEST into it and starts `python -m tb_ckptmeta.worker FOLDER`; the worker
appends to STEPS and SOURCES as it goes and leaves RESULT, with large things in files of their own beside it. When the
worker has ended, by itself or not, its guardian writes ENDING and OUTPUT.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tb_ckptmeta.core.arguments import Parameter, Scalar

if TYPE_CHECKING:
    from tb_ckptmeta.core.values import Values

REQUEST = "request.json"
STEPS = "steps.jsonl"
SOURCES = "sources.jsonl"
"""Each source file that user code has read, as [path, digest]; as [path, null] one that it has written itself."""
RESULT = "result.json"
ENDING = "ending.json"
OUTPUT = "output.txt"

CONTENTS = "contents.json"
"""The checkpoint's contents, as the caller's reader found them."""
GRAPH = "graph.pb"
"""A serialized GraphDef: the forward pass, flat, with `_output_shapes`."""
REBUILT = "rebuilt.json"
EXPORT = "export"
"""The folder of an export's files, whose names begin with `formats.STEM`."""
INPUTS = "inputs.npz"
REFERENCE = "reference.npz"
OUTPUT_VALUE = "output/"
RANDOM_VALUE = "random/"
INITIAL = "initial/"
"""How names in REFERENCE begin: the model's outputs, those that each call draws anew, and the values of variables that
nothing restores."""
TEMPORARY = "temporary"
"""The folder that is the worker's `TMPDIR`."""


@dataclass(frozen=True)
class Spec:
    """Where builders are registered: a `.py` file (`path`), or a module by name (`module`).

    `given` is how it was written, for messages; `entry_point` tells that an installed package offers it.
    `folder` comes first on the worker's `sys.path`.
    """

    given: str
    path: str | None
    module: str | None
    folder: str
    entry_point: bool = False


@dataclass(frozen=True)
class Limits:
    """What one worker may take: seconds, and bytes of resident memory of its whole process tree."""

    seconds: float
    memory: int


@dataclass(frozen=True)
class Source:
    """The builder call that makes a model: what a rebuild and a check's reference have in common.

    `graph`: build inside a `tf.Graph`. `keras`: "3" or "legacy" where the builder says so; `keras_hint`: what
    the checkpoint's keys show. `arrays`: the paths of what a Keras file holds: which variable loads which one depends
    on all of them. `renames`: rules `FROM=TO` between the checkpoint's names and the model's. `config`: the Keras
    configuration that is deserialised in a builder's stead, as JSON; `spec` then names the file that holds it, and
    `builder` the kind of source.
    """

    spec: Spec
    builder: str
    arguments: Mapping[str, Scalar]
    graph: bool
    keras: str | None
    keras_hint: str | None
    arrays: tuple[str, ...] = ()
    renames: tuple[str, ...] = ()
    config: str | None = None

    @property
    def registered(self) -> str | None:
        """The builder's name, None where there is none."""
        return self.builder if self.config is None else None

    @property
    def title(self) -> str:
        """What makes the model, to begin a sentence."""
        if self.config is None:
            return f"Builder {self.builder!r}"
        return f"The Keras configuration in {self.spec.given}"

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Source:
        lists = {name: tuple(value[name]) for name in ("arrays", "renames")}
        return cls(**{**value, "spec": Spec(**value["spec"]), **lists})


@dataclass(frozen=True)
class Describe:
    """List the builders that one SPEC registers.

    Result: {"builders": [BuilderDescription…], "problems": [error…], "keras": [which Keras they will be built with, as
    far as is known without a checkpoint], "dependencies": Dependencies}.
    """

    kind: ClassVar[str] = "describe"
    spec: Spec
    limits: Limits


@dataclass(frozen=True)
class Export:
    """What is exported: the format, and the checkpoint whose weights some formats carry.

    `checkpoint_format`: as the checkpoint's contents have it.
    """

    format: str
    prefix: str
    checkpoint_format: str


@dataclass(frozen=True)
class Rebuild:
    """Run a builder and flatten what it makes; leaves REBUILT and GRAPH.

    `allocate`: give variables memory, for builders that read them while building.
    `export`: also write EXPORT, of the checkpoint whose CONTENTS lie in the folder. `provenance`: what the exported
    MetaGraphDef says about its checkpoint.

    Result: {"exported": what `worker.export.write_export` returns, or null where the verdict forbids it,
    "dependencies": Dependencies}, or {"needs_allocation": [variable…]}.
    """

    kind: ClassVar[str] = "rebuild"
    source: Source
    limits: Limits
    allocate: bool = False
    export: Export | None = None
    allow_partial: bool = False
    provenance: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Reference:
    """Run a builder, let TensorFlow itself restore it from `prefix`, and run it; leaves INPUTS and REFERENCE."""

    kind: ClassVar[str] = "reference"
    source: Source
    limits: Limits
    prefix: str
    allow_partial: bool = False


@dataclass(frozen=True)
class Check:
    """Load the export in the folder `export`, run it on INPUTS and compare with REFERENCE. No user code.

    `prefix`: where a MetaGraphDef's weights are restored from. `inputs`, `outputs`: signature name -> tensor name,
    for formats that carry no signature. `unrestored`: the variables that the verdict says nothing restores; the
    reference may give the export values of these alone.
    """

    kind: ClassVar[str] = "check"
    export: str
    format: str
    prefix: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    unrestored: tuple[str, ...]
    limits: Limits


@dataclass(frozen=True)
class ReadKeras:
    """List the arrays of a `.weights.h5` or `.keras` file. Needs no TensorFlow, and runs no code of the file's."""

    kind: ClassVar[str] = "read_keras"
    path: str
    limits: Limits


@dataclass(frozen=True)
class Differences:
    """Measure how far the variables of one checkpoint lie from another's. Runs no code of theirs, nor anybody's.

    `pairs`: key of `a`, key of `b`; both are of one shape. Result: {"measured": {key of `a`: what
    `core.diff.add_values` takes}}.
    """

    kind: ClassVar[str] = "differences"
    a: Values
    b: Values
    pairs: tuple[tuple[str, str], ...]
    limits: Limits


Job = Describe | Rebuild | Reference | Check | ReadKeras | Differences


def write_job(job: Job, folder: Path) -> None:
    """Write `job` as the request of `folder`."""
    request = {"job": job.kind, **asdict(job)}
    (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")


def read_job(folder: Path) -> Job:
    """Read the request of `folder` back."""
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    limits = Limits(**request.pop("limits"))
    match request.pop("job"):
        case Describe.kind:
            return Describe(Spec(**request["spec"]), limits)
        case Rebuild.kind:
            source = Source.from_json(request.pop("source"))
            export = request.pop("export")
            return Rebuild(source, limits, export=Export(**export) if export is not None else None, **request)
        case Reference.kind:
            source = Source.from_json(request.pop("source"))
            return Reference(source, limits, **request)
        case Check.kind:
            return Check(limits=limits, unrestored=tuple(request.pop("unrestored")), **request)
        case ReadKeras.kind:
            return ReadKeras(limits=limits, **request)
        case Differences.kind:
            from tb_ckptmeta.core.values import Values

            pairs = tuple((key, other) for key, other in request["pairs"])
            return Differences(Values.from_json(request["a"]), Values.from_json(request["b"]), pairs, limits)
    raise AssertionError(request)


@dataclass(frozen=True)
class BuilderDescription:
    """One registered builder, as plain data."""

    name: str
    checkpoints: tuple[str, ...]
    keras: str | None
    graph: bool | None
    source: str
    parameters: tuple[Parameter, ...]
    documentation: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BuilderDescription:
        return cls(
            value["name"],
            tuple(value["checkpoints"]),
            value["keras"],
            value["graph"],
            value["source"],
            tuple(Parameter.from_json(p) for p in value["parameters"]),
            value["documentation"],
        )
