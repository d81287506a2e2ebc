"""What a module reads is noticed, whichever way it reads: it is imported again when that has changed, and only then."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sysconfig
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tb_ckptmeta.core.job import Limits
from tb_ckptmeta.engine.cache import Cache
from tb_ckptmeta.engine.current import Digests
from tb_ckptmeta.engine.process import run_worker
from tb_ckptmeta.engine.registry import Registry
from tb_ckptmeta.engine.specs import parse_spec

_MODULE = """
import os
from pathlib import Path
from tb_ckptmeta import builder
HERE = Path(__file__).parent
with (HERE.parent / "imports.txt").open("a") as marks:
    marks.write("x")
{text}
@builder("watched")
def watched():
    pass
"""


class Place:
    """A folder with a module, whose import is counted, and data of many kinds."""

    def __init__(self, folder: Path) -> None:
        self.here = folder / "here"
        self.words = self.here / "words"
        self.words.mkdir(parents=True)
        self._cache = folder / "cache"
        self._count = folder / "imports.txt"
        (self.words / "one.txt").write_text("one")
        (self.here / "table.npy").write_bytes(b"")
        np.save(self.here / "table.npy", np.arange(4))
        with h5py.File(self.here / "table.h5", "w") as file:
            file["x"] = [1, 2]
        with sqlite3.connect(self.here / "table.db") as connection:
            connection.execute("create table x (y)")
        connection.close()
        (self.here / "versions" / "1").mkdir(parents=True)
        (self.here / "versions" / "2").mkdir()
        (self.here / "latest").symlink_to("versions/1")
        (self.here / "dangling").symlink_to("nowhere")
        (self.here / "versions" / "newest").symlink_to("1")
        (self.here / "versions" / "loop").symlink_to("loop")

    def write(self, text: str) -> None:
        (self.here / "watched.py").write_text(_MODULE.format(text=text))

    def count(self) -> int:
        """List the builders as a process does that has just started; return how often the module was imported."""
        spec = parse_spec(str(self.here / "watched.py"))
        limits = Limits(60.0, 4 << 30)
        builders = Registry([spec], limits, run_worker, cache=Cache(self._cache), digests=Digests()).read()
        assert builders.problems == ()
        assert set(builders.by_name) == {"watched"}
        return len(self._count.read_text())


@pytest.fixture
def place(tmp_path: Path, quick_tensorflow: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in quick_tensorflow.items():
        monkeypatch.setenv(name, value)
    return Place(tmp_path)


def find_extension() -> Path:
    """Return an extension module that nothing imports."""
    return next(Path(sysconfig.get_path("stdlib"), "lib-dynload").glob("_lsprof.*"))


def change(path: str) -> Callable[[Path], object]:
    """Return what changes a file, in the same place and of the same size."""

    def edit(here: Path) -> None:
        with (here / path).open("r+b") as file:
            content = file.read()
            file.seek(len(content) - 1)
            file.write(bytes([content[-1] ^ 1]))

    return edit


def add(path: str, text: str = "") -> Callable[[Path], object]:
    return lambda here: (here / path).write_text(text)


def lead_elsewhere(here: Path) -> None:
    (here / "latest").unlink()
    (here / "latest").symlink_to("versions/2")


def become_link(here: Path) -> None:
    (here / "table.npy").rename(here.parent / "table.npy")
    (here / "table.npy").symlink_to("../table.npy")


def become_folder(here: Path) -> None:
    (here / "words" / "one.txt").unlink()
    (here / "words" / "one.txt").mkdir()


_OTHER_ANSWERS = {
    "listdir": ("os.listdir(HERE / 'words')", add("words/two.txt")),
    "glob": ("import glob; glob.glob(f'{HERE}/words/*.txt')", add("words/two.txt")),
    "path_glob": ("sorted((HERE / 'words').glob('*.txt'))", add("words/two.txt")),
    "walk": ("list(os.walk(HERE / 'words'))", add("words/two.txt")),
    "iter_modules": ("import pkgutil; list(pkgutil.iter_modules([str(HERE / 'words')]))", add("words/two.py")),
    "listdir_of_no_folder": (
        "try: os.listdir(HERE / 'more')\nexcept OSError: pass",
        lambda here: (here / "more").mkdir(),
    ),
    "exists": ("os.path.exists(HERE / 'option')", add("option")),
    "isdir": ("os.path.isdir(HERE / 'option')", lambda here: (here / "option").mkdir()),
    "lexists": ("os.path.lexists(HERE / 'option')", add("option")),
    "lexists_of_a_folder_no_more": ("os.path.lexists(HERE / 'versions/2')", lambda here: (here / "versions/2").rmdir()),
    "lexists_of_a_link_to_nothing": ("os.path.lexists(HERE / 'dangling')", lambda here: (here / "dangling").unlink()),
    "islink": ("os.path.islink(HERE / 'table.npy')", become_link),
    "is_symlink": ("(HERE / 'table.npy').is_symlink()", become_link),
    "scandir_links": ("[e.is_symlink() for e in os.scandir(HERE)]", become_link),
    "scandir_beside_a_link_to_itself": (
        "os.listdir(HERE / 'versions')",
        add("versions/two.txt"),
    ),
    "listdir_of_an_open_folder": ("os.listdir(os.open(HERE, os.O_RDONLY))", add("option")),
    "stat_within_a_folder": (
        "fd = os.open(HERE, os.O_RDONLY)\ntry: os.stat('words/two.txt', dir_fd=fd)\nexcept OSError: pass",
        add("words/two.txt"),
    ),
    "stat_of_a_link_within_a_folder": (
        "fd = os.open(HERE, os.O_RDONLY); os.stat('words/one.txt', dir_fd=fd, follow_symlinks=False)",
        lambda here: ((here / "words/one.txt").unlink(), (here / "words/one.txt").symlink_to(here / "table.npy")),
    ),
    "access_within_a_folder": (
        "fd = os.open(HERE, os.O_RDONLY); os.access('words/two.txt', os.R_OK, dir_fd=fd)",
        add("words/two.txt"),
    ),
    "access_of_a_link_to_nothing": (
        "os.access(HERE / 'dangling', os.F_OK, follow_symlinks=False)",
        lambda here: (here / "dangling").unlink(),
    ),
    "readlink_within_a_folder": (
        "fd = os.open(HERE, os.O_RDONLY); os.readlink('versions/newest', dir_fd=fd)",
        lambda here: ((here / "versions/newest").unlink(), (here / "versions/newest").symlink_to("2")),
    ),
    "newest": (
        "max((HERE / 'words').iterdir(), key=os.path.getmtime)",
        lambda here: os.utime(here / "words/one.txt", ns=(1, 10**18)),
    ),
    "newest_path": (
        "max((HERE / 'words').iterdir(), key=lambda path: path.stat().st_mtime)",
        lambda here: os.utime(here / "words/one.txt", ns=(1, 10**18)),
    ),
    "size": ("os.path.getsize(HERE / 'words/one.txt')", add("words/one.txt", "longer")),
    "size_of_a_status": ("os.stat(HERE / 'words/one.txt').st_size", add("words/one.txt", "longer")),
    "access": ("os.access(HERE / 'option', os.R_OK)", add("option")),
    "exists_no_more": ("os.path.exists(HERE / 'table.npy')", lambda here: (here / "table.npy").unlink()),
    "open_missing": ("try: open(HERE / 'option')\nexcept OSError: pass", add("option")),
    "import_missing": ("try: import optional\nexcept ImportError: pass", add("optional.py")),
    "find_spec_missing": ("import importlib.util; importlib.util.find_spec('optional')", add("optional.py")),
    "import_hidden_by_a_newer_file": ("import colorsys", add("colorsys.py")),
    "import_hidden_by_a_package": (
        "import words.one",
        lambda here: ((here / "words" / "one").mkdir(), add("words/one/__init__.py")(here)),
    ),
    "readlink": ("os.readlink(HERE / 'latest')", lead_elsewhere),
    "realpath": ("os.path.realpath(HERE / 'latest')", lead_elsewhere),
    "resolve": ("(HERE / 'latest').resolve()", lead_elsewhere),
    "scandir_kinds": ("[e.is_dir() for e in os.scandir(HERE / 'words')]", become_folder),
    "open_to_append": (
        "with open(HERE / 'words/one.txt', 'a+') as file: file.seek(0); file.read()",
        change("words/one.txt"),
    ),
    "open_within_a_folder": (
        "fd = os.open(HERE / 'words', os.O_RDONLY); os.close(os.open('one.txt', os.O_RDONLY, dir_fd=fd))",
        change("words/one.txt"),
    ),
    "hard_link": (
        "import tempfile; made = Path(tempfile.mkdtemp(), 'x'); os.link(HERE / 'words/one.txt', made)",
        change("words/one.txt"),
    ),
    "renamed_for_a_while": (
        "import tempfile; made = Path(tempfile.mkdtemp(), 'x')\n"
        "os.rename(HERE / 'words/one.txt', made); made.read_text(); os.rename(made, HERE / 'words/one.txt')",
        change("words/one.txt"),
    ),
    "link_gone": ("x = HERE / 'x'; os.link(HERE / 'table.npy', x); x.read_bytes(); x.unlink()", change("table.npy")),
    "symlink": (
        "import tempfile; made = Path(tempfile.mkdtemp(), 'x'); made.symlink_to(HERE / 'words/one.txt')",
        change("words/one.txt"),
    ),
    "beside_the_temporary": (
        "import tempfile; up = tempfile.gettempdir() + '/..' * 30\nopen(f'{up}{HERE}/words/one.txt').read()",
        change("words/one.txt"),
    ),
    "extension": ("import _lsprof", change(find_extension().name)),
    "dlopen": (f"import ctypes; ctypes.CDLL(str(HERE / {find_extension().name!r}))", change(find_extension().name)),
    "h5py": ("import h5py; h5py.File(HERE / 'table.h5')['x'][()]", change("table.h5")),
    "sqlite_uri": (
        "import sqlite3; sqlite3.connect(f'file:{HERE}/table.db?mode=ro', uri=True)",
        change("table.db"),
    ),
    "sqlite_uri_encoded": (
        "import sqlite3; sqlite3.connect(f'file://localhost{HERE}/t%61ble.db?mode=ro', uri=True)",
        change("table.db"),
    ),
    "sqlite": ("import sqlite3; sqlite3.connect(HERE / 'table.db')", change("table.db")),
    "load": ("import numpy; numpy.load(HERE / 'table.npy', mmap_mode='r')", change("table.npy")),
    "memmap": ("import numpy; numpy.memmap(HERE / 'table.npy', 'u1')", change("table.npy")),
    "os_open": ("os.close(os.open(HERE / 'table.npy', os.O_RDONLY))", change("table.npy")),
}


@pytest.mark.parametrize("case", _OTHER_ANSWERS)
def test_module_whose_question_has_another_answer_is_imported_again(place: Place, case: str) -> None:
    text, edit = _OTHER_ANSWERS[case]
    place.write(text)
    (place.words / "one.py").write_text("")
    shutil.copy(find_extension(), place.here)
    assert [place.count(), place.count()] == [1, 1]
    edit(place.here)
    assert [place.count(), place.count()] == [2, 2]


@pytest.mark.parametrize("end", ["c.close()", ""])
def test_module_that_reads_a_database_is_imported_again_for_what_lies_in_its_log(place: Place, end: str) -> None:
    with contextlib.closing(sqlite3.connect(place.here / "log.db")) as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table x (y)")
    place.write(f"import sqlite3\nc = sqlite3.connect(HERE / 'log.db'); c.execute('select * from x')\n{end}")
    assert [place.count(), place.count()] == [1, 1]
    with contextlib.closing(sqlite3.connect(place.here / "log.db")) as connection, connection:
        before = (place.here / "log.db").read_bytes()
        connection.execute("insert into x values (1)")
        connection.commit()
        assert (place.here / "log.db").read_bytes() == before
        assert place.count() == 2


_OWN_AFFAIRS = {
    "folder": """
