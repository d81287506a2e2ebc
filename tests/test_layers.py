"""The layers hold: who may import whom, and a caller's process that never sees TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tb_ckptmeta

ROOT = Path(tb_ckptmeta.__file__).parent.parent


def run_python(code: str, *arguments: object) -> str:
    """Run code in a clean interpreter and return what it prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_contracts_of_the_layers_are_kept(tmp_path: Path) -> None:
    # Its API is what the command `lint-imports` calls; a subprocess, for it changes sys.path and its own settings.
    code = (
        "import sys\n"
        "from importlinter.cli import lint_imports\n"
        "sys.exit(lint_imports(config_filename=sys.argv[1], cache_dir=sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", code, str(ROOT / "pyproject.toml"), str(tmp_path)]
    linted = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "0 broken" in linted.stdout
    assert "6 kept" in linted.stdout


def test_import_of_the_package_needs_the_standard_library_alone() -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import tb_ckptmeta\n"
        "names = {n.partition('.')[0] for n in set(sys.modules) - before}\n"
        "print(sorted(names - sys.stdlib_module_names))\n"
    )
    assert run_python(code).strip() == "['tb_ckptmeta']"


NEVER = ("tensorflow", "keras", "tf_keras", "tb_ckptmeta.worker")

USE = """
import contextlib, io, json, sys
import tb_ckptmeta, tb_ckptmeta.cli, tb_ckptmeta.plugin.loader
from tb_ckptmeta.cli import main
with contextlib.redirect_stdout(io.StringIO()) as printed:
    status = main(["scan", sys.argv[1], "--inspect", "--builders", sys.argv[2], "--json"])
tb_ckptmeta.plugin.loader.CkptMetaLoader()
found = json.loads(printed.getvalue())["checkpoints"]
never = json.loads(sys.argv[3])
loaded = sorted(m for m in sys.modules if any(m == n or m.startswith(n + ".") for n in never))
print(json.dumps({"status": status, "states": [c["state"] for c in found], "loaded": loaded}))
"""


def test_caller_that_scans_inspects_and_loads_the_plugin_has_no_tensorflow(
    demo_runs: Path, demo_builders: Path
) -> None:
    used = json.loads(run_python(USE, demo_runs, demo_builders, json.dumps(NEVER)))
    assert used == {"status": 0, "states": ["complete"] * 9, "loaded": []}


@pytest.mark.parametrize("module", ["tb_ckptmeta.cli", "tb_ckptmeta.engine.workspace", "tb_ckptmeta.plugin.loader"])
def test_import_of_a_callers_module_loads_no_tensorflow(module: str) -> None:
    code = (
        "import importlib, json, sys\n"
        "importlib.import_module(sys.argv[1])\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & set(json.loads(sys.argv[2]))))\n"
    )
    assert run_python(code, module, json.dumps(NEVER)).strip() == "[]"


def test_start_of_tensorboard_imports_nothing_that_reads_or_compares_checkpoints() -> None:
    # Each millisecond of it is waited for whenever TensorBoard starts, by people who may never open the tab.
    code = (
        "import json, sys\n"
        "import tb_ckptmeta.plugin.loader\n"
        "print(json.dumps(sorted(m for m in sys.modules if m.startswith('tb_ckptmeta.'))))\n"
    )
    imported = set(json.loads(run_python(code)))
    assert "tb_ckptmeta.engine.workspace" in imported
    later = {
        "core": ("compare", "contents", "diff", "legacy", "rebuilt", "renames", "solve", "values", "verdict", "walk"),
        "engine": ("bundle", "deliver", "diff", "display", "export", "fetch", "keras_file", "scan_remote", "solve"),
        "plugin": ("diff", "export"),
    }
    assert imported & {f"tb_ckptmeta.{layer}.{name}" for layer, names in later.items() for name in names} == set()
    for layer, names in later.items():  # else one that is renamed would be looked for in vain
        assert [name for name in names if not (ROOT / "tb_ckptmeta" / layer / f"{name}.py").is_file()] == []


def test_core_uses_no_worker_and_no_engine_by_name() -> None:
    # import-linter sees imports; this sees a module that is named in text and imported by it.
    for path in (ROOT / "tb_ckptmeta" / "core").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "importlib" not in text
        assert "__import__" not in text
