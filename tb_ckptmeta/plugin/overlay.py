"""Show rebuilt graphs in the stock Graphs dashboard, by wrapping its plugin's routes. Runs in TensorBoard's process.

Only public methods of the one stock instance are replaced (`get_plugin_apps`, `is_active`). A request for a run of
ours is answered here, every other one by the stock application, unchanged.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tensorboard import errors
from tensorboard.backend import http_util
from tensorboard.util import tb_logging
from werkzeug.wrappers import Request, Response

from tb_ckptmeta.core.arguments import Scalar
from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.background import call_in_background
from tb_ckptmeta.engine.choice import Choice
from tb_ckptmeta.engine.recent import Recent
from tb_ckptmeta.engine.sources import find_shown_source
from tb_ckptmeta.engine.workspace import Workspace
from tb_ckptmeta.plugin.access import Access

# Here and in plugin.py, what no start of TensorBoard needs is imported where it is used.

logger = tb_logging.get_logger()

TAG = "forward"
FOCUS = "ckpt"
"""The query parameter of the page that asks for one graph alone: `/?ckpt=KEY#graphs`."""

_WAIT_SECONDS = 60.0
"""A browser opens six connections to a host: graphs that take longer must not keep them all."""
PATIENCE_SECONDS = 30.0
"""How long a page waits for a builders' module that is being read; most take the time of TensorFlow's import."""
_PATIENCE_BESIDE_STOCK_SECONDS = 10.0
"""How long it does where it has stock runs to show: those did not wait without us."""
_MOST_OPENED = 200
_MOST_NAMED = 2000
"""How many graphs a page may still ask for that are no longer listed: newer ones have taken their place."""
_BULLET = "• "

App = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Shown:
    """One graph in the dashboard: what is rebuilt, or which source is read, and under which name."""

    checkpoint: str
    builder: str | None
    arguments: Mapping[str, Scalar]
    run: str
    source: str | None = None
    renames: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        return TAG

    @property
    def key(self) -> str:
        """What a link carries, in base64url: the checkpoint's id, the builder's name and arguments, or the source."""
        parts: list[Any] = [self.checkpoint, self.builder, dict(self.arguments)]
        if self.source is not None:
            parts.append(self.source)
        elif self.renames:
            parts.append(list(self.renames))
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode("utf-8")).decode("ascii").rstrip("=")


class GraphsOverlay:
    """Our runs in the stock Graphs plugin. Safe for threads."""

    def __init__(self, workspace: Workspace, access: Access) -> None:
        self.problem = "The overlay is not attached."
        self._workspace = workspace
        self._access = access
        self._lock = threading.Lock()
        self._opened: Recent[str, Shown] = Recent(_MOST_OPENED)
        self._named: Recent[str, Shown] = Recent(_MOST_NAMED)
        self._pending: dict[tuple[str, bool], Future[bytes]] = {}

    def attach(self, graphs: Any) -> str:
        """Wrap the stock plugin; return what keeps us from it, or an empty text."""
        try:
            if graphs is None:
                raise LookupError("TensorBoard has loaded no Graphs plugin")
            stock = graphs.get_plugin_apps()
            apps = {
                **stock,
                "/info": self._wrap_info(stock["/info"]),
                "/graph": self._wrap_graph(stock["/graph"]),
                "/run_metadata": self._wrap_metadata(stock["/run_metadata"]),
            }
            stock_is_active = graphs.is_active
            graphs.get_plugin_apps = lambda: apps
            graphs.is_active = lambda: self._has_something() or stock_is_active()
        except (LookupError, AttributeError, TypeError) as error:
            self.problem = (
                f"Graphs cannot be shown in the Graphs dashboard: this TensorBoard's differs from those known "
                f"({error!r}). Verdicts and exports work all the same."
            )
            return self.problem
        self.problem = ""
        return ""

    def open(self, choice: Choice) -> Shown:
        """List a graph in the dashboard, for as long as this TensorBoard runs, until many others have been opened."""
        if choice.source is not None:
            shown = _name_source(choice.checkpoint, choice.source.kind)
        else:
            renames = tuple(str(rename) for rename in choice.renames)
            shown = _name(choice.checkpoint, choice.name, choice.arguments, renames)
        with self._lock:
            self._opened[shown.run] = self._named[shown.run] = shown
        return shown

    def list_shown(self, patience: float) -> dict[str, Shown]:
        """Return run -> graph: the newest checkpoint of each run and builder, and what was opened.

        One without a builder is shown by its best source that is merely parsed.
        """
        builders = self._workspace.registry.read(patience)
        newest: dict[tuple[str, str | None], Checkpoint] = {}
        for checkpoint in self._workspace.list_checkpoints(builders, max_age=2.0):
            builder = checkpoint.pairing.builder
            # A claim that cannot be settled, and builders that are still being read, say that there is a builder.
            claimed = builder is not None or (builders.complete and not checkpoint.pairing.claims)
            # What was never written to its end has no graph to show.
            if claimed and checkpoint.state in ("listed", "complete"):
                newest[checkpoint.run, builder] = checkpoint
        shown = [
            _name(c, b, c.pairing.arguments) if b is not None else _name_source(c, find_shown_source(c).kind)
            for (_, b), c in newest.items()
        ]
        with self._lock:
            found = {s.run: s for s in (*shown, *self._opened.values())}
            self._named.most = len(found) + _MOST_NAMED
            self._named.update(found)
        return found

    def _has_something(self) -> bool:
        # Where there are checkpoints there are graphs: of builders, or of what lies beside them.
        return bool(self._opened) or bool(self._workspace.scan(max_age=5.0).checkpoints)

    def _find(self, run: str | None) -> Shown | None:
        with self._lock:
            return None if run is None else self._named.get(run)

    def _recall(self, run: str, request: Request) -> Shown:
        """Return the graph of a run that a page knows and we do not: TensorBoard has been started again, say.

        Raises:
            CkptMetaError: NOT_FOUND.
        """
        focus = self._focus(request)
        found = focus if focus is not None and focus.run == run else self.list_shown(PATIENCE_SECONDS).get(run)
        if found is None:
            message = f"{run.removeprefix(_BULLET)} is not listed any more. Reload this page, or open it from the tab."
            raise CkptMetaError(Code.NOT_FOUND, message)
        return found

    def _focus(self, request: Request) -> Shown | None:
        """Return the one graph that the page was opened for: its address, query included, is the Referer."""
        try:
            referer = urlsplit(request.headers.get("Referer") or "")
            if self._access.is_foreign(referer.netloc, request.headers):
                return None
            key = parse_qs(referer.query).get(FOCUS, [""])[0]
        except ValueError:
            return None
        if not key:
            return None
        try:
            padded = key + "=" * (-len(key) % 4)
            checkpoint, builder, arguments, *rest = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
            if not isinstance(checkpoint, str) or not isinstance(arguments, dict):
                return None
            found = self._workspace.get_checkpoint(checkpoint)
            if builder is None and len(rest) == 1 and isinstance(rest[0], str):
                choice = self._workspace.choose_source(found, rest[0])
            elif isinstance(builder, str) and _are_renames(rest):
                choice = self._workspace.choose(found, builder, arguments, renames=[r for part in rest for r in part])
            else:
                return None
        except (ValueError, TypeError, binascii.Error, UnicodeError, RecursionError, CkptMetaError):
            return None
        return self.open(choice)

    def _wrap_info(self, stock: App) -> App:
        def info(environ: Any, start_response: Any) -> Any:
            request = Request(environ)
            try:
                self._access.check(request.headers)
            except CkptMetaError:
                return stock(environ, start_response)
            response = _call(stock, environ)
            if response.status_code != 200:
                return response(environ, start_response)
            try:
                runs = json.loads(response.get_data())
                focus = self._focus(request)
                if focus is not None:
                    runs = {}
                patience = _PATIENCE_BESIDE_STOCK_SECONDS if runs else PATIENCE_SECONDS
                listed = [focus] if focus is not None else list(self.list_shown(patience).values())
                for shown in listed:
                    # A user's own run of this very name stays what it is.
                    runs.setdefault(shown.run, _describe(shown))
                if any(shown.builder is not None for shown in listed):
                    self._workspace.prepare()
            except Exception:
                logger.exception("ckptmeta: our runs could not be added to the Graphs dashboard")
                return response(environ, start_response)
            return http_util.Respond(request, runs, "application/json")(environ, start_response)

        return info

    def _wrap_graph(self, stock: App) -> App:
        def graph(environ: Any, start_response: Any) -> Any:
            request = Request(environ)
            run = request.args.get("run", "")
            shown = self._find(run)
            if request.args.get("tag") != TAG or not (shown is not None or run.startswith(_BULLET)):
                return stock(environ, start_response)
            if shown is None:  # or a user's own, with such a name
                with contextlib.suppress(errors.NotFoundError):
                    return stock(environ, start_response)
            from tb_ckptmeta.engine.display import make_error_graph

            try:
                self._access.check(request.headers)
                shown = self._recall(run, request) if shown is None else shown
                content = self._make_graph(shown, request.args.get("conceptual") == "true")
            except CkptMetaError as error:
                if error.code is Code.FORBIDDEN_ORIGIN:
                    return http_util.Respond(request, error.message, "text/plain", code=403)(environ, start_response)
                # The dashboard shows no text of an error's answer: an error has to be a graph.
                content = make_error_graph(error)
            except Exception as error:
                logger.exception("ckptmeta: %s could not be drawn", run)
                message = f"It could not be drawn: {type(error).__name__}. See TensorBoard's log, and please report it."
                content = make_error_graph(CkptMetaError(Code.WORKER_FAILED, message))
            # Compressed once, when it was drawn.
            response = http_util.Respond(request, content, "text/x-protobuf", content_encoding="gzip")
            return response(environ, start_response)

        return graph

    def _wrap_metadata(self, stock: App) -> App:
        def run_metadata(environ: Any, start_response: Any) -> Any:
            request = Request(environ)
            if self._find(request.args.get("run")) is None or request.args.get("tag") != TAG:
                return stock(environ, start_response)
            message = "A rebuilt graph has no run metadata."
            return http_util.Respond(request, message, "text/plain", code=404)(environ, start_response)

        return run_metadata

    def _make_graph(self, shown: Shown, conceptual: bool) -> bytes:
        """Return a graph, or an error's; one that takes too long goes on being made while the page is told so."""
        key = (shown.key, conceptual)
        with self._lock:
            future = self._pending.get(key)
            begun = future is None
            if future is None:
                future = call_in_background("ckptmeta-graph", lambda: self._rebuild(shown, conceptual))
                self._pending[key] = future
        if begun:
            # Dropped when it is done, waited for or not: the next to ask gets a graph of then.
            future.add_done_callback(lambda _: self._forget(key))
        try:
            content = future.result(_WAIT_SECONDS)
        except FutureTimeoutError:
            raise CkptMetaError(
                Code.BUSY,
                f"{shown.run.removeprefix(_BULLET)} is still being rebuilt, for more than {_WAIT_SECONDS:g} s now. It "
                "goes on: open this graph again in a while.",
            ) from None
        return content

    def _forget(self, key: tuple[str, bool]) -> None:
        with self._lock:
            self._pending.pop(key, None)

    def _rebuild(self, shown: Shown, conceptual: bool) -> bytes:
        from tb_ckptmeta.engine.display import finish_drawing

        try:
            checkpoint = self._workspace.get_checkpoint(shown.checkpoint)
            if shown.source is not None:
                choice = self._workspace.choose_source(checkpoint, shown.source)
            else:
                choice = self._workspace.choose(checkpoint, shown.builder, shown.arguments, renames=shown.renames)
            contents = self._workspace.read(checkpoint)
            drawing, notes = self._workspace.draw(choice, conceptual=conceptual)
        except CkptMetaError as error:
            message = f"{shown.run.removeprefix(_BULLET)}: {error.message}"
            raise CkptMetaError(error.code, message, error.details) from error
        made = {"builder": shown.builder} if shown.source is None else {"source": shown.source}
        facts: dict[str, Any] = {
            "checkpoint": checkpoint.pattern_path,
            **made,
            **({"arguments": json.dumps(dict(choice.arguments))} if choice.arguments else {}),
            **({"renames": list(shown.renames)} if shown.renames else {}),
            "format": contents.format,
            "notes": list(notes),
        }
        return finish_drawing(drawing, f"{checkpoint.name}-{choice.name}", facts)


