"""Builders that are the training script's own functions: what they compile and make besides is not in the way."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.verdict import Verdict
from tb_ckptmeta.engine.choice import Choice
from tb_ckptmeta.engine.export import Exported
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

READS = "reads values of variables while it builds"


class Trained:
    """Checkpoints of `samples/as_trained.py`, and its builders."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def choose(self, run: str, builder: str, arguments: Mapping[str, Any]) -> Choice:
        (checkpoint,) = (c for c in self.workspace.scan(max_age=600.0).checkpoints if c.run == run)
        return self.workspace.choose(checkpoint, builder, arguments)

    def verify(self, run: str, builder: str, **arguments: Any) -> Verdict:
        return self.workspace.verify(self.choose(run, builder, arguments))

    def export(self, folder: Path, run: str, builder: str, format: str = "metagraph", **arguments: Any) -> Exported:
        choice = self.choose(run, builder, arguments)
        return self.workspace.export(choice, format, folder, allow_partial=True)


@pytest.fixture(scope="module")
def trained(sample: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("as_trained")
    builders = Path(shutil.copy(sample("as_trained"), folder))
    subprocess.run([sys.executable, builders, folder / "runs"], check=True, capture_output=True)
    with open_workspace(str(folder / "runs"), builders=[str(builders)]) as workspace:
        yield Trained(workspace)


# --- Compiled


@pytest.mark.parametrize("run", ["fitted", "inside", "bare"])
@pytest.mark.parametrize("builder", ["compiled", "compiled-and-built"])
def test_builder_that_compiles_matches_with_and_without_an_optimizer_in_the_checkpoint(
    trained: Trained, tmp_path: Path, run: str, builder: str
) -> None:
    exported = trained.export(tmp_path, run, builder)
    assert (exported.verdict.status, exported.verdict.unexpected, exported.check.status) == ("match", [], "passed")
    assert exported.check.reference == "tf.train.Checkpoint"
    # What asks the optimizer for its rate are we, and we do not ask.
    assert READS not in " ".join(exported.verdict.notes)


def test_compiled_model_whose_layers_are_left_over_is_partial_still(trained: Trained) -> None:
    verdict = trained.verify("deeper", "compiled")
    assert (verdict.status, verdict.bound, len(verdict.unexpected)) == ("partial", 2, 2)


def test_partial_export_of_a_compiled_model_keeps_initial_values(trained: Trained, tmp_path: Path) -> None:
    exported = trained.export(tmp_path, "bare", "compiled", depth=2)
    assert (exported.verdict.status, exported.check.status) == ("partial", "passed")


# --- Initial values


@pytest.mark.parametrize("kind", ["of-another", "drawn", "plain"])
def test_partial_export_keeps_initial_values_however_they_were_made(
    trained: Trained, tmp_path: Path, kind: str
) -> None:
    exported = trained.export(tmp_path, "layers", "layers", kind=kind)
    assert (exported.verdict.status, exported.verdict.bound, exported.check.status) == ("partial", 1, "passed")


def test_partial_export_of_a_model_made_at_import_keeps_initial_values(trained: Trained, tmp_path: Path) -> None:
    exported = trained.export(tmp_path, "bare", "at-import")
    assert (exported.verdict.status, exported.verdict.bound, exported.check.status) == ("partial", 2, "passed")


def test_variable_that_the_call_makes_and_does_not_read_is_in_nobodys_way(trained: Trained, tmp_path: Path) -> None:
    exported = trained.export(tmp_path, "layers", "layers", kind="unread")
    assert (exported.verdict.status, exported.check.status) == ("match", "passed")


def test_variable_that_the_call_makes_of_what_it_computes_is_named(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(CkptMetaError, match="the model makes it within its call, of what is computed there") as raised:
        trained.export(tmp_path, "layers", "layers", kind="in-the-call")
    assert raised.value.code is Code.UNSUPPORTED_MODEL


# --- Strategies and parts


def test_builder_within_a_strategys_scope_matches(trained: Trained, tmp_path: Path) -> None:
    exported = trained.export(tmp_path, "bare", "in-strategy")
    assert (exported.verdict.status, exported.verdict.bound, exported.check.status) == ("match", 2, "passed")


@pytest.mark.parametrize("beside", [False, True])
def test_named_part_of_a_checkpoint_is_all_that_is_meant(trained: Trained, tmp_path: Path, beside: bool) -> None:
    exported = trained.export(tmp_path, "pair", "average", beside=beside)
    assert (exported.verdict.status, exported.check.status) == ("match", "passed")
    others = {row["beside"] for row in exported.verdict.bookkeeping if "beside" in row}
    assert others == ({"critic"} if beside else {"critic", "generator"})


def test_parts_that_the_model_is_made_of_are_left_over(trained: Trained) -> None:
    verdict = trained.verify("parts", "of-parts")  # `second` was a layer of it
    assert (verdict.status, verdict.bound, len(verdict.unexpected)) == ("partial", 2, 2)


@pytest.mark.parametrize("run", ["nameless", "bare"])
def test_checkpoint_of_a_model_without_a_name_is_the_models(trained: Trained, tmp_path: Path, run: str) -> None:
    exported = trained.export(tmp_path, run, "positional")
    assert (exported.verdict.status, exported.verdict.unexpected, exported.check.status) == ("match", [], "passed")


def test_checkpoint_of_a_model_and_more_is_restored_with_what_was_given(trained: Trained, tmp_path: Path) -> None:
    exported = trained.export(tmp_path, "attached", "attached")
    assert (exported.verdict.status, exported.verdict.bound, exported.check.status) == ("match", 4, "passed")


def test_array_of_a_layer_that_shares_anothers_variable_now_is_left_over(trained: Trained) -> None:
    verdict = trained.verify("untied", "tied")
    assert (verdict.status, verdict.bound, len(verdict.unexpected)) == ("partial", 1, 1)


def test_array_that_keras_has_saved_twice_is_not_left_over(trained: Trained) -> None:
    verdict = trained.verify("wrapped", "wrapped")
    assert (verdict.status, verdict.bound, verdict.unexpected) == ("match", 2, [])


# --- Calls


@pytest.mark.parametrize("format", ["frozen", "onnx"])
@pytest.mark.parametrize(("where", "said"), [("call", "calls"), ("loop", "in while"), ("branch", "in cond")])
def test_model_that_changes_a_variable_is_no_constant(
    trained: Trained, tmp_path: Path, format: str, where: str, said: str
) -> None:
    if format == "onnx":
        pytest.importorskip("tf2onnx")
    with pytest.raises(CkptMetaError, match=rf"changes variables when it is called \({said}\)") as raised:
        trained.export(tmp_path, "counts", "counts", format, where=where)
    assert raised.value.code is Code.FORMAT_LIMIT


def test_model_that_decodes_images_is_checked_with_some(trained: Trained, tmp_path: Path) -> None:
    assert trained.export(tmp_path, "photographs", "photographs").check.status == "passed"


def test_model_that_takes_no_drawn_inputs_is_told_how_to_go_on(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(CkptMetaError, match=r"too small for me.*\(on the command line --no-check\)") as raised:
        trained.export(tmp_path, "choosy", "choosy")
    assert raised.value.code is Code.CHECK_FAILED


LEGACY = """
import sys
import tf_keras
from tb_ckptmeta import builder

@builder("legacy")
def legacy():
    model = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(4)])
    model.compile("adam", "mse")
    return model

if __name__ == "__main__":
    legacy().save_weights(sys.argv[1] + "/ckpt.weights.h5")
"""


def test_file_of_tf_keras_is_loaded_without_asking_the_optimizer(tmp_path: Path) -> None:
    builders, runs = tmp_path / "legacy.py", tmp_path / "runs"
    builders.write_text(LEGACY)
    runs.mkdir()
    subprocess.run([sys.executable, builders, runs], check=True, capture_output=True)
    with open_workspace(str(runs), builders=[str(builders)]) as workspace:
        verdict = workspace.verify(workspace.choose(workspace.scan().checkpoints[0], "legacy"))
    assert (verdict.status, verdict.bound) == ("match", 2)
    assert READS not in " ".join(verdict.notes)
