"""Answer HTTP requests: JSON in, JSON or files out, errors in one shape. Runs in TensorBoard's process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tensorboard.util import tb_logging
from werkzeug.wrappers import Request, Response

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.system import refused_by_system
from tb_ckptmeta.plugin.access import Access

if TYPE_CHECKING:
    from tb_ckptmeta.engine.deliver import Download

logger = tb_logging.get_logger()

MAX_BODY_BYTES = 64 << 10

# What is not listed is a failure of user code or of the checkpoint: asked for rightly, and not possible.
STATUSES: Mapping[Code, int] = {
    Code.BAD_REQUEST: 400,
    Code.INVALID_ARGUMENTS: 400,
    Code.UNKNOWN_FORMAT: 400,
    Code.FORBIDDEN_HOST: 403,
    Code.FORBIDDEN_ORIGIN: 403,
    Code.NOT_FOUND: 404,
    Code.UNKNOWN_CHECKPOINT: 404,
    Code.UNKNOWN_BUILDER: 404,
    Code.SOURCE_MISSING: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.NO_BUILDER: 409,
    Code.AMBIGUOUS_PAIRING: 409,
    Code.DUPLICATE_BUILDER: 409,
    Code.NOT_DETERMINED: 409,
    Code.NOT_MATCHING: 409,
    Code.CHECK_FAILED: 409,
    Code.CANCELLED: 409,
    Code.WORKER_FAILED: 500,
    Code.TENSORFLOW_MISSING: 501,
    Code.KERAS_MISSING: 501,
    Code.H5PY_MISSING: 501,
    Code.ONNX_MISSING: 501,
    Code.PRIVATE_API_MOVED: 501,
    Code.BUSY: 503,
}
COULD_NOT = 422

Handler = Callable[[Request], Response]
App = Callable[[Mapping[str, Any], Any], Iterable[bytes]]


def make_app(handler: Handler, methods: tuple[str, ...], access: Access | None) -> App:
    """Make a WSGI application of a handler that raises `CkptMetaError`; `access` guards it."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        try:
            if access is not None:
                access.check(request.headers)
            if request.method not in methods:
                allowed = ", ".join(methods)
                raise CkptMetaError(Code.METHOD_NOT_ALLOWED, f"{request.method} is not taken here, only {allowed}.")
            response = handler(request)
        except CkptMetaError as error:
            response = respond_error(error)
            if error.code is Code.METHOD_NOT_ALLOWED:
                response.headers["Allow"] = ", ".join(methods)
        except OSError as error:
            logger.exception("ckptmeta: %s failed", request.path)
            response = respond_error(refused_by_system(error))
        except Exception as error:
            logger.exception("ckptmeta: %s failed", request.path)
            response = respond_error(
                CkptMetaError(
                    Code.WORKER_FAILED, f"The request failed with {type(error).__name__}; see TensorBoard's log."
                )
            )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Cache-Control", "no-store")
        return response(environ, start_response)

    return app


def respond_json(value: Any, status: int = 200) -> Response:
    """Answer with a JSON document."""
    return respond_json_text(json.dumps(value, allow_nan=False), status)


def respond_json_text(text: str, status: int = 200) -> Response:
    """Answer with what is JSON already."""
    return Response(text, status, content_type="application/json")


def respond_error(error: CkptMetaError) -> Response:
    """Answer with the contract's error document."""
    return respond_json({"error": error.as_json()}, STATUSES.get(error.code, COULD_NOT))


def respond_file(download: Download, close: Callable[[], None] | None = None) -> Response:
    """Answer with a file as an attachment; `close` is called once it has been sent."""
    response = Response(download.chunks, content_type=download.media_type)
    if close is not None:
        response.call_on_close(close)
    if download.size is not None:
        response.headers["Content-Length"] = str(download.size)
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in download.filename)
    response.headers["Content-Disposition"] = (
        f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(download.filename, safe='')}"
    )
    return response


def read_query(request: Request, name: str) -> str:
    """Return a parameter of a request's address.

    Raises:
        CkptMetaError: BAD_REQUEST where it is missing.
    """
    value = request.args.get(name)
    if not value:
        raise CkptMetaError(Code.BAD_REQUEST, f"The parameter {name!r} is missing: ?{name}=…")
    return value


def read_json(request: Request, fields: Mapping[str, tuple[type, ...]], required: Iterable[str]) -> dict[str, Any]:
    """Return the JSON object that a request carries, with no fields but `fields`.

    A body of any other media type is refused: a page elsewhere may send those without asking first.

    Raises:
        CkptMetaError: BAD_REQUEST, naming every field that does not fit.
    """
    if request.mimetype != "application/json":
        raise CkptMetaError(Code.BAD_REQUEST, "The body must be JSON, with Content-Type: application/json.")
    if request.content_length is None or request.content_length > MAX_BODY_BYTES:
        raise CkptMetaError(Code.BAD_REQUEST, f"The body must have a length, of at most {MAX_BODY_BYTES} bytes.")
    try:
        value = json.loads(request.get_data())
    except (ValueError, RecursionError) as error:
        raise CkptMetaError(Code.BAD_REQUEST, f"The body is no JSON: {error}.") from None
    if not isinstance(value, dict):
        raise CkptMetaError(Code.BAD_REQUEST, "The body must be a JSON object.")
    return check_fields(value, fields, required)


def check_fields(
    value: Mapping[str, Any], fields: Mapping[str, tuple[type, ...]], required: Iterable[str]
) -> dict[str, Any]:
    """Return a JSON object that has no fields but `fields`.

    Raises:
        CkptMetaError: BAD_REQUEST, naming every field that does not fit.
    """
    # null says what leaving a field out says.
    value = {k: v for k, v in value.items() if v is not None}
    wrong = [f"{k!r} is not known" for k in value if k not in fields]
    wrong += [f"{k!r} is missing" for k in required if k not in value]
    wrong += [
        f"{k!r} must be {' or '.join(_JSON_NAMES[t] for t in fields[k])}"
        for k, v in value.items()
        if k in fields and type(v) not in fields[k]
    ]
    if wrong:
        raise CkptMetaError(Code.BAD_REQUEST, f"The body does not fit: {'; '.join(wrong)}.")
    return value


_JSON_NAMES = {str: "a string", bool: "true or false", dict: "an object", list: "a list"}
