"""`python -m infra.cluster`: see the package."""

import argparse
import sys
from pathlib import Path

from infra.cluster import build, keeper, lifecycle
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
            starting.add_argument("--later", action="store_true", help="COMMAND starts it when it needs it")
            starting.add_argument("command", nargs=argparse.REMAINDER)
    verbs.add_parser("load", help="import archives of images").add_argument("archives", nargs="+", type=Path)
    keeping = verbs.add_parser("keep", help="what `during` starts; not for people")
    keeping.add_argument("lifeline", type=int)
    keeping.add_argument("tier")
    keeping.add_argument("command", nargs=argparse.REMAINDER)
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
            return keeper.run_during(asked.command, "later" if asked.later else _tier(api=asked.api))
        case "keep":
            return keeper.keep(asked.lifeline, asked.tier, asked.command)
        case "load":
            load_images(home(), asked.archives)
        case "down":
            lifecycle.down()
    return 0


def _tier(*, api: bool) -> lifecycle.Tier:
    return "api" if api else lifecycle.tier_of_this_machine()


def _up(*, api: bool) -> None:
    place = lifecycle.up(_tier(api=api))
    sys.stdout.write(f"export KUBECONFIG={place.kubeconfig()} PATH={build.programs()}:$PATH\n")


if __name__ == "__main__":
    sys.exit(main())
