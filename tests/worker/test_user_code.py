"""User code gone wrong inside one worker: builders that return odd things, tracebacks, models with a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.verdict import Verdict
from tb_ckptmeta.engine.bundle import read_contents
from tb_ckptmeta.engine.verify import verify
from tb_ckptmeta.worker.user_code import describe_error, format_user_traceback, run_user_code

_OURS = f"tb_ckptmeta{os.sep}worker"

# Rebuilds every builder of a file, one after the other in one process: what is looked at here is what comes of a
# builder, not how its process ends.
_REBUILD_ALL = """
import json, sys, tempfile
from dataclasses import asdict
from pathlib import Path
from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.core.job import REBUILT, Limits, Rebuild, Source
from tb_ckptmeta.engine.specs import parse_spec
from tb_ckptmeta.worker.load import import_tensorflow, load_builders
import_tensorflow()
from tb_ckptmeta.worker.rebuild import rebuild
from tb_ckptmeta.worker.steps import Steps

outcomes = {}
spec = parse_spec(sys.argv[1])
for registration in load_builders(spec):
    source = Source(spec, registration.name, {}, bool(registration.graph), None, None)
    folder = Path(tempfile.mkdtemp())
    steps = Steps(folder)
    try:
        value = rebuild(Rebuild(source, Limits(60, 1 << 40)), "3", folder, steps)
        if "needs_allocation" in value:
            outcomes[registration.name + " needs"] = value["needs_allocation"]
            rebuild(Rebuild(source, Limits(60, 1 << 40), allocate=True), "3", folder, steps)
        outcomes[registration.name] = json.loads((folder / REBUILT).read_text())
    except CkptMetaError as error:
        outcomes[registration.name] = error.as_json()
print(json.dumps(outcomes), file=sys.__stdout__)
"""


def rebuild_all(path: Path, temporary: Path) -> dict[str, Any]:
    environment = {
        **os.environ,
        "TMPDIR": str(temporary),
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "TF_USE_LEGACY_KERAS": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", _REBUILD_ALL, str(path)],
        cwd=temporary,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert isinstance(outcomes, dict)
    return outcomes


@pytest.fixture(scope="module")
def odd_returns(sample: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of the builders in `returns_odd`: builder -> error."""
    return rebuild_all(sample("returns_odd"), tmp_path_factory.mktemp("odd"))


