"""The command line: thin; every command is a few calls of the Python interface."""

from __future__ import annotations

import sys

import typer

from node_oc.cli.adopt import adopt
from node_oc.cli.compare import compare
from node_oc.cli.grow import grow
from node_oc.cli.noise import noise
from node_oc.cli.pack import pack, summary
from node_oc.cli.predict import predict
from node_oc.cli.stop import stop
from node_oc.cli.train import config, fit, resume, run
from node_oc.cli.use import crop, diagnose, export
from node_oc.errors import NodeOCError

app = typer.Typer(
    help="How deep does this network need to be?\n\nTrain a residual network as an optimal control problem: grow it "
    "while it trains, or cut a deep one at the depth read off its trajectories; certify and export it.\n\n"
    "Start with: node-oc run spirals\n\nYour own table: node-oc run --data my.csv --target label",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
for _command in (
    run, fit, adopt, resume, grow, compare, diagnose, noise, stop, crop, export, pack, summary, predict, config,
):  # fmt: skip
    app.command()(_command)


def main() -> None:
    """Entry point: errors of node_oc are one message and exit code 1, never a traceback."""
    try:
        app()
    except NodeOCError as error:
        print(f"node-oc: {error}", file=sys.stderr)
        sys.exit(1)