import tempfile
with tempfile.TemporaryDirectory(dir=HERE) as made:
    folder = Path(made, "more")
    folder.mkdir()
    (folder / "x").write_text("x")
    assert (folder / "x").read_text() == "x" and folder.is_dir() and os.listdir(folder) == ["x"]
    (folder / "x").write_text("y")
    assert (folder / "x").read_text() == "y" and (folder / "x").exists()
""",
    "file": """
import tempfile
with tempfile.NamedTemporaryFile("w+", dir=HERE) as file:
    file.write("x")
    file.flush()
    assert Path(file.name).read_text() == "x"
""",
    "nameless": "import tempfile\nwith tempfile.TemporaryFile(dir=HERE.parent) as file: file.write(b'x')",
    "renamed": "(HERE / 'part').write_text('x'); os.replace(HERE / 'part', HERE / 'whole')",
    "relative": "open(os.path.relpath(HERE.parent / 'made', os.getcwd()), 'w').close()",
    "within": """
fd = os.open(HERE, os.O_RDONLY)
os.mkdir("made", dir_fd=fd)
os.symlink("words", "made/link", dir_fd=fd)
assert os.readlink("made/link", dir_fd=fd) == "words" and os.path.islink(HERE / "made/link")
os.unlink("made/link", dir_fd=fd)
os.rmdir("made", dir_fd=fd)
""",
    "tree": """
