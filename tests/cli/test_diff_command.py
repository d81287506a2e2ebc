"""`tb-ckptmeta diff` as people use it: what a side may be, what is printed, and the exit statuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.core.job import BuilderDescription, Spec
from tb_ckptmeta.engine.diff import BuilderCall
from tb_ckptmeta.engine.registry import RegisteredBuilder
from tb_ckptmeta.engine.scan import find_by_prefix
from tb_ckptmeta.engine.workspace import open_workspace

Cli = Callable[..., Any]

BUILDERS = """
import tensorflow as tf
from tb_ckptmeta import builder

@builder("plain")
def plain(units: int = 8, freeze: bool = False):
    return tf.keras.Sequential([
        tf.keras.Input((4,)),
        tf.keras.layers.Dense(units, activation="relu", name="hidden", trainable=not freeze),
        tf.keras.layers.Dense(3, name="scores"),
    ])

@builder("deeper")
def deeper():
    return tf.keras.Sequential([
        tf.keras.Input((4,)),
        tf.keras.layers.Dense(8, activation="tanh", name="hidden"),
        tf.keras.layers.LayerNormalization(name="norm"),
        tf.keras.layers.Dense(3, name="scores"),
    ])

@builder("raises")
def raises():
    raise ValueError("no such model")
"""


@pytest.fixture
def builders(tmp_path: Path) -> Path:
    path = tmp_path / "diff_builders.py"
    path.write_text(BUILDERS, encoding="utf-8")
    return path


def test_diff_of_two_steps_as_text_puts_the_model_first_and_counts_the_rest(cli: Cli, demo_runs: Path) -> None:
    a, b = demo_runs / "custom" / "ckpt-10", demo_runs / "custom" / "ckpt-30"
    outcome = cli("diff", "--values", a, b)
    assert (outcome.status, outcome.stderr, outcome.left_behind) == (1, "", [])
    lines = outcome.stdout.splitlines()
    assert lines[0] == f"a  {a}  checkpoint (object), 16 variables"
    assert lines[1] == f"b  {b}  checkpoint (object), 16 variables"
    assert lines[2].startswith("4 moved, 0 the same")
    assert lines[3].split("  ")[0] == "RELATIVE L2"
    assert {line.rsplit(" ", 1)[1] for line in lines[4:8]} == {
        f"model/{layer}/{name}" for layer in ("dense1", "dense2") for name in ("_kernel", "bias")
    }
    assert lines[8].startswith("    (of the training's own, optimizer and counters: ")
    assert len(lines) == 9


def test_diff_of_a_checkpoint_takes_any_of_its_files(cli: Cli, demo_runs: Path) -> None:
    a = demo_runs / "custom" / "ckpt-10"
    outcome = cli("diff", a, f"{a}.index")
    assert (outcome.status, outcome.stdout.splitlines()[2]) == (0, "nothing differs, 4 the same")


def test_diff_of_a_checkpoint_and_its_export_finds_the_model_alone(
    cli: Cli, demo_runs: Path, demo_builders: Path, tmp_path: Path
) -> None:
    prefix = demo_runs / "mlp" / "ckpt-30"
    for format, name in (("metagraph", "mlp.meta"), ("metagraph-text", "mlp.pbtxt")):
        meta = tmp_path / name
        exported = cli(
            *("export", prefix, "--builders", demo_builders, "--no-check"),
            *("--format", format, "--output", meta),
        )
        assert exported.status == 0, exported.stderr
        # By the keys of the optimizer, which the checkpoint names the model's variables by.
        outcome = cli("diff", prefix, meta, "--json")
        found = outcome.document
        assert outcome.status == 1  # the training's own is not in the export
        assert (found["added"], found["reshaped"], found["retyped"], found["same"]) == ([], [], [], 4)
        assert {row["bookkeeping"] for row in found["removed"]} == {True}
        assert (found["b"]["kind"], found["b"]["path"]) == ("metagraph", str(meta))
    # And the graph is what its builder makes, by the variables' own names and the operations of the forward pass.
    outcome = cli("diff", tmp_path / "mlp.meta", "builder:mnist-mlp", "--builders", demo_builders)
    assert (outcome.status, outcome.stdout.splitlines()[2:]) == (0, ["nothing differs, 4 the same"])


def test_diff_of_two_builders_compares_variables_layers_and_operations(cli: Cli, builders: Path) -> None:
    outcome = cli("diff", "builder:plain", "builder:deeper", "--builders", builders)
    assert (outcome.status, outcome.stderr) == (1, "")
    lines = outcome.stdout.splitlines()
    assert lines[:3] == [
        "a  plain()  builder, 4 variables",
        "b  deeper()  builder, 6 variables",
        "2 added, 4 the same",
    ]
    assert [line.split()[:2] for line in lines[3:5]] == [
        ["added", "sequential/norm/beta"],
        ["added", "sequential/norm/gamma"],
    ]
    told = "\n".join(lines)
    assert "    operation   Relu  1 in a, 0 in b" in told
    assert "    operation   Tanh  0 in a, 1 in b" in told
    assert "    layer       LayerNormalization  0 in a, 1 in b" in told


def test_diff_of_a_builder_with_other_arguments_tells_shapes_and_what_is_trainable(cli: Cli, builders: Path) -> None:
    outcome = cli("diff", "builder:plain", "builder:plain?units=16&freeze=true", "--builders", builders, "--json")
    found = outcome.document
    assert found["b"]["arguments"] == {"units": 16, "freeze": True}
    assert {row["key"]: (row["a"], row["b"]) for row in found["reshaped"]} == {
        "sequential/hidden/kernel": ([4, 8], [4, 16]),
        "sequential/hidden/bias": ([8], [16]),
        "sequential/scores/kernel": ([8, 3], [16, 3]),
    }
    assert [(row["key"], row["a"], row["b"]) for row in found["trainable"]] == [
        ("sequential/hidden/bias", True, False),
        ("sequential/hidden/kernel", True, False),
    ]


@pytest.mark.parametrize(
    ("sides", "status", "words"),
    [
        (["CKPT"], 2, "the following arguments are required: B"),
        (["CKPT", "nobody"], 3, "nobody is neither a checkpoint nor a .meta. There is no nobody.index"),
        (["CKPT", "RUNS"], 3, "It is a folder: give a checkpoint in it"),
        (["CKPT", "FILE"], 3, "It is a file, but no checkpoint's, and its name does not end in .meta or .pbtxt."),
        (["CKPT", "BAD.meta"], 3, "BAD.meta cannot be compared: it is no MetaGraphDef"),
        (["CKPT", "EMPTY.meta"], 3, "EMPTY.meta cannot be compared: it is no MetaGraphDef, or one without a graph."),
        (["CKPT", "builder:nobody"], 2, "No builder 'nobody' is registered. Registered: deeper, plain, raises."),
        (["CKPT", "builder:plain"], 2, "by a verdict, which knows the model: tb-ckptmeta verify"),
        (["builder:plain", "builder:plain?unit=3"], 2, "there is no parameter 'unit'"),
        (["builder:plain", "builder:plain?units"], 2, "arguments are given as ?ARG=VALUE&ARG=VALUE"),
        (["builder:plain", "builder:plain", "--values"], 2, "Values are compared of two checkpoints"),
        (["builder:plain", "builder:raises"], 3, "Builder 'raises' raised ValueError: no such model"),
        (["CKPT", "CUT"], 3, "CUT.index is truncated"),
    ],
)
def test_diff_of_what_cannot_be_compared_says_why_and_has_the_status_of_it(
    cli: Cli, demo_runs: Path, builders: Path, tmp_path: Path, sides: list[str], status: int, words: str
) -> None:
    checkpoint = demo_runs / "mlp" / "ckpt-30"
    (tmp_path / "BAD.meta").write_bytes(b"\xff" * 20)
    (tmp_path / "EMPTY.meta").write_bytes(b"")
    for path in checkpoint.parent.glob("ckpt-30.*"):
        shutil.copy(path, tmp_path / path.name.replace("ckpt-30", "CUT"))
    index = tmp_path / "CUT.index"
    index.write_bytes(index.read_bytes()[:-20])
    named = {"CKPT": checkpoint, "RUNS": demo_runs, "FILE": builders, "CUT": tmp_path / "CUT"}
    given = [named.get(s, tmp_path / s if s.endswith(".meta") else s) for s in sides]
    outcome = cli("diff", *given, "--builders", builders)
    assert outcome.status == status
    assert words in outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr or "raises" in sides[-1]
    assert (outcome.left_alive, outcome.left_behind) == ([], [])


def test_diff_with_too_little_memory_or_time_says_which_limit_to_raise(cli: Cli, demo_runs: Path) -> None:
    a, b = demo_runs / "mlp" / "ckpt-10", demo_runs / "mlp" / "ckpt-30"
    outcome = cli("diff", a, b, "--values", "--memory-limit", "0.001")
    assert outcome.status == 3
    assert outcome.stderr.startswith("tb-ckptmeta: The comparison of ckpt-10 and ckpt-30 took more than 0.001 GiB")
    assert "raise the limit (--memory-limit" in outcome.stderr
    assert outcome.left_behind == []


@pytest.mark.parametrize("entry_point", [False, True])
def test_command_that_is_offered_names_the_builders_that_have_to_be_given(demo_runs: Path, entry_point: bool) -> None:
    checkpoint = find_by_prefix(str(demo_runs / "mlp" / "ckpt-30"))
    assert checkpoint is not None
    spec = Spec("zoo = its_package.builders (entry point)" if entry_point else "zoo.py", None, "zoo", "/", entry_point)
    call = BuilderCall(RegisteredBuilder(spec, BuilderDescription("zoo", (), None, None, "", (), "")), {})
    with open_workspace() as workspace, pytest.raises(CkptMetaError) as refused:
        workspace.diff(checkpoint, call)
    offered = f"tb-ckptmeta verify {checkpoint.prefix} --builder zoo{'' if entry_point else ' --builders zoo.py'};"
    assert offered in refused.value.message