@pytest.fixture(scope="module")
def differing(sample: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of the builders in `differs`: builder -> Rebuilt."""
    return rebuild_all(sample("differs"), tmp_path_factory.mktemp("differs"))


@pytest.fixture
def take_verdict(differing: dict[str, Any], demo_runs: Path) -> Callable[[str, str], Verdict]:
    """Take the verdict of a builder in `differs` and one of the demo's checkpoints."""

    def take(builder: str, checkpoint: str) -> Verdict:
        rebuilt = Rebuilt.from_json(differing[builder])
        return verify("id", builder, {}, rebuilt, read_contents(str(demo_runs / checkpoint)))

    return take


@pytest.mark.parametrize(
    ("builder", "code", "words"),
    [
        ("nothing", Code.BUILDER_RETURNED, "returned nothing (is a return statement missing?)"),
        ("text", Code.BUILDER_RETURNED, "returned a str."),
        ("graph-tensors", Code.BUILDER_RETURNED, "register it with graph=True"),
        ("three-tensors", Code.BUILDER_RETURNED, "returned a tuple; inside a tf.Graph, a builder returns"),
        ("eager-in-graph", Code.BUILDER_RETURNED, "returned 3.0 among its (inputs, outputs)"),
        ("model-in-graph", Code.UNSUPPORTED_MODEL, 'Register it with keras="legacy"'),
        ("without-inputs", Code.INPUTS_NEEDED, '@builder("without-inputs", …, inputs=tf.TensorSpec('),
        ("wrong-inputs", Code.TRACE_FAILED, "float32[None, 7], raised ValueError"),
        ("inputs-as-shape", Code.INVALID_BUILDER, "not None"),
        ("not-callable", Code.BUILDER_RETURNED, "returned a Silent, which cannot be called"),
        ("no-outputs", Code.UNSUPPORTED_MODEL, "returns no tensor"),
        ("sparse-output", Code.UNSUPPORTED_MODEL, "SparseTensor among its outputs"),
    ],
)
def test_rebuild_of_an_odd_return_says_what_and_what_to_do(
    odd_returns: dict[str, Any], builder: str, code: Code, words: str
) -> None:
    error = odd_returns[builder]
    assert error["code"] == code.value
    assert words in error["message"]
    assert _OURS not in error["details"]


def test_rebuild_of_every_odd_return_names_its_builder(odd_returns: dict[str, Any]) -> None:
    messages = {b: error["message"] for b, error in odd_returns.items() if not b.endswith(" needs")}
    assert {b for b, message in messages.items() if repr(b) not in message and f'"{b}"' not in message} == set()


def test_verdict_of_other_units_is_a_mismatch_of_shapes(take_verdict: Callable[[str, str], Verdict]) -> None:
    verdict = take_verdict("other-units", "mlp/ckpt-30")
    assert verdict.status == "mismatch"
    assert [(tuple(r["model"]), tuple(r["checkpoint"])) for r in verdict.shape_mismatches] == [
        ((784, 64), (784, 128)),
        ((64,), (128,)),
        ((64, 10), (128, 10)),
    ]
    assert all(r["name"] and r["key"] for r in verdict.shape_mismatches)
    assert [*verdict.missing, *verdict.unexpected] == []


def test_verdict_of_a_renamed_attribute_lists_both_sides(take_verdict: Callable[[str, str], Verdict]) -> None:
    verdict = take_verdict("renamed-attribute", "custom/ckpt-30")
    assert verdict.status == "partial"
    assert (verdict.variables, verdict.bound) == (4, 2)
    assert [tuple(r["shape"]) for r in verdict.missing] == [(784, 64), (64,)]
    assert sorted(r["key"].split("/.ATTR")[0] for r in verdict.unexpected) == [
        "model/dense1/_kernel",
        "model/dense1/bias",
    ]


def test_verdict_of_a_renamed_scope_lists_both_sides(take_verdict: Callable[[str, str], Verdict]) -> None:
    verdict = take_verdict("renamed-scope", "scoped/model.ckpt-30")
    assert verdict.status == "partial"
    assert sorted(r["name"] for r in verdict.missing) == ["dens1/bias", "dens1/kernel"]
    unexpected = {r["key"] for r in verdict.unexpected}
    assert unexpected >= {"dense1/bias", "dense1/kernel"}
    assert all(key.startswith("dense1/") for key in unexpected)  # with the slots of variables that nothing binds


def test_verdict_of_the_same_names_by_other_means_is_a_match(take_verdict: Callable[[str, str], Verdict]) -> None:
    verdict = take_verdict("same-names", "scoped/model.ckpt-30")
    assert (verdict.status, verdict.variables, verdict.bound) == ("match", 4, 4)
    assert any("Adam" in r["key"] for r in verdict.bookkeeping)


def test_verdict_of_a_builder_that_reads_weights_is_a_match_with_a_note(
    take_verdict: Callable[[str, str], Verdict], differing: dict[str, Any]
) -> None:
    assert len(differing["reads-weights needs"]) == 1  # it was run without memory first
    verdict = take_verdict("reads-weights", "mlp/ckpt-30")
    assert verdict.status == "match"
    assert any("reads values of variables while it builds" in note for note in verdict.notes)


def test_verdict_of_a_call_that_is_a_tf_function_is_a_match_with_a_note(
    take_verdict: Callable[[str, str], Verdict],
) -> None:
    verdict = take_verdict("compiled-call", "custom/ckpt-30")
    assert (verdict.status, verdict.bound) == ("match", 4)
    assert any("CompiledCall.call is a tf.function" in note for note in verdict.notes)


def test_verdict_of_dict_outputs_is_a_match(take_verdict: Callable[[str, str], Verdict]) -> None:
    verdict = take_verdict("dict-outputs", "mlp/ckpt-30")
    assert (verdict.status, verdict.bound, list(verdict.notes)) == ("match", 4, [])


# --- one call of user code


def fail(function: Callable[[], object]) -> CkptMetaError:
    with pytest.raises(CkptMetaError) as caught:
        run_user_code("Builder 'b'", Code.BUILDER_FAILED, function)
    return caught.value


def compile_user(source: str) -> Any:
    """Compile code as if it stood in a user's file, and return its function `build`."""
    namespace: dict[str, Any] = {"run_user_code": run_user_code, "Code": Code}
    exec(compile(source, "/home/somebody/my_builders.py", "exec"), namespace)
    return namespace["build"]


def test_run_user_code_that_returns_passes_its_value() -> None:
    assert run_user_code("Builder 'b'", Code.BUILDER_FAILED, lambda: 42) == 42


def test_run_user_code_that_raises_shows_first_line_and_own_frames() -> None:
    error = fail(compile_user("def build():\n    inner()\ndef inner():\n    raise KeyError('first\\nsecond')\n"))
    assert error.code is Code.BUILDER_FAILED
    assert error.message == "Builder 'b' raised KeyError: 'first\\nsecond'"
    assert error.details.startswith(
        'Traceback (most recent call last):\n  File "/home/somebody/my_builders.py", line 2'
    )
    assert error.details.count("  File ") == 2
    assert 'my_builders.py", line 4, in inner' in error.details
    assert _OURS not in error.details


def test_run_user_code_that_raises_several_lines_says_the_first() -> None:
    error = fail(compile_user("def build():\n    raise ValueError('\\nfirst\\nsecond')\n"))
    assert error.message == "Builder 'b' raised ValueError: first"
    assert "second" in error.details


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "GeneratorExit", "BaseException", "MemoryError"])
def test_run_user_code_that_raises_any_base_exception_is_a_failure(name: str) -> None:
    error = fail(compile_user(f"def build():\n    raise {name}\n"))
    assert (error.code, error.message) == (Code.BUILDER_FAILED, f"Builder 'b' raised {name}")


