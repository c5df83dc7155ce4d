"""`python -m infra.images`: `build` the container image, or build it and `check` what it does.

`make image` and `make check-image` call it. What follows `--` goes to the engine's build.

Exit codes: 0 all is well; 1 the image does not do what it must; 2 it could not be built or run.
"""

import argparse
import sys
from pathlib import Path

from cli.messages import show_error
from cli.output import print_line
from components.errors import ConfigError, PrefixFleetError
from infra.images.engines import ENGINES, build_image, find_engine, run_script
from infra.images.stand_in import make_stand_in

_PROOFS = Path(__file__).with_name("proofs.py")


def main(words: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    given = sys.argv[1:] if words is None else words
    own, options = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    parser = argparse.ArgumentParser(prog="python -m infra.images", description=__doc__)
    parser.add_argument("command", choices=["build", "check"])
    parser.add_argument("--engine", choices=ENGINES, help="the first one that works by default")
    parser.add_argument("--target", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--stand-in", action="store_true", help="start from Debian's Python, made by debootstrap")
    chosen = parser.parse_args(own)
    image = f"prefixfleet:{chosen.target}"
    try:
        if chosen.stand_in and chosen.engine == "docker":
            fix = "choose podman or buildah"
            raise ConfigError("an engine that can replace the image that a Dockerfile starts from", "docker", fix)
        engine = find_engine(chosen.engine or ("buildah" if chosen.stand_in else None))
        base = make_stand_in() if chosen.stand_in else None
        build_image(engine, image, chosen.target, base, options)
        print_line(f"built {image} by {engine}{f' from {base}' if base else ''}")
        return 0 if chosen.command == "build" else int(run_script(engine, image, _PROOFS) != 0)
    except PrefixFleetError as problem:
        show_error(problem)
        return 2


if __name__ == "__main__":
    sys.exit(main())
