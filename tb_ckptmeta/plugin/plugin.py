"""The Checkpoints tab and its HTTP routes; docs/http_api.md describes them. Runs in TensorBoard's process."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.plugins import base_plugin
from werkzeug.wrappers import Request, Response

from tb_ckptmeta.core.checkpoint_json import encode_checkpoints
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.choice import Choice
from tb_ckptmeta.engine.jobs import BackgroundJob, Jobs
from tb_ckptmeta.engine.sources import find_sources
from tb_ckptmeta.engine.temporary import make_temporary_folder
from tb_ckptmeta.engine.workspace import Workspace
from tb_ckptmeta.plugin.access import Access
from tb_ckptmeta.plugin.http import App, make_app, read_json, read_query, respond_file, respond_json, respond_json_text
from tb_ckptmeta.plugin.overlay import GraphsOverlay

_BUNDLE = Path(__file__).with_name("static") / "index.js"
_CHOICE = {
    "checkpoint": (str,),
    "builder": (str,),
    "arguments": (dict,),
    "renames": (list,),
    "source": (str,),
}
_SOLVE = {**{k: v for k, v in _CHOICE.items() if k != "source"}, "unknown": (list,)}


class CkptMetaPlugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """The plugin `ckptmeta`."""

    plugin_name = "ckptmeta"

    def __init__(self, workspace: Workspace, access: Access, overlay: GraphsOverlay) -> None:
        self._workspace = workspace
        self._access = access
        self._overlay = overlay
        self._jobs = Jobs()
        self._activity = _Activity(workspace)

    def is_active(self) -> bool:
        """Whether there is a checkpoint; answered from the last scan, another one begins in the background."""
        return self._activity.look()

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """Name the tab and its ES module."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="Checkpoints", disable_reload=True)

    def get_plugin_apps(self) -> dict[str, App]:
        """Return the routes, below `data/plugin/ckptmeta`."""

        def guarded(handler: Any, *methods: str) -> App:
            return make_app(handler, methods, self._access)

        return {
            "/index.js": make_app(self._serve_bundle, ("GET", "HEAD"), None),
            "/checkpoints": guarded(self._serve_checkpoints, "GET"),
            "/builders": guarded(self._serve_builders, "GET"),
            "/sources": guarded(self._serve_sources, "GET"),
            "/contents": guarded(self._serve_contents, "GET"),
            "/verdict": guarded(self._serve_verdict, "POST"),
            "/which": guarded(self._serve_which, "POST"),
            "/solve": guarded(self._serve_solve, "POST"),
            "/open": guarded(self._serve_open, "POST"),
            "/diff": guarded(self._serve_diff, "POST"),
            "/export": guarded(self._serve_export, "POST"),
            "/jobs/*": guarded(self._serve_job, "GET", "DELETE"),
            "/*": guarded(self._serve_nothing, "GET", "POST", "DELETE"),
        }

    def _serve_bundle(self, request: Request) -> Response:
        try:
            content = _BUNDLE.read_bytes()
        except FileNotFoundError:
            # A page that says so, rather than an empty tab.
            text = "The tab's bundle is not built. In a checkout of tb_ckptmeta, run: make frontend"
            content = f"export function render() {{ document.body.textContent = {json.dumps(text)}; }}".encode()
        return Response(content, content_type="text/javascript; charset=utf-8", headers={"Cache-Control": "no-cache"})

    def _serve_checkpoints(self, request: Request) -> Response:
        registry = self._workspace.registry
        checkpoints = self._workspace.list_checkpoints(registry.read(patience=0.0))
        report = self._workspace.scan(max_age=60.0)
        self._workspace.prepare()
        others = json.dumps(
            {
                "logdirs": [{"name": d.name, "path": d.path} for d in self._workspace.logdirs],
                "problems": [*report.problems, *report.notes],
                "builders": {"state": registry.state},
                "graphs": {"attached": not self._overlay.problem, "problem": self._overlay.problem},
            }
        )
        return respond_json_text(f'{{"checkpoints": [{",".join(encode_checkpoints(checkpoints))}], {others[1:]}')

    def _serve_builders(self, request: Request) -> Response:
        registry = self._workspace.registry
        builders = registry.read(patience=0.0)
        self._workspace.prepare()
        return respond_json(
            {
                "state": registry.state,
                "builders": [b.as_json() for b in builders.by_name.values()],
                "problems": [p.as_json() for p in builders.problems],
            }
        )

    def _serve_sources(self, request: Request) -> Response:
        checkpoint = self._workspace.get_checkpoint(read_query(request, "checkpoint"))
        return respond_json({"sources": [s.as_json() for s in find_sources(checkpoint)]})

    def _serve_contents(self, request: Request) -> Response:
        checkpoint = self._workspace.get_checkpoint(read_query(request, "checkpoint"))
        contents = self._workspace.read(checkpoint)
        from tb_ckptmeta.core.tree import make_tree

        tree = make_tree(contents, checkpoint.name)
        return respond_json({"format": contents.format, **tree.as_json(), "notes": list(contents.notes)})

    def _serve_verdict(self, request: Request) -> Response:
        choice = self._choose(read_json(request, _CHOICE, ("checkpoint",)))
        # Asked for by a person who may just have edited the model, or something that it reads.
        return respond_json(self._workspace.verify(choice, fresh=True).as_json())

    def _serve_which(self, request: Request) -> Response:
        body = read_json(request, {"checkpoint": (str,)}, ("checkpoint",))
        return respond_json(self._workspace.rank_builders(self._workspace.get_checkpoint(body["checkpoint"])).as_json())

    def _serve_solve(self, request: Request) -> Response:
        body = read_json(request, _SOLVE, ("checkpoint", "unknown"))
        unknown = list(dict.fromkeys(n for n in body["unknown"] if isinstance(n, str)))
        if not unknown or len(unknown) != len(body["unknown"]):
            raise CkptMetaError(Code.BAD_REQUEST, "'unknown' must be a list of names of arguments, each once.")
        checkpoint = self._workspace.get_checkpoint(body["checkpoint"])
        solution = self._workspace.solve(
            checkpoint, body.get("builder"), body.get("arguments"), unknown, renames=_read_renames(body)
        )
        return respond_json(solution.as_json())

    def _serve_open(self, request: Request) -> Response:
        if self._overlay.problem:
            raise CkptMetaError(Code.NOT_FOUND, self._overlay.problem)
        shown = self._overlay.open(self._choose(read_json(request, _CHOICE, ("checkpoint",))))
        return respond_json({"run": shown.run, "tag": shown.tag, "key": shown.key})

    def _serve_diff(self, request: Request) -> Response:
        from tb_ckptmeta.plugin import diff

        body = read_json(request, diff.FIELDS, ("a", "b"))
        a, b = (diff.read_subject(self._workspace, body, name) for name in ("a", "b"))
        values = body.get("values", False)
        if _prefers_async(request):
            return _respond_job(self._jobs.start(diff.make_work(self._workspace, a, b, values)))
        return respond_json(self._workspace.diff(a, b, values=values).as_json())

    def _serve_export(self, request: Request) -> Response:
        from tb_ckptmeta.plugin import export

        body = read_json(request, {**_CHOICE, **export.OPTIONS}, ("checkpoint",))
        choice = self._choose(body)
        work = export.make_work(self._workspace, choice, body)
        if _prefers_async(request):
            return _respond_job(self._jobs.start(work))
        folder = make_temporary_folder()
        try:
            made = work(folder, None, None)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        response = respond_file(made.open(), lambda: shutil.rmtree(folder, ignore_errors=True))
        response.headers["Ckptmeta-Check"] = json.dumps(made.facts["check"])
        return response

    def _serve_job(self, request: Request) -> Response:
        id, _, rest = request.path.rpartition("/jobs/")[2].partition("/")
        if rest == "file" and request.method == "GET":
            made = self._jobs.get(id).made
            if made is None:
                raise CkptMetaError(Code.NOT_FOUND, "This job has made no file.")
            return respond_file(made.open())
        if rest:
            raise CkptMetaError(Code.NOT_FOUND, "There is nothing here.")
        job = self._jobs.cancel(id) if request.method == "DELETE" else self._jobs.get(id)
        return respond_json(job.as_json())

    def _serve_nothing(self, request: Request) -> Response:
        raise CkptMetaError(Code.NOT_FOUND, f"There is no route {request.path}. docs/http_api.md lists them.")

    def _choose(self, body: Mapping[str, Any]) -> Choice:
        checkpoint = self._workspace.get_checkpoint(body["checkpoint"])
        if "source" in body:
            if body.keys() & {"builder", "arguments", "renames"}:
                raise CkptMetaError(Code.BAD_REQUEST, "A source stands in a builder's stead: give one of the two.")
            return self._workspace.choose_source(checkpoint, body["source"])
        renames = _read_renames(body)
        return self._workspace.choose(checkpoint, body.get("builder"), body.get("arguments"), renames=renames)


