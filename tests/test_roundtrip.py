"""From a checkpoint to a MetaGraphDef that gives the original's outputs without its source, for every way to save."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from reading import COMPARABLE
from tensorboard.compat.proto import graph_pb2, meta_graph_pb2
from training import train_under_both

import tb_ckptmeta

SCRIPTS = Path(__file__).with_name("roundtrip")

# flavour/kind: (prefix below its folder, builder, Keras by which it must be rebuilt)
MODELS = {
    "3/sequential": ("ckpt-1", "sequential", "keras"),
    "3/subclassed": ("ckpt-1", "subclassed", "keras"),
    "3/variables": ("model.ckpt-3", "variables", "keras"),
    "legacy/layers": ("model.ckpt-3", "layers", "tf_keras"),
    "legacy/sequential": ("ckpt-1", "sequential", "tf_keras"),
    "legacy/subclassed": ("ckpt-1", "subclassed", "tf_keras"),
    "legacy/weights": ("epoch-3", "subclassed", "tf_keras"),
}
GRAPHS = [m for m in MODELS if m.endswith(("layers", "variables"))]
OBJECTS = [m for m in MODELS if m not in GRAPHS]
every_model = pytest.mark.parametrize("model", MODELS)


@dataclass
class Trained:
    """What the training scripts wrote, and what was exported from it."""

    folder: Path
    exports: dict[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def builders(self) -> Path:
        return self.folder / "source" / "three_ways.py"

    def prefix(self, model: str) -> Path:
        return self.runs / model / MODELS.get(model, ("ckpt-1",))[0]

    def expected(self, model: str) -> Path:
        return self.folder / "expected" / f"{model.replace('/', '-')}.npz"

    def meta(self, model: str) -> Path:
        return self.folder / "exports" / f"{model.replace('/', '-')}.meta"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train every model, one process for each Keras."""
    found = Trained(tmp_path_factory.mktemp("roundtrip"))
    found.runs.mkdir()
    (found.folder / "exports").mkdir()
    shutil.copytree(SCRIPTS, found.builders.parent)

    train_under_both(found.builders.with_name("train.py"), found.runs)
    return found


