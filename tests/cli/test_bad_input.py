"""Bad input on the command line: one clear error, the contract's exit status, no file half written, nothing left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tb_ckptmeta import record
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Limits
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.specs import parse_specs
from tb_ckptmeta.engine.workspace import Workspace

_OURS = f"tb_ckptmeta{os.sep}worker"
_MISDEEDS = (
    ("raises", "exits", "crashes", "closes-files", "prints-megabytes"),
    ("exits-hard", "eats-memory", "leaves-behind"),
)

Cli = Callable[..., Any]
Sample = Callable[[str], Path]


@pytest.fixture(scope="module")
def logdir(demo_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run `mlp` with one checkpoint of the demo's."""
    logdir = tmp_path_factory.mktemp("logdir")
    copy_checkpoint(demo_runs, logdir / "mlp")
    return logdir


@pytest.fixture(scope="module")
def quick(cli: Cli, quick_tensorflow: dict[str, str]) -> Cli:
    """The command line over workers that list builders in no time, and can do no more."""

    def run(*arguments: object, **options: Any) -> Any:
        return cli(*arguments, environment=quick_tensorflow, **options)

    return run


@pytest.fixture(scope="module")
def misbehaving(cli: Cli, demo_runs: Path, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """How `verify` went over logdirs in which every run has a builder that misbehaves; the last one hangs."""
    environment = {"CKPTMETA_TEST_PIDS": str(tmp_path_factory.mktemp("pids") / "pids")}

    def verify(builders: tuple[str, ...], *options: str) -> Any:
        logdir = tmp_path_factory.mktemp("misdeeds")
        for name in builders:
            copy_checkpoint(demo_runs, logdir / name)
        return cli("verify", logdir, "--builders", sample("misbehaves"), "--json", *options, environment=environment)

    with ThreadPoolExecutor(3) as pool:
        started = [pool.submit(verify, builders, "--memory-limit", "1.5") for builders in _MISDEEDS]
        started.append(pool.submit(verify, ("hangs",), "--timeout", "25"))
    return [future.result() for future in started]


@pytest.fixture(scope="module")
def verdicts(misbehaving: list[Any]) -> dict[str, dict[str, Any]]:
    """Builder -> its verdict."""
    return {v["builder"]: v for outcome in misbehaving for v in outcome.document["verdicts"]}


def copy_checkpoint(demo_runs: Path, run: Path) -> Path:
    """Copy one checkpoint of the demo's run `mlp` into a run, and return its prefix."""
    run.mkdir(parents=True)
    for path in (demo_runs / "mlp").glob("ckpt-30.*"):
        shutil.copy(path, run)
    return run / "ckpt-30"


# --- builders that misbehave, in the process of a real rebuild


@pytest.mark.parametrize(
    ("builder", "code", "message"),
    [
        ("raises", Code.BUILDER_FAILED, "Builder 'raises' raised ValueError: no layer 'hiden'"),
        ("exits", Code.BUILDER_EXITED, "Builder 'exits' called sys.exit('enough'); a builder returns a model"),
        ("exits-hard", Code.BUILDER_EXITED, "Builder 'exits-hard' ended its process with exit status 7 while building"),
        ("crashes", Code.BUILDER_CRASHED, "Builder 'crashes' crashed its process with SIGSEGV while building."),
        (
            "closes-files",
            Code.BUILDER_FAILED,
            "Builder 'closes-files': User code has closed files that are",
        ),
        (
            "eats-memory",
            Code.BUILDER_OUT_OF_MEMORY,
            "Builder 'eats-memory' took more than 1.5 GiB of memory while building, and was ended.",
        ),
        ("hangs", Code.BUILDER_TIMEOUT, "Builder 'hangs' was still at work after 25 s while building, and was ended."),
    ],
)
def test_verify_of_a_builder_that_misbehaves_gives_one_clear_error(
    verdicts: dict[str, dict[str, Any]], builder: str, code: Code, message: str
) -> None:
    verdict = verdicts[builder]
    assert verdict["status"] == "error"
    assert verdict["error"]["code"] == code.value
    assert verdict["error"]["message"].startswith(message)
    assert _OURS not in verdict["error"]["details"]


@pytest.mark.parametrize(
    ("builder", "words"),
    [
        ("raises", ["in raises", "in find_layer", "there are: hidden, digit"]),
        ("exits", ["in exits", 'sys.exit("enough")']),
        ("exits-hard", ["last words"]),
        ("crashes", ["Segmentation fault", "in crashes"]),
        ("hangs", ["in hangs"]),
    ],
)
def test_verify_of_a_builder_that_misbehaves_shows_where(
    verdicts: dict[str, dict[str, Any]], builder: str, words: list[str]
) -> None:
    details = verdicts[builder]["error"]["details"]
    assert [w for w in words if w not in details] == []
    assert len(details) < 10_000


@pytest.mark.parametrize("builder", ["prints-megabytes", "leaves-behind"])
def test_verify_of_a_builder_that_makes_a_mess_and_a_model_is_a_match(
    verdicts: dict[str, dict[str, Any]], builder: str
) -> None:
    assert (verdicts[builder]["status"], verdicts[builder]["bound"]) == ("match", 4)


def test_verify_of_builders_that_misbehave_has_status_3_and_leaves_nothing(misbehaving: list[Any]) -> None:
    for outcome, builders in zip(misbehaving, (*_MISDEEDS, ("hangs",)), strict=True):
        assert outcome.status == 3
        assert outcome.stderr == ""
        assert sorted(v["builder"] for v in outcome.document["verdicts"]) == sorted(builders)
        assert (outcome.left_alive, outcome.left_behind) == ([], [])


def test_export_of_a_builder_that_raises_writes_nothing_and_shows_its_traceback(
    cli: Cli, demo_runs: Path, sample: Sample, tmp_path: Path
) -> None:
    prefix = copy_checkpoint(demo_runs, tmp_path / "raises")
    (tmp_path / "out").mkdir()
    outcome = cli("export", prefix, "--builders", sample("misbehaves"), "--output", tmp_path / "out" / "model.meta")
    assert outcome.status == 3
    assert outcome.stdout == ""
    assert outcome.stderr.count("tb-ckptmeta: ") == 1
    assert outcome.stderr.startswith("tb-ckptmeta: Builder 'raises' raised ValueError: no layer 'hiden'\n")
    assert "in find_layer" in outcome.stderr
    assert _OURS not in outcome.stderr
    assert list((tmp_path / "out").iterdir()) == []
    assert (outcome.left_alive, outcome.left_behind) == ([], [])


def test_export_of_a_mismatch_has_status_1_and_leaves_the_file_that_is_there(
    cli: Cli, logdir: Path, sample: Sample, tmp_path: Path
) -> None:
    output = tmp_path / "out" / "model.meta"
    output.parent.mkdir()
    output.write_bytes(b"an earlier export")
    outcome = cli(
        *("export", logdir / "mlp" / "ckpt-30", "--builders", sample("differs"), "--set", "units=32"),
        *("--allow-partial", "--overwrite", "--output", output),
    )
    assert outcome.status == 1
    assert outcome.stderr.startswith(
        "tb-ckptmeta: Checkpoint ckpt-30 and builder 'other-units' do not match, and nothing was exported. mismatch: "
    )
    assert "[784, 32]" in outcome.stderr
    assert "[784, 128]" in outcome.stderr
    assert [p.name for p in output.parent.iterdir()] == ["model.meta"]
    assert output.read_bytes() == b"an earlier export"
    assert (outcome.left_alive, outcome.left_behind) == ([], [])


# --- modules that are broken, builders that are not there, arguments that do not fit


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--builder", "nobody"], 2, "No builder 'nobody' is registered. Registered: every, mlp."),
        ([], 1, "2 builders claim it: mlp (mlp/*), every (**)"),
        (["--builder", "mlp"], 2, "Builder 'mlp' cannot be called so: units is missing. It takes: units: int, depth"),
        (["--builder", "mlp", "--set", "depth=3"], 2, "units is missing"),
        (["--builder", "mlp", "--set", "units=many"], 2, "units takes an int, not 'many'"),
        (["--builder", "mlp", "--set", "units=1", "--set", "width=2"], 2, "there is no parameter 'width'"),
        (["--builder", "mlp", "--set", "units"], 2, "'units' is not of the form ARG=VALUE"),
        (["--builder", "mlp", "--timeout", "0"], 2, "'0' is no number above 0"),
        (["--builders", "there_is/no_file.py"], 2, "There is no builders file there_is/no_file.py"),
        (["--builders", "no module"], 2, "'no module' names no builders"),
    ],
)
def test_verify_and_export_asked_wrongly_say_what_and_have_the_status_of_it(
    quick: Cli, logdir: Path, sample: Sample, tmp_path: Path, arguments: list[str], status: int, words: str
) -> None:
    prefix = logdir / "mlp" / "ckpt-30"
    for command in (["verify", prefix], ["export", prefix, "--output", tmp_path / "model.meta"]):
        outcome = quick(*command, "--builders", sample("rivals"), *arguments)
        assert outcome.status == status
        assert words in outcome.stdout + outcome.stderr
        assert "Traceback" not in outcome.stderr
        assert (outcome.left_alive, outcome.left_behind) == ([], [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("duplicates", 2, "Builder 'twice' is registered more than once: "),
        ("imports_missing", 3, "raised ModuleNotFoundError: No module named 'there_is_no_such_module'"),
        ("exits_at_import", 3, "called sys.exit('build')"),
        ("crashes_at_import", 3, "crashed its process with SIGSEGV while importing the builders."),
        ("small_models", 3, "small_models.py was run, and registers no builder."),
    ],
)
def test_builders_of_a_broken_module_has_the_status_of_it(
    quick: Cli, sample: Sample, name: str, status: int, words: str
) -> None:
    outcome = quick("builders", "--builders", sample(name))
    assert outcome.status == status
    assert outcome.stderr.count("tb-ckptmeta: ") == 1
    assert words in outcome.stderr
    assert str(sample(name)) in outcome.stderr
    assert _OURS not in outcome.stderr
    assert (outcome.left_alive, outcome.left_behind) == ([], [])


