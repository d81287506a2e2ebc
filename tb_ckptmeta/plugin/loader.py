"""Define the plugin's flags, and attach it to TensorBoard. Runs in TensorBoard's process."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Any

from tensorboard.plugins import base_plugin
from tensorboard.util import tb_logging

from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.core.job import Limits, Spec
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.machine import default_memory
from tb_ckptmeta.engine.remote import as_path, is_remote
from tb_ckptmeta.engine.specs import find_installed_specs, parse_specs
from tb_ckptmeta.engine.workspace import DEFAULT_SECONDS, Workspace
from tb_ckptmeta.plugin.access import Access
from tb_ckptmeta.plugin.overlay import PATIENCE_SECONDS, GraphsOverlay
from tb_ckptmeta.plugin.plugin import CkptMetaPlugin
from tb_ckptmeta.plugin.remote_logdir import find_refusal

logger = tb_logging.get_logger()


class CkptMetaLoader(base_plugin.TBLoader):  # type: ignore[misc]
    """What the entry point `tensorboard_plugins` names."""

    def define_flags(self, parser: argparse.ArgumentParser) -> None:
        """Add the flags, in a group of their own."""
        group = parser.add_argument_group("ckptmeta plugin")
        group.add_argument(
            "--ckptmeta_builders",
            metavar="SPEC",
            action="append",
            default=[],
            help="Where builders are registered that re-create models for checkpoints: the path of a .py file, or a "
            "module name. May be given several times. This code is run, in processes of its own, when somebody opens a "
            "graph, verifies or exports.",
        )
        group.add_argument(
            "--ckptmeta_allowed_hosts",
            metavar="HOST",
            action="append",
            default=[],
            help="A host name (or several, with commas between them) under which this TensorBoard may be asked to run "
            "builders, beside localhost, IP addresses, the machine's own name and --host.",
        )
        group.add_argument(
            "--ckptmeta_timeout",
            metavar="SECONDS",
            type=float,
            default=DEFAULT_SECONDS,
            help="How long one rebuild may take. (default: %(default)s)",
        )
        group.add_argument(
            "--ckptmeta_memory_limit",
            metavar="GIB",
            type=float,
            default=round(default_memory() / 2**30, 1),
            help="How much memory one rebuild may take, in GiB. "
            "(default: half of the machine's, or of its control group's)",
        )

    def fix_flags(self, flags: argparse.Namespace) -> None:
        """Refuse what cannot work, before anything starts.

        Raises:
            FlagsError: where a flag of ours does not fit.
        """
        try:
            parse_specs(getattr(flags, "ckptmeta_builders", ()))
        except CkptMetaError as error:
            raise base_plugin.FlagsError(f"--ckptmeta_builders: {error.message}") from error
        for name in ("ckptmeta_timeout", "ckptmeta_memory_limit"):
            if not getattr(flags, name, 1) > 0:
                raise base_plugin.FlagsError(f"--{name} takes a number above 0.")
        try:
            logdirs = find_logdirs(getattr(flags, "logdir", ""), flags)
        except CkptMetaError as error:
            raise base_plugin.FlagsError(error.message) from error
        refusal = find_refusal((logdir.path for logdir in logdirs), sys.argv[1:])
        if refusal:
            raise base_plugin.FlagsError(refusal)

    def load(self, context: base_plugin.TBContext) -> base_plugin.TBPlugin | None:
        """Make the plugin, and lay its runs over the stock Graphs plugin's."""
        flags = context.flags
        specs: list[Spec] = []
        try:
            specs += parse_specs(getattr(flags, "ckptmeta_builders", ()))
        except CkptMetaError as error:  # TensorBoard was started without the command line's checks
            logger.error("ckptmeta: %s", error.message)
        specs += find_installed_specs()
        limits = Limits(
            float(getattr(flags, "ckptmeta_timeout", DEFAULT_SECONDS)),
            int(float(getattr(flags, "ckptmeta_memory_limit", default_memory() / 2**30)) * 2**30),
        )
        workspace = Workspace(find_logdirs(context.logdir, flags), specs, limits, patience=PATIENCE_SECONDS)
        access = Access(getattr(flags, "host", None), getattr(flags, "ckptmeta_allowed_hosts", ()))
        overlay = GraphsOverlay(workspace, access)
        problem = overlay.attach(_find_graphs_plugin(context))
        if problem:
            logger.warning("ckptmeta: %s", problem)
        # Begun now, so that it is done when a browser has come.
        workspace.registry.read(patience=0.0)
        return CkptMetaPlugin(workspace, access, overlay)


def find_logdirs(logdir: str | None, flags: Any) -> list[Logdir]:
    """Return what TensorBoard reads: `--logdir`, or the parts of `--logdir_spec`, with their names.

    The form is TensorBoard's own (data_ingester.py): `name:path,path2`.
    """
    if logdir:
        return [Logdir("", _resolve(logdir))]
    found = []
    for part in (getattr(flags, "logdir_spec", "") or "").split(","):
        if not part:
            continue
        name, path = "", part
        if ":" in part and not part.startswith("/") and not re.match(r"[a-zA-Z][0-9a-zA-Z.]*://.*", part):
            name, _, path = part.partition(":")
        found.append(Logdir(name, _resolve(path)))
    return found


def _resolve(path: str) -> str:
    """Return the path as it can be used in another shell; a URL is one."""
    path = as_path(path)
    return path if is_remote(path) else os.path.abspath(os.path.expanduser(path))


def _find_graphs_plugin(context: base_plugin.TBContext) -> Any:
    return (getattr(context, "plugin_name_to_instance", None) or {}).get("graphs")