import shutil
shutil.copytree(HERE / "words", HERE / "copies" / "words")
assert (HERE / "copies/words/one.txt").read_text() == "one"
shutil.rmtree(HERE / "copies")
""",
}


@pytest.mark.parametrize("case", _OWN_AFFAIRS)
def test_module_that_makes_files_and_takes_them_away_again_is_not_imported_again(place: Place, case: str) -> None:
    place.write(_OWN_AFFAIRS[case])
    assert [place.count(), place.count()] == [1, 1]


def test_module_that_reads_in_threads_that_go_on_is_listed(place: Place) -> None:
    (place.here / "large").write_bytes(bytes(4 << 20))  # to look at it takes a while, in which others may go on
    for number in range(1000):
        (place.here / f"large{number}").symlink_to("large")
    place.write("""
import itertools, threading
numbers, many = itertools.count(), threading.Event()
def read():
    for number in numbers:
        open(HERE / f"large{number}").close()
        if number > 20: many.set()
for _ in range(8):
    threading.Thread(target=read, daemon=True).start()
many.wait()
""")
    assert place.count() == 1


def test_what_is_watched_can_be_pickled(place: Place) -> None:
    place.write("""
import multiprocessing, pickle
for name in ("stat", "lstat", "access", "getcwd", "getcwdb", "readlink", "open"):
    assert pickle.loads(pickle.dumps(getattr(os, name))) is getattr(os, name)