def _are_renames(rest: list[Any]) -> bool:
    """Tell whether what a key holds beyond builder and arguments are rules FROM=TO, or nothing."""
    return not rest or (len(rest) == 1 and isinstance(rest[0], list) and all(isinstance(r, str) for r in rest[0]))


def _name(
    checkpoint: Checkpoint, builder: str, arguments: Mapping[str, Scalar], renames: tuple[str, ...] = ()
) -> Shown:
    """Name a graph. Arguments belong to its name, unless they are those that the checkpoint's pairing gives anyway."""
    pairing = checkpoint.pairing
    usual = dict(pairing.arguments) if pairing.builder == builder else {}
    given = [f"{k}={json.dumps(v)}" for k, v in sorted(arguments.items())] if dict(arguments) != usual else []
    given += [rename.replace("=", "->") for rename in renames]
    shown = f"{builder}({', '.join(given)})" if given or dict(arguments) != usual else builder
    run = f"{_BULLET}{checkpoint.run} • {checkpoint.name} • {shown}"
    return Shown(checkpoint.id, builder, arguments, run, renames=renames)


def _name_source(checkpoint: Checkpoint, kind: str) -> Shown:
    return Shown(checkpoint.id, None, {}, f"{_BULLET}{checkpoint.run} • {checkpoint.name} • {kind}", kind)


def _describe(shown: Shown) -> dict[str, Any]:
    tag = {"tag": shown.tag, "conceptual_graph": True, "op_graph": True, "profile": False}
    return {"run": shown.run, "tags": {shown.tag: tag}, "run_graph": False}


def _call(app: App, environ: Mapping[str, Any]) -> Response:
    """Ask the stock application for an answer that is not compressed."""
    plain = {k: v for k, v in environ.items() if k != "HTTP_ACCEPT_ENCODING"}
    return Response.from_app(app, plain, buffered=True)