@pytest.fixture(scope="module")
def verdicts(trained: Trained, cli: Any) -> dict[str, dict[str, Any]]:
    """The verdicts of the whole logdir, by model: one command."""
    outcome = cli("verify", trained.runs, "--builders", trained.builders, "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    listed = cli("scan", trained.runs, "--json", "--builders", trained.builders).document["checkpoints"]
    runs = {c["id"]: c["run"] for c in listed}
    return {runs[v["checkpoint"]]: v for v in outcome.document["verdicts"]}


@pytest.fixture(scope="module")
def exports(trained: Trained, cli: Any) -> dict[str, dict[str, Any]]:
    """Every model exported, by its document."""

    def export(model: str) -> Any:
        return cli(
            "export", trained.prefix(model), "--builders", trained.builders, "--output", trained.meta(model), "--json"
        )

    with ThreadPoolExecutor(2) as pool:
        outcomes = dict(zip(MODELS, pool.map(export, MODELS), strict=True))
    assert {m: (o.status, o.stderr, o.left_alive, o.left_behind) for m, o in outcomes.items()} == dict.fromkeys(
        MODELS, (0, "", [], [])
    )
    return {model: outcome.document for model, outcome in outcomes.items()}


def import_exports(trained: Trained, cwd: Path, exports: list[dict[str, Any]]) -> dict[str, Any]:
    """Import exports in one fresh process that cannot reach the models' source."""
    request = cwd / "request.json"
    request.write_text(
        json.dumps({"inputs": str(trained.folder / "inputs.npy"), "exports": exports, "hidden": ["three_ways"]})
    )
    away = trained.folder / "source, out of reach"
    trained.builders.parent.rename(away)
    try:
        ended = subprocess.run(
            [sys.executable, "-I", str(SCRIPTS / "import_exports.py"), str(request)],
            cwd=cwd,
            env={**os.environ, **COMPARABLE},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        away.rename(trained.builders.parent)
    assert ended.returncode == 0, ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    assert (report["foreign"], report["importable"]) == ([], [])
    return report


def as_export(trained: Trained, model: str, meta: Path | None = None) -> dict[str, Any]:
    return {
        "meta": str(meta or trained.meta(model)),
        "prefix": str(trained.prefix(model)),
        "expected": str(trained.expected(model)),
        "initialize": False,
    }


@pytest.fixture(scope="module")
def imported(
    trained: Trained, exports: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What a stranger gets out of every export."""
    reports = import_exports(trained, tmp_path_factory.mktemp("stranger"), [as_export(trained, m) for m in exports])
    return dict(zip(exports, reports["exports"], strict=True))


@pytest.fixture(scope="module")
def metagraphs(trained: Trained, exports: dict[str, Any]) -> dict[str, Any]:
    return {m: meta_graph_pb2.MetaGraphDef.FromString(trained.meta(m).read_bytes()) for m in exports}


# --- verdicts


@every_model
def test_verify_of_every_way_to_save_says_match(verdicts: dict[str, dict[str, Any]], model: str) -> None:
    verdict = verdicts[model]
    count = 2 if model.endswith("variables") else 4
    assert (verdict["status"], verdict["builder"]) == ("match", MODELS[model][1])
    assert (verdict["variables"], verdict["bound"]) == (count, count)
    for kind in ("missing", "unexpected", "shape_mismatches", "dtype_mismatches", "renames", "notes"):
        assert verdict[kind] == [], kind
    assert verdict["error"] is None
    # The optimizer's state and the counters, which save_weights leaves out.
    assert bool(verdict["bookkeeping"]) is (model != "legacy/weights")


def test_verify_with_a_record_takes_its_arguments(verdicts: dict[str, dict[str, Any]]) -> None:
    small, large = verdicts["3/small"], verdicts["3/sequential"]
    assert (small["status"], small["builder"], small["arguments"]) == ("match", "sequential", {"units": 32})
    assert (large["status"], large["builder"], large["arguments"]) == ("match", "sequential", {})


# --- exports


@every_model
def test_export_of_every_way_to_save_is_checked_against_tensorflow_itself(
    exports: dict[str, dict[str, Any]], trained: Trained, model: str
) -> None:
    document = exports[model]
    assert set(document) == {"output", "format", "bytes", "inputs", "outputs", "verdict", "check"}
    assert set(document["check"]) == {"status", "reference", "max_abs_difference", "tolerance", "note"}
    assert (document["output"], document["format"]) == (str(trained.meta(model)), "metagraph")
    assert document["bytes"] == trained.meta(model).stat().st_size
    assert document["verdict"]["status"] == "match"
    check = document["check"]
    by = "tf.compat.v1.train.Saver" if model in GRAPHS else "tf.train.Checkpoint"
    assert (check["status"], check["reference"], check["note"]) == ("passed", by, "")
    assert check["max_abs_difference"] <= 1e-6
    assert check["tolerance"] >= 1e-5


@every_model
def test_import_without_the_source_gives_the_originals_outputs(imported: dict[str, Any], model: str) -> None:
    outputs = {"logits", "probabilities"} if model in GRAPHS else {"output_0"}
    assert set(imported[model]["restored"]) == outputs
    assert max(imported[model]["restored"].values()) <= 1e-6
    assert imported[model]["uninitialized"] == []


@every_model
def test_freeze_graph_of_every_export_gives_the_originals_outputs(imported: dict[str, Any], model: str) -> None:
    assert max(imported[model]["frozen"].values()) <= 1e-6


def test_freeze_graph_as_a_command_reads_an_export_with_the_original_checkpoint(
    trained: Trained, metagraphs: dict[str, Any], tmp_path: Path
) -> None:
    model = "3/sequential"
    (output,) = metagraphs[model].signature_def["serving_default"].outputs.values()
    name = output.name.partition(":")[0]
    command = [sys.executable, "-m", "tensorflow.python.tools.freeze_graph"]
    command += ["--input_meta_graph", str(trained.meta(model)), "--input_checkpoint", str(trained.prefix(model))]
    command += ["--input_binary", "true", "--output_graph", str(tmp_path / "frozen.pb"), "--output_node_names", name]
    ended = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **COMPARABLE}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    frozen = graph_pb2.GraphDef.FromString((tmp_path / "frozen.pb").read_bytes())
    assert name in {node.name for node in frozen.node}
    assert not {"VarHandleOp", "RestoreV2", "ReadVariableOp"} & {node.op for node in frozen.node}


# --- what an export carries


@every_model
def test_export_carries_the_facts_of_a_metagraph(metagraphs: dict[str, Any], model: str) -> None:
    meta = metagraphs[model]
    info = meta.meta_info_def
    assert list(info.tags) == ["serve"]
    assert info.tensorflow_version.startswith("2.")
    assert info.stripped_default_attrs
    assert meta.saver_def.restore_op_name
    assert meta.saver_def.filename_tensor_name
    nodes = {node.name: node for node in meta.graph_def.node}
    matmuls = [node for node in nodes.values() if node.op == "MatMul"]
    assert matmuls
    assert not any("transpose_a" in node.attr for node in matmuls)
    assert not any(node.device for node in nodes.values())
    assert not {node.op for node in nodes.values()} & {"PartitionedCall", "StatefulPartitionedCall"}
    count = 2 if model.endswith("variables") else 4
    for collection in ("variables", "trainable_variables"):
        assert len(meta.collection_def[collection].bytes_list.value) == count


@every_model
def test_export_signature_has_the_models_own_names(metagraphs: dict[str, Any], model: str) -> None:
    meta = metagraphs[model]
    signature = meta.signature_def["serving_default"]
    kind = model.partition("/")[2]
    # A Keras input's name; else, for a TensorSpec without one, the parameter's; a placeholder's.
    name = {"sequential": "image", "subclassed": "pixels", "weights": "pixels"}.get(kind, "input_pl")
    assert set(signature.inputs) == {name}
    assert [d.size for d in signature.inputs[name].tensor_shape.dim] == [-1, 784]
    assert set(signature.outputs) == ({"logits", "probabilities"} if model in GRAPHS else {"output_0"})
    assert signature.method_name == "tensorflow/serving/predict"
    nodes = {node.name for node in meta.graph_def.node}
    for info in (*signature.inputs.values(), *signature.outputs.values()):
        assert info.name.partition(":")[0] in nodes


@every_model
def test_export_tells_where_it_comes_from(metagraphs: dict[str, Any], exports: dict[str, Any], model: str) -> None:
    (text,) = metagraphs[model].collection_def["tb_ckptmeta"].bytes_list.value
    told = json.loads(text)
    prefix, builder, keras = MODELS[model]
    checkpoint = told["checkpoint"]
    assert (checkpoint["name"], len(checkpoint["fingerprint"])) == (prefix, 64)
    assert checkpoint["format"] == ("name" if model in GRAPHS else "object")
    assert (told["builder"], told["arguments"]) == (builder, {})
    assert told["versions"]["tb_ckptmeta"] == tb_ckptmeta.__version__
    assert told["versions"]["tensorflow"] == metagraphs[model].meta_info_def.tensorflow_version
    assert (told["status"], told["not_restored"]) == ("match", [])
    # By which Keras: settled by the checkpoint's keys, or by what the builder's source shows.
    assert {"keras", "tf_keras"} & set(told["versions"]) == {keras}


def test_export_of_a_tf1_checkpoint_leaves_the_meta_beside_it(trained: Trained, exports: dict[str, Any]) -> None:
    beside = Path(f"{trained.prefix('legacy/layers')}.meta")
    content = meta_graph_pb2.MetaGraphDef.FromString(beside.read_bytes())
    assert "tb_ckptmeta" not in content.collection_def
    assert len(list(beside.parent.iterdir())) == 4  # index, shard, .meta, the state file


@pytest.mark.parametrize("model", ["3/subclassed", "legacy/layers"])
def test_export_again_from_elsewhere_gives_the_same_bytes(
    trained: Trained, exports: dict[str, Any], cli: Any, tmp_path: Path, model: str
) -> None:
    outcome = cli(
        "export",
        os.path.relpath(trained.prefix(model), tmp_path),
        "--output=again.meta",
        "--no-check",
        "--builders",
        os.path.relpath(trained.builders, tmp_path),
        cwd=tmp_path,
        environment={"PYTHONHASHSEED": "12345", "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": "0"},
    )
    assert (outcome.status, outcome.stderr) == (0, "")
    exported, verdict, check = outcome.stdout.splitlines()
    assert exported.startswith("Exported again.meta (")
    assert exported.endswith(f"by builder '{MODELS[model][1]}'.")
    assert verdict == "  Verdict: match: 4 of 4 variables bound."
    assert check == "  Check: Not checked: the check was left out, as asked for (on the command line --no-check)."
    assert (tmp_path / "again.meta").read_bytes() == trained.meta(model).read_bytes()


# --- another format, partial exports, arguments


@dataclass
class Others:
    """Exports that need their own options."""

    folder: Path
    outcomes: dict[str, Any]


@pytest.fixture(scope="module")
def others(trained: Trained, cli: Any, tmp_path_factory: pytest.TempPathFactory) -> Others:
    folder = tmp_path_factory.mktemp("others")

    def export(model: str, output: str, *options: object) -> Callable[[], Any]:
        return lambda: cli(
            "export",
            *options,
            "--builders",
            trained.builders,
            trained.prefix(model),
            "--output",
            folder / output,
            "--json",
        )

    partial = ("--allow-partial", "--builder")
    (folder / "set.meta").write_bytes(b"old")
    calls = {
        "text": export("3/sequential", "text.pbtxt", "--format", "metagraph-text", "--no-check"),
        "partial": export("3/sequential", "partial.meta", *partial, "deeper"),
        "partial graph": export("3/variables", "graph.meta", *partial, "wider", "--no-check"),
        "refused": export("3/sequential", "refused.meta", "--builder", "deeper", "--no-check"),
        "mismatch": export("3/small", "mismatch.meta", "--set", "units=128", "--allow-partial", "--no-check"),
        "set": export("legacy/sequential", "set.meta", "--set", "units=128", "--no-check", "--overwrite"),
    }
    with ThreadPoolExecutor(2) as pool:
        outcomes = dict(zip(calls, pool.map(lambda call: call(), calls.values()), strict=True))
    return Others(folder, outcomes)


def test_export_as_text_is_the_same_metagraph(others: Others, metagraphs: dict[str, Any]) -> None:
    assert others.outcomes["text"].status == 0
    content = (others.folder / "text.pbtxt").read_text("ascii")
    assert text_format.Parse(content, meta_graph_pb2.MetaGraphDef()) == metagraphs["3/sequential"]
    assert others.outcomes["text"].document["format"] == "metagraph-text"


@pytest.mark.parametrize(
    ("name", "missing"), [("partial", ["mlp/extra/kernel", "mlp/extra/bias"]), ("partial graph", ["scale"])]
)
def test_export_that_may_be_partial_lists_what_is_not_restored(others: Others, name: str, missing: list[str]) -> None:
    outcome = others.outcomes[name]
    assert outcome.status == 0, outcome.stderr
    verdict = outcome.document["verdict"]
    assert verdict["status"] == "partial"
    assert [row["name"] for row in verdict["missing"]] == missing
    check = outcome.document["check"]
    assert check["status"] == ("passed" if name == "partial" else "skipped")
    assert ("nothing restores" in check["note"]) is (name == "partial")
    file = others.folder / Path(outcome.document["output"]).name
    meta = meta_graph_pb2.MetaGraphDef.FromString(file.read_bytes())
    told = json.loads(meta.collection_def["tb_ckptmeta"].bytes_list.value[0])
    assert (told["status"], told["not_restored"]) == ("partial", missing)


def test_import_of_text_and_partial_exports_gives_what_their_builders_say(
    trained: Trained, others: Others, tmp_path: Path
) -> None:
    code = (
        "import sys, numpy as np\n"
        "source, other, target = sys.argv[1:]\n"
        "logits = np.load(source)['output_0']\n"
        "ones = np.ones([10, 3], 'float32')\n"
        "np.savez(target, output_0=logits @ ones + 1)\n"
        "np.savez(other.replace('.npz', '-scaled.npz'), scaled=np.load(other)['logits'] * np.float32(2.5))\n"
    )
    other = shutil.copy(trained.expected("3/variables"), tmp_path / "variables.npz")
    command = [sys.executable, "-c", code, str(trained.expected("3/sequential")), str(other)]
    subprocess.run([*command, str(tmp_path / "extra.npz")], check=True)
    by_init = {"initialize": True}
    report = import_exports(
        trained,
        tmp_path,
        [
            {**as_export(trained, "3/sequential", others.folder / "text.pbtxt"), **by_init},
            {
                **as_export(trained, "3/sequential", others.folder / "partial.meta"),
                **by_init,
                "expected": str(tmp_path / "extra.npz"),
            },
            {
                **as_export(trained, "3/variables", others.folder / "graph.meta"),
                **by_init,
                "expected": str(tmp_path / "variables-scaled.npz"),
            },
        ],
    )
    text, partial, graph = report["exports"]
    assert text["restored"]["output_0"] <= 1e-6
    # Sums of ten: their order is not ours to say.
    assert partial["restored"]["output_0"] <= 1e-5
    assert graph["restored"]["scaled"] <= 1e-5


def test_export_that_is_partial_is_refused_and_writes_nothing(others: Others) -> None:
    outcome = others.outcomes["refused"]
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "do not match" in outcome.stderr
    assert "--allow-partial" in outcome.stderr
    assert "the rest with the builder's own initial values" in outcome.stderr
    assert "missing in the checkpoint: mlp/extra/kernel [10, 3] float32" in outcome.stderr
    assert not (others.folder / "refused.meta").exists()


def test_export_that_conflicts_is_refused_even_if_it_may_be_partial(others: Others) -> None:
    outcome = others.outcomes["mismatch"]
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "shape differs" in outcome.stderr
    assert "[784, 128]" in outcome.stderr
    assert "[784, 32]" in outcome.stderr
    assert "--allow-partial" not in outcome.stderr
    assert not (others.folder / "mismatch.meta").exists()


def test_export_with_arguments_set_over_a_file_says_so_and_replaces_it(others: Others) -> None:
    outcome = others.outcomes["set"]
    assert outcome.status == 0, outcome.stderr
    assert outcome.document["verdict"]["arguments"] == {"units": 128}
    assert outcome.document["check"]["status"] == "skipped"
    assert "--no-check" in outcome.document["check"]["note"]
    meta = meta_graph_pb2.MetaGraphDef.FromString((others.folder / "set.meta").read_bytes())
    assert json.loads(meta.collection_def["tb_ckptmeta"].bytes_list.value[0])["arguments"] == {"units": 128}


def test_export_leaves_nothing_but_its_output(others: Others) -> None:
    written = {"text.pbtxt", "partial.meta", "graph.meta", "set.meta"}
    assert {p.name for p in others.folder.iterdir()} == written
    assert {name: (o.left_alive, o.left_behind) for name, o in others.outcomes.items()} == dict.fromkeys(
        others.outcomes, ([], [])
    )


def test_export_where_a_file_stands_is_wrong_usage_and_leaves_it(trained: Trained, cli: Any, tmp_path: Path) -> None:
    (tmp_path / "out.meta").write_bytes(b"precious")
    outcome = cli(
        "export", trained.prefix("3/small"), "--output", tmp_path / "out.meta", "--builders", trained.builders
    )
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "--overwrite" in outcome.stderr
    assert (tmp_path / "out.meta").read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["out.meta"]