def test_run_user_code_that_exits_says_with_what() -> None:
    error = fail(compile_user("import sys\ndef build():\n    sys.exit(3)\n"))
    assert error.code is Code.BUILDER_EXITED
    assert "Builder 'b' called sys.exit(3)" in error.message
    assert "sys.exit(3)" in error.message


def test_run_user_code_that_raises_our_error_passes_it() -> None:
    ours = CkptMetaError(Code.INVALID_RECORD, "The record is none.")

    def build() -> None:
        raise ours

    assert fail(build) is ours


def test_run_user_code_whose_exception_has_no_words_is_reported_all_the_same() -> None:
    error = fail(
        compile_user(
            "class E(Exception):\n    def __str__(self):\n        raise RuntimeError('no words')\n"
            "def build():\n    raise E\n"
        )
    )
    assert error.code is Code.BUILDER_FAILED
    assert error.message == "Builder 'b' raised E"
    assert 'my_builders.py", line 5, in build' in error.details


def test_run_user_code_that_recurses_without_end_cuts_the_middle() -> None:
    # Through other lines each time, so that Python itself does not fold the frames.
    error = fail(compile_user("def build(n=0):\n    return (build, build)[n % 2](n + 1)\n"))
    assert error.code is Code.BUILDER_FAILED
    assert error.message.startswith("Builder 'b' raised RecursionError")
    assert error.details.count("\n") < 200
    assert _OURS not in error.details


def test_format_user_traceback_of_a_deep_stack_keeps_both_ends() -> None:
    lines = [f"def f{n}():\n    f{n + 1}()\n" for n in range(100)]
    source = "".join(lines) + "def f100():\n    raise ValueError('deep')\ndef build():\n    f0()\n"
    with pytest.raises(ValueError, match="deep") as caught:
        compile_user(source)()
    text = format_user_traceback(caught.value)
    assert "in build" in text
    assert "in f100" in text
    assert "frames left out" in text
    assert "in f50" not in text
    assert text.endswith("ValueError: deep")


def test_format_user_traceback_of_a_chain_keeps_the_cause_without_our_frames() -> None:
    build = compile_user(
        "def build():\n"
        "    try:\n"
        "        run_user_code('x', Code.BUILDER_FAILED, inner)\n"
        "    except Exception as error:\n"
        "        raise ValueError('outer') from error\n"
        "def inner():\n"
        "    raise KeyError('cause')\n"
    )
    error = fail(build)
    assert error.message == "Builder 'b' raised ValueError: outer"
    assert "KeyError: 'cause'" in error.details
    assert "direct cause" in error.details
    assert _OURS not in error.details


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "ValueError"),
        ("no such file\nand more", "ValueError: no such file"),
        (
            "Graph execution error:\n\nDetected at node m/dense/MatMul defined at (most recent call last):\n"
            "<stack traces unavailable>\nMatrix size-incompatible: In[0]: [2,3]\n\t [[{{node m/dense/MatMul}}]]",
            "ValueError: Graph execution error: Matrix size-incompatible: In[0]: [2,3]",
        ),
        ("Exception encountered when calling Dense:", "ValueError: Exception encountered when calling Dense:"),
    ],
)
def test_describe_error_says_what_stands_below_a_heading(text: str, told: str) -> None:
    assert describe_error(ValueError(text)) == told
