"""`python -m infra.cluster`: see the package."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from infra.cluster import build, lifecycle
from infra.cluster.home import home
from infra.cluster.node import load_images
from infra.errors import Misconfigured


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m infra.cluster", description=build.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build", help="compile, once; some minutes")
    for verb, says in {"up": "start", "during": "start, run COMMAND, and stop what was started"}.items():
        starting = verbs.add_parser(verb, help=says)
        starting.add_argument("--api", action="store_true", help="the API alone, for any user")
        if verb == "during":
            starting.add_argument("command", nargs=argparse.REMAINDER)
    verbs.add_parser("load", help="import archives of images").add_argument("archives", nargs="+", type=Path)
    verbs.add_parser("down", help="stop and remove everything")
    try:
        return _do(parser.parse_args())
    except Misconfigured as error:
        sys.stderr.write(f"millrace: {error}\n")
        return 1


def _do(asked: argparse.Namespace) -> int:
    match asked.verb:
        case "build":
            sys.stdout.write(f"{build.programs()}\n")
        case "up":
            _up(api=asked.api)
        case "during":
            return _during(asked.command, api=asked.api)
        case "load":
            load_images(home(), asked.archives)
        case "down":
            lifecycle.down()
    return 0


def _up(*, api: bool) -> None:
    place = lifecycle.up("api" if api else lifecycle.tier_of_this_machine())
    sys.stdout.write(f"export KUBECONFIG={place.kubeconfig()} PATH={build.programs()}:$PATH\n")


def _during(command: list[str], *, api: bool) -> int:
    was_up = lifecycle.running_tier() is not None
    try:
        _up(api=api)
        return subprocess.run(command, check=False, env=os.environ).returncode
    finally:
        if not was_up:
            lifecycle.down()


if __name__ == "__main__":
    sys.exit(main())
