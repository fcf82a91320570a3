"""How each language is built and run: one table for the local sandbox and for pods alike.

A `Recipe` names tools, not paths, so that it works in any image or host that has them on its PATH;
`sandboxes.toolchains` makes the same recipe fit this host (absolute paths, a quicker linker, warm
caches). Sources and what is built from them live in a program folder of their own; the program runs
in the working directory, where it finds its input files.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sandboxes.java_names import java_names
from schemas.languages import LANGUAGES


@dataclass(frozen=True, slots=True)
class Steps:
    """What to do for one program: write the code to `file_name`, run each of `build`, then `run`."""

    file_name: str
    """Inside the program folder."""
    build: tuple[tuple[str, ...], ...]
    """Command lines, in order; the first that fails ends the execution in stage `build`."""
    run: tuple[str, ...]
    env: Mapping[str, str]
    """For build and run, on top of the sandbox's own environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One language. In `build`, `run` and `env`:

    `{program}` is the program folder, `{source}` the source file in it, `{main}` Java's main class.
    """

    code: str
    tools: Mapping[str, str]
    """Executables it needs, each with the Debian packages that provide it. The first tells the version."""
    version: tuple[str, ...] = ("--version",)
    """Arguments that make the first tool print its version."""
    build: tuple[tuple[str, ...], ...] = ()
    check: tuple[str, ...] = ()
    """Reports type errors, where nothing else in the build does and it can be had; only on request."""
    run: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    memory_factor: float = 1.0
    """The operator's memory limit times this: what the runtime or compiler takes before any user code."""
    time_factor: float = 1.0
    """The time limit of the build, times this."""
    image: str
    """The setting that names the container image."""
    host_paths: tuple[str, ...] = ()
    """Outside /usr: what the tools read at run time. Visible read-only, where it exists."""

    @property
    def file_name(self) -> str:
        """The source file's usual name."""
        return _FILE_NAMES[self.code]

    def checked(self) -> "Recipe":
        """Return the recipe with a build that reports type errors first, on stderr as compilers do."""
        return replace(self, build=(("sh", "-c", 'exec "$0" "$@" >&2', *self.check), *self.build))

    def steps(self, code: str, program: str, args: Sequence[str] = ()) -> Steps:
        """Fill in the placeholders for `code`, kept in the folder `program`."""
        file_name, main = java_names(code) if self.code == "java" else (self.file_name, "main")
        values = {"{program}": program, "{source}": f"{program}/{file_name}", "{main}": main}
        return Steps(
            file_name=file_name,
            build=tuple(tuple(_fill(word, values) for word in command) for command in self.build),
            run=(*(_fill(word, values) for word in self.run), *args),
            env={name: _fill(value, values) for name, value in self.env.items()},
        )


_FILE_NAMES = {language.code: language.file_name for language in LANGUAGES}

_PLACEHOLDER = re.compile(r"\{(?:program|source|main)\}")


def _fill(word: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[0]], word)


_JDK = "default-jdk-headless"
# One collector thread, and no statistics file in /tmp: quicker to start and smaller.
_JVM_SMALL = ("-XX:+UseSerialGC", "-XX:-UsePerfData")
# The compiler is gone before C2 would pay; the user's program keeps it.
JAVAC_JVM = (*_JVM_SMALL, "-XX:TieredStopAtLevel=1")

# C's stdio buffers a pipe by the block: lines would come late, and not at all from a program that is killed.
_STDBUF = {"stdbuf": "coreutils"}
_LINE_BUFFERED = ("stdbuf", "-oL", "{program}/main")

BASH_COMPANIONS = {
    "ls": "coreutils",
    "awk": "gawk",
    "bc": "bc",
    "find": "findutils",
    "jq": "jq",
    "python3": "python3",
}
"""What people expect in a shell, as in `Recipe.tools`; it runs without them."""