def test_export_of_a_module_that_never_ends_is_ended_by_the_time_limit(
    quick: Cli, logdir: Path, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = logdir / "mlp" / "ckpt-30"
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("CKPTMETA_TEST_PIDS", str(tmp_path / "pids"))
    outcome = quick(
        *("export", prefix, "--builders", sample("hangs_in_c_at_import"), "--timeout", "5"),
        *("--output", tmp_path / "out" / "model.meta"),
    )
    assert outcome.status == 3
    assert outcome.stderr.count("tb-ckptmeta: ") == 1
    assert "hangs_in_c_at_import.py was still at work after 5 s while importing the builders" in outcome.stderr
    assert "about to hang" in outcome.stderr
    assert list((tmp_path / "out").iterdir()) == []
    assert (outcome.left_alive, outcome.left_behind) == ([], [])


def test_verify_and_export_of_a_syntax_error_show_the_line_and_have_status_3(
    quick: Cli, logdir: Path, tmp_path: Path
) -> None:
    path = tmp_path / "my_builders.py"
    path.write_text("ready = True\ndef build(:\n    pass\n", encoding="utf-8")
    prefix = logdir / "mlp" / "ckpt-30"
    for command in (["verify", prefix], ["export", prefix, "--output", tmp_path / "model.meta"]):
        outcome = quick(*command, "--builders", path)
        assert outcome.status == 3
        assert f"{path} raised SyntaxError: invalid syntax" in outcome.stderr
        assert "line 2" in outcome.stderr
        assert outcome.stderr.count("def build(:") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["my_builders.py"]


# --- outputs that cannot be, commands that are none


def test_export_to_a_place_that_cannot_be_has_status_2_before_anything_runs(
    quick: Cli, logdir: Path, sample: Sample, tmp_path: Path
) -> None:
    existing = tmp_path / "model.meta"
    existing.write_bytes(b"kept")
    for output, format, words in (
        (existing, "metagraph", "model.meta"),
        (tmp_path, "metagraph", "is a folder"),
        (tmp_path / "none" / "model.meta", "metagraph", "There is no folder"),
        (tmp_path / "new.meta", "gguf", "'gguf'"),
    ):
        outcome = quick(
            *("export", logdir / "mlp" / "ckpt-30", "--builders", sample("crashes_at_import")),
            *("--format", format, "--output", output),
        )
        assert outcome.status == 2
        assert words in outcome.stderr
        assert "SIGSEGV" not in outcome.stderr
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"model.meta": b"kept"}