class _Activity:
    """Whether there is anything to show, asked often and answered at once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._found = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def look(self) -> bool:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._scan, name="ckptmeta-scan", daemon=True)
                self._thread.start()
            thread = self._thread
        # A local scan takes milliseconds; a slow file system must not hold up the whole page.
        thread.join(0.25)
        return self._found

    def _scan(self) -> None:
        self._found = bool(self._workspace.scan(max_age=5.0).checkpoints)


def _read_renames(body: Mapping[str, Any]) -> list[str]:
    renames: list[Any] = body.get("renames", [])
    if not all(isinstance(rename, str) for rename in renames):
        raise CkptMetaError(Code.BAD_REQUEST, "'renames' must be a list of texts \"FROM=TO\".")
    return renames


def _prefers_async(request: Request) -> bool:
    """Tell whether `Prefer: respond-async` is among the preferences (RFC 7240)."""
    values = ",".join(request.headers.getlist("Prefer"))
    return any(v.partition(";")[0].strip().lower() == "respond-async" for v in values.split(","))


def _respond_job(job: BackgroundJob) -> Response:
    """Answer that a job has been started, and which."""
    response = respond_json({"job": job.as_json()}, 202)
    # Relative to this request, so that it holds behind any --path_prefix or proxy.
    response.headers["Location"] = f"jobs/{job.id}"
    response.autocorrect_location_header = False
    response.headers["Preference-Applied"] = "respond-async"
    return response