RECIPES: tuple[Recipe, ...] = (
    Recipe(
        code="py",
        tools={"python3": "python3"},
        run=("python3", "-I", "-u", "-X", "utf8", "{source}"),
        image="LANG_IMAGE_PY",
    ),
    Recipe(
        code="js",
        tools={"node": "nodejs"},
        run=("node", "{source}"),
        image="LANG_IMAGE_JS",
    ),
    Recipe(
        code="ts",
        tools={"node": "nodejs", "esbuild": "esbuild"},
        # esbuild and not node's own type stripping, which only recent versions have and which refuses enums.
        # As node sees a program: its own types and no browser's, a module even without an import.
        check=(
            *("tsc", "--noEmit", "--pretty", "false", "--target", "esnext", "--lib", "esnext"),
            *("--module", "esnext", "--moduleResolution", "bundler", "--moduleDetection", "force"),
            *("--types", "node", "--skipLibCheck", "{source}"),
        ),
        build=(("esbuild", "{source}", "--log-level=error", "--sourcemap", "--outfile={program}/main.js"),),
        run=("node", "--enable-source-maps", "{program}/main.js"),
        image="LANG_IMAGE_TS",
    ),
    Recipe(
        code="go",
        tools={"go": "golang-go"},
        version=("version",),
        build=(("go", "build", "-ldflags=-s -w", "-o", "{program}/main", "{source}"),),
        run=("{program}/main",),
        env={"GOENV": "off", "GOTOOLCHAIN": "local", "GOPROXY": "off", "CGO_ENABLED": "0"},
        memory_factor=2.0,
        time_factor=2.0,
        image="LANG_IMAGE_GO",
    ),
    Recipe(
        code="java",
        tools={"javac": _JDK, "java": _JDK},
        build=(("javac", *(f"-J{flag}" for flag in JAVAC_JVM), "-proc:none", "-d", "{program}", "{source}"),),
        run=("java", *_JVM_SMALL, "-cp", "{program}", "{main}"),
        memory_factor=1.5,
        image="LANG_IMAGE_JAVA",
        host_paths=("/etc/java-*",),
    ),
    Recipe(
        code="c",
        tools={"gcc": "gcc libc6-dev", **_STDBUF},
        build=(("gcc", "-O2", "-pipe", "-o", "{program}/main", "{source}", "-lm"),),
        run=_LINE_BUFFERED,
        image="LANG_IMAGE_C",
    ),
    Recipe(
        code="cpp",
        tools={"g++": "g++ libc6-dev", **_STDBUF},
        build=(("g++", "-std=gnu++20", "-O2", "-pipe", "-o", "{program}/main", "{source}"),),
        run=_LINE_BUFFERED,
        memory_factor=1.5,
        time_factor=2.0,
        image="LANG_IMAGE_CPP",
    ),
    Recipe(
        code="php",
        tools={"php": "php-cli"},
        run=("php", "-d", "display_errors=stderr", "-d", "memory_limit=-1", "{source}"),
        image="LANG_IMAGE_PHP",
        host_paths=("/etc/php",),
    ),
    Recipe(
        code="rs",
        tools={"rustc": "rustc libc6-dev"},
        build=(("rustc", "--edition=2021", "-C", "opt-level=2", "-o", "{program}/main", "{source}"),),
        run=("{program}/main",),
        memory_factor=1.5,
        time_factor=2.0,
        image="LANG_IMAGE_RS",
    ),
    Recipe(
        code="r",
        tools={"Rscript": "r-base-core"},
        run=("Rscript", "--vanilla", "{source}"),
        image="LANG_IMAGE_R",
        host_paths=("/etc/R",),
    ),
    Recipe(
        code="f90",
        tools={"gfortran": "gfortran libc6-dev"},
        build=(("gfortran", "-O2", "-pipe", "-J", "{program}", "-o", "{program}/main", "{source}"),),
        run=("{program}/main",),
        env={"GFORTRAN_UNBUFFERED_PRECONNECTED": "y"},
        image="LANG_IMAGE_F90",
    ),
    Recipe(
        code="d",
        tools={"ldc2": "ldc gcc libc6-dev", **_STDBUF},
        build=(("ldc2", "--od={program}", "--of={program}/main", "{source}"),),
        run=_LINE_BUFFERED,
        memory_factor=1.5,
        time_factor=2.0,
        image="LANG_IMAGE_D",
        host_paths=("/etc/ldc2.conf",),
    ),
    Recipe(
        code="bash",
        tools={"bash": "bash"},
        run=("bash", "{source}"),
        image="LANG_IMAGE_PY",
    ),
)

_BY_CODE = {recipe.code: recipe for recipe in RECIPES}


def recipe_for(code: str) -> Recipe:
    """Return the recipe of a language by its code. Raises `KeyError`."""
    return _BY_CODE[code]