with multiprocessing.get_context("fork").Pool(1) as pool:
    assert pool.map(os.path.exists, [str(HERE)]) == [True]
    assert pool.map(os.stat, [str(HERE)])
""")
    assert place.count() == 1


def test_module_that_changes_the_directory_depends_on_the_one_that_it_began_in(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (place.words, place.here):
        (folder / "v.txt").write_text("v")
        (folder / "sub").mkdir()
        (folder / "sub" / "w.txt").write_text("w")
    monkeypatch.chdir(place.words)
    place.write("open('v.txt').read(); os.chdir(HERE / 'sub'); open('w.txt').read(); os.getcwd()")
    assert [place.count(), place.count()] == [1, 1]
    monkeypatch.chdir(place.here)
    assert [place.count(), place.count()] == [2, 2]
    place.write("os.chdir('sub'); open('w.txt').read()")
    assert [place.count(), place.count()] == [3, 3]
    monkeypatch.chdir(place.words)
    assert [place.count(), place.count()] == [4, 4]


def test_module_that_chooses_its_directory_itself_may_be_listed_elsewhere(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("os.chdir(HERE / 'words'); open('one.txt').read(); os.getcwd()")
    assert [place.count(), place.count()] == [1, 1]
    monkeypatch.chdir(place.here)
    assert place.count() == 1
    change("words/one.txt")(place.here)
    assert [place.count(), place.count()] == [2, 2]


@pytest.mark.parametrize("directory", ["HERE / 'latest'", "'latest'", "HERE / 'current'", "'through/..'"])
@pytest.mark.parametrize("read", ["open('n.txt').read()", "os.getcwd()"])
def test_module_that_moves_through_a_link_is_listed_again_when_the_link_leads_elsewhere(
    place: Place, monkeypatch: pytest.MonkeyPatch, directory: str, read: str
) -> None:
    for version in (place.here / "versions").glob("?"):
        for folder in (version, version / "sub"):
            folder.mkdir(exist_ok=True)
            (folder / "n.txt").write_text("the same name")
    (place.here / "current").symlink_to("latest/sub")
    (place.here / "through").symlink_to("current")
    monkeypatch.chdir(place.here)
    place.write(f"os.chdir({directory}); {read}")
    assert [place.count(), place.count()] == [1, 1]
    lead_elsewhere(place.here)
    assert [place.count(), place.count()] == [2, 2]


_ENVIRONMENTS = {
    "dict": "dict(os.environ)",
    "copy": "os.environ.copy()",
    "iteration": "[n for n in os.environ if n.startswith('WATCHED')]",
    "bytes": "dict(os.environb)",
}


@pytest.mark.parametrize("case", _ENVIRONMENTS)
def test_module_that_goes_through_the_environment_is_imported_again_when_a_variable_comes(
    place: Place, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(_ENVIRONMENTS[case])
    assert place.count() == 1
    monkeypatch.setenv("SHLVL", "7")
    monkeypatch.setenv("TERM", "vt52")
    assert place.count() == 1
    monkeypatch.setenv("WATCHED_NEW", "x")
    assert place.count() == 2


@pytest.mark.parametrize("case", _ENVIRONMENTS)
def test_module_that_also_asks_for_a_variable_of_terminals_by_name_is_imported_again_for_it(
    place: Place, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(f"{_ENVIRONMENTS[case]}; os.environ.get('COLUMNS')")
    assert place.count() == 1
    monkeypatch.setenv("SHLVL", "7")
    assert place.count() == 1
    monkeypatch.setenv("COLUMNS", "77")
    assert [place.count(), place.count()] == [2, 2]


def test_module_that_shows_progress_is_not_imported_again_in_another_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tqdm")
    monkeypatch.setenv("WATCHED", "old")
    place.write("import tqdm")
    assert place.count() == 1
    monkeypatch.setenv("WATCHED", "new")
    monkeypatch.setenv("WATCHED_NEW", "x")
    assert place.count() == 1


@pytest.mark.parametrize("read", ["os.environ.get('WATCHED')", "'WATCHED' in os.environ", "os.getenvb(b'WATCHED')"])
def test_module_that_reads_one_variable_is_imported_again_for_that_one_alone(
    place: Place, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(read)
    assert place.count() == 1
    monkeypatch.setenv("WATCHED_NEW", "x")
    assert place.count() == 1
    monkeypatch.setenv("WATCHED", "x")
    assert place.count() == 2


def test_module_that_reads_what_tensorflow_has_set_is_not_imported_again(place: Place) -> None:
    stub = Path(os.environ["PYTHONPATH"], "tensorflow.py").read_text()
    (place.here.parent / "stub").mkdir()
    (place.here.parent / "stub" / "tensorflow.py").write_text(f"import os\nos.environ['WATCHED_TF'] = '1'\n{stub}")
    os.environ["PYTHONPATH"] = str(place.here.parent / "stub")  # taken back by the fixture
    place.write("assert os.environ['WATCHED_TF'] == '1'")
    assert [place.count(), place.count()] == [1, 1]


def test_module_is_not_imported_again_for_what_it_does_not_read(place: Place) -> None:
    place.write(
        "os.path.exists(HERE / 'option'); os.listdir(HERE / 'words'); import words.one, shutil, tempfile\n"
        "path = HERE / 'table.npy'\n"
        "assert os.path.isfile(path) and path.exists() and path.is_file() and os.path.samefile(path, path)"
    )
    (place.words / "one.py").write_text("")
    assert place.count() == 1
    (place.words / "__pycache__").mkdir()
    (place.here / "runs").mkdir()
    (place.here / "other.py").write_text("")
    (place.here / "table.npy").write_text("")
    assert place.count() == 1


def test_module_that_looks_for_the_source_of_python_itself_may_be_listed_elsewhere(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(
        "import inspect, os.path; inspect.getsourcefile(os.path.exists)\n"
        "for asks in (os.path.exists, os.path.lexists): asks('http://localhost/x'), asks('<frozen os>')"
    )
    assert place.count() == 1
    monkeypatch.chdir(place.words)
    assert place.count() == 1


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="there is no /dev/shm")
def test_module_that_reads_a_file_in_shared_memory_is_imported_again(place: Place) -> None:
    shared = Path("/dev/shm", f"ckptmeta-test-{os.getpid()}.txt")
    shared.write_text("one")
    try:
        place.write(f"Path({str(shared)!r}).read_text()\nPath('/dev/null').read_text(); os.urandom(1)")
        assert [place.count(), place.count()] == [1, 1]
        shared.write_text("two")
        assert place.count() == 2
    finally:
        shared.unlink()


def test_module_that_touches_what_it_reads_or_writes_it_first_is_not_imported_again(place: Place) -> None:
    place.write(
        "(HERE / 'words/one.txt').read_text(); (HERE / 'words/one.txt').touch()\n"
        "(HERE / 'made.txt').write_text('made'); (HERE / 'made.txt').read_text()"
    )
    assert [place.count(), place.count()] == [1, 1]
    (place.here / "made.txt").write_text("edit")
    assert place.count() == 2
    assert (place.here / "made.txt").read_text() == "made"
    assert place.count() == 2


def test_module_that_changes_what_it_has_read_is_imported_again_until_it_leaves_it(place: Place) -> None:
    place.write("""
text = (HERE / "words/one.txt").read_text()
if len(text) < 5:
    (HERE / "words/one.txt").write_text(text + "x")
""")
    assert [place.count() for _ in range(4)] == [1, 2, 3, 3]