def test_commands_that_are_offered_can_be_pasted(quick: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    folder.mkdir()
    for command in (["verify", folder / "ckpt-1"], ["diff", folder, folder]):
        assert f"`tb-ckptmeta scan '{folder}'` lists" in quick(*command).stderr


@pytest.mark.parametrize(
    "arguments", [[], ["frobnicate"], ["verify"], ["scan", ".", "--frob"], ["export", "x"], ["scan", ""]]
)
def test_command_line_that_is_none_has_status_2(quick: Cli, arguments: list[str]) -> None:
    outcome = quick(*arguments)
    assert outcome.status == 2
    assert outcome.stdout == ""
    assert outcome.stderr


# --- checkpoints that are broken, or not there


def test_commands_on_what_is_not_there_have_status_3_and_say_where_to_look(
    quick: Cli, logdir: Path, tmp_path: Path
) -> None:
    for arguments, words in (
        (["scan", tmp_path / "none"], "There is no folder"),
        (["scan", tmp_path], "There is no checkpoint below"),
        (["verify", tmp_path], "There is no checkpoint below"),
        (["verify", logdir / "mlp" / "ckpt-31"], "(no "),
        (["export", logdir / "mlp", "--output", tmp_path / "x.meta"], "It is a folder"),
        (["export", tmp_path / "none" / "ckpt-1", "--output", tmp_path / "x.meta"], "There is no folder"),
    ):
        outcome = quick(*arguments)
        assert outcome.status == 3
        assert outcome.stderr.count("tb-ckptmeta: ") == 1
        assert words in outcome.stderr
    assert list(tmp_path.iterdir()) == []


def test_commands_on_broken_checkpoints_say_how_each_is_broken(
    quick: Cli, demo_runs: Path, sample: Sample, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    truncated, shardless, short = (copy_checkpoint(demo_runs, runs / n) for n in ("truncated", "shardless", "short"))
    index = Path(f"{truncated}.index")
    index.write_bytes(index.read_bytes()[: index.stat().st_size // 2])
    Path(f"{shardless}.data-00000-of-00001").unlink()
    data = Path(f"{short}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:100])

    scanned = quick("scan", runs, "--inspect", "--json")
    assert scanned.status == 3
    states = {c["run"]: c["state"] for c in scanned.document["checkpoints"]}
    assert states["truncated"] == "corrupt"
    assert states["shardless"] == "incomplete"
    assert states["short"] in ("corrupt", "incomplete")

    options = ["--builders", sample("rivals"), "--builder", "every"]
    verified = quick("verify", runs, *options, "--json")
    assert verified.status == 3
    errors = [v["error"]["code"] for v in verified.document["verdicts"]]
    assert sorted(errors)[-1] == Code.CHECKPOINT_INCOMPLETE.value
    assert set(errors) <= {Code.CHECKPOINT_CORRUPT.value, Code.CHECKPOINT_INCOMPLETE.value}
    for prefix in (truncated, shardless, short):
        exported = quick("export", prefix, *options, "--output", tmp_path / "model.meta")
        assert exported.status == 3
        assert exported.stderr.count("tb-ckptmeta: ") == 1
        assert "ckpt-30" in exported.stderr
        assert "Traceback" not in exported.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]


def test_commands_on_a_record_of_an_unknown_builder_show_it(
    quick: Cli, demo_runs: Path, sample: Sample, tmp_path: Path
) -> None:
    prefix = copy_checkpoint(demo_runs, tmp_path / "runs" / "mlp")
    record(prefix.parent, "retired", arguments={"units": 7})
    options = ["--builders", sample("rivals")]
    scanned = quick("scan", tmp_path / "runs", *options)
    assert scanned.status == 1
    assert "its record names builder 'retired', which is not registered" in scanned.stdout
    for target in (tmp_path / "runs", prefix):
        verified = quick("verify", target, *options)
        assert verified.status == 3
        assert "No builder 'retired' is registered" in verified.stdout + verified.stderr


def test_argument_that_does_not_fit_is_told_of_its_record_unless_somebody_has_given_it(
    cli: Cli, demo_runs: Path, demo_builders: Path, tmp_path: Path
) -> None:
    prefix = copy_checkpoint(demo_runs, tmp_path / "runs" / "mlp")
    record(prefix.parent, "mnist-mlp", arguments={"unit": 7})
    outcome = cli("verify", tmp_path / "runs", "--builders", demo_builders)
    assert outcome.status == 3
    assert "there is no parameter 'unit'." in outcome.stdout
    assert "The arguments are recorded in ckptmeta.json, beside the checkpoint." in outcome.stdout
    given = cli("verify", prefix, "--builders", demo_builders, "--set", "unit=7")
    assert given.status == 2, given
    assert "recorded" not in given.stderr


def test_commands_on_a_broken_record_pair_nothing_beside_it_and_have_status_3(
    quick: Cli, demo_runs: Path, sample: Sample, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    for run in ("broken", "mlp"):
        prefix = copy_checkpoint(demo_runs, runs / run)
    (runs / "broken" / "ckptmeta.json").write_text("{", encoding="utf-8")
    options = ["--builders", sample("rivals")]
    scanned = quick("scan", runs, *options)
    assert scanned.status == 3
    assert scanned.stdout.count("its record ckptmeta.json is broken") == 1
    verified = quick("verify", runs, *options)
    assert verified.status == 3
    assert "has no builder: its record ckptmeta.json is broken." in verified.stdout
    named = quick("verify", runs / "broken" / prefix.name, *options)
    assert named.status == 3
    for outcome in (scanned, verified, named):
        assert f"The record {runs / 'broken' / 'ckptmeta.json'} is no JSON" in outcome.stderr
    # All of it, and only that, was in the way.
    (runs / "broken" / "ckptmeta.json").unlink()
    assert "no builder" not in quick("verify", runs, *options).stdout


def test_workspace_over_a_checkpoint_that_is_deleted_after_it_was_read_says_it_has_gone(
    demo_runs: Path,
    sample: Sample,
    tmp_path: Path,
    leaves_nothing: Any,
    quick_tensorflow: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in quick_tensorflow.items():
        monkeypatch.setenv(name, value)
    prefix = copy_checkpoint(demo_runs, tmp_path / "runs" / "mlp")
    (tmp_path / "job").mkdir()
    specs = parse_specs([str(sample("rivals"))])
    with Workspace([Logdir("", str(tmp_path / "runs"))], specs, Limits(60.0, 8 << 30)) as workspace:
        [checkpoint] = workspace.list_checkpoints(workspace.registry.read())
        assert workspace.inspect(checkpoint).state == "complete"
        choice = workspace.choose(checkpoint, "every", {})
        for path in prefix.parent.iterdir():
            path.unlink()

        verdict = workspace.verify(choice)

    assert verdict.status == "error"
    assert verdict.error is not None
    assert verdict.error.code is Code.CHECKPOINT_MISSING
    assert "has gone since the logdir was scanned" in verdict.error.message
    with pytest.raises(CkptMetaError) as caught:
        workspace.export(choice, "metagraph", tmp_path / "job")
    assert caught.value.code is Code.CHECKPOINT_MISSING
    assert list((tmp_path / "job").iterdir()) == []
