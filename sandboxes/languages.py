"""How each language is built and run: one table for the local sandbox and for pods alike.

A `Recipe` names tools, not paths, so that it works in any image or host that has them on its PATH;
`sandboxes.toolchains` makes the same recipe fit this host (absolute paths, a quicker linker, warm
caches). Sources and what is built from them live in a program folder of their own; the program runs
in the working directory, where it finds its input files.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    tools: tuple[str, ...]
    """Executables it needs. The first one answers `version`."""
    version: tuple[str, ...]
    """Arguments that make the first tool print its version."""
    build: tuple[tuple[str, ...], ...] = ()
    run: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    memory_factor: float = 1.0
    """The operator's memory limit times this: what the runtime or compiler takes before any user code."""
    time_factor: float = 1.0
    """The time limit of the build, times this."""
    packages: tuple[str, ...]
    """Debian packages that provide the tools."""
    image: str
    """The setting that names the container image."""
    host_paths: tuple[str, ...] = ()
    """Outside /usr: what the tools read at run time. Visible read-only, where it exists."""

    @property
    def file_name(self) -> str:
        """The source file's usual name."""
        return _FILE_NAMES[self.code]

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


_JAVA_PUBLIC = re.compile(r"^\s*public\s+(?:\w+\s+)*?(?:class|record|enum|interface)\s+(\w+)", re.MULTILINE)
_JAVA_TYPE = re.compile(r"\b(?:class|record|enum|interface)\s+(\w+)")
_JAVA_MAIN = re.compile(r"\bvoid\s+main\s*\(")
_JAVA_PACKAGE = re.compile(r"^\s*package\s+([\w.]+)\s*;", re.MULTILINE)


def java_names(code: str) -> tuple[str, str]:
    """Return the file name that javac demands for `code` and the class whose `main` to run.

    A public type must stand in a file of its name (JLS 7.6), and people call theirs what they like.
    Read by pattern, not parsed: where that finds nothing, both are `Main`.
    """
    public = _JAVA_PUBLIC.search(code)
    main = _JAVA_MAIN.search(code)
    before_main = _JAVA_TYPE.findall(code[: main.start()]) if main else []
    package = _JAVA_PACKAGE.search(code)
    main_class = before_main[-1] if before_main else public[1] if public else "Main"
    return f"{public[1] if public else 'Main'}.java", f"{package[1]}.{main_class}" if package else main_class


# Java: C1 only and the serial collector start in a third of the time and memory of the defaults.
_JVM_QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

# C's stdio buffers a pipe by the block: lines would come late, and not at all from a program that is killed.
_LINE_BUFFERED = ("stdbuf", "-oL", "{program}/main")

RECIPES: tuple[Recipe, ...] = (
    Recipe(
        code="py",
        tools=("python3",),
        version=("--version",),
        run=("python3", "-I", "-u", "-X", "utf8", "{source}"),
        packages=("python3",),
        image="LANG_IMAGE_PY",
    ),
    Recipe(
        code="js",
        tools=("node",),
        version=("--version",),
        run=("node", "{source}"),
        packages=("nodejs",),
        image="LANG_IMAGE_JS",
    ),
    Recipe(
        code="ts",
        tools=("node", "esbuild"),
        version=("--version",),
        # esbuild and not node's own type stripping, which only recent versions have and which refuses enums.
        build=(("esbuild", "{source}", "--log-level=error", "--sourcemap", "--outfile={program}/main.js"),),
        run=("node", "--enable-source-maps", "{program}/main.js"),
        packages=("nodejs", "esbuild"),
        image="LANG_IMAGE_TS",
    ),
    Recipe(
        code="go",
        tools=("go",),
        version=("version",),
        build=(("go", "build", "-o", "{program}/main", "{source}"),),
        run=("{program}/main",),
        env={"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GOPROXY": "off", "CGO_ENABLED": "0"},
        memory_factor=2.0,
        time_factor=2.0,
        packages=("golang-go",),
        image="LANG_IMAGE_GO",
    ),
    Recipe(
        code="java",
        tools=("java", "javac"),
        version=("--version",),
        build=(("javac", *(f"-J{flag}" for flag in _JVM_QUICK), "-d", "{program}", "{source}"),),
        run=("java", *_JVM_QUICK, "-cp", "{program}", "{main}"),
        memory_factor=1.5,
        packages=("default-jdk-headless",),
        image="LANG_IMAGE_JAVA",
        host_paths=("/etc/java-*",),
    ),
    Recipe(
        code="c",
        tools=("gcc", "stdbuf"),
        version=("--version",),
        build=(("gcc", "-O1", "-pipe", "-o", "{program}/main", "{source}", "-lm"),),
        run=_LINE_BUFFERED,
        packages=("gcc", "libc6-dev", "coreutils"),
        image="LANG_IMAGE_C",
    ),
    Recipe(
        code="cpp",
        tools=("g++", "stdbuf"),
        version=("--version",),
        build=(("g++", "-std=gnu++20", "-O1", "-pipe", "-o", "{program}/main", "{source}"),),
        run=_LINE_BUFFERED,
        memory_factor=1.5,
        time_factor=2.0,
        packages=("g++", "libc6-dev", "coreutils"),
        image="LANG_IMAGE_CPP",
    ),
    Recipe(
        code="php",
        tools=("php",),
        version=("--version",),
        run=("php", "-d", "display_errors=stderr", "-d", "memory_limit=-1", "{source}"),
        packages=("php-cli",),
        image="LANG_IMAGE_PHP",
        host_paths=("/etc/php",),
    ),
    Recipe(
        code="rs",
        tools=("rustc",),
        version=("--version",),
        build=(("rustc", "--edition=2021", "-C", "opt-level=1", "-o", "{program}/main", "{source}"),),
        run=("{program}/main",),
        memory_factor=1.5,
        time_factor=2.0,
        packages=("rustc",),
        image="LANG_IMAGE_RS",
    ),
    Recipe(
        code="r",
        tools=("Rscript",),
        version=("--version",),
        run=("Rscript", "--vanilla", "{source}"),
        packages=("r-base-core",),
        image="LANG_IMAGE_R",
        host_paths=("/etc/R",),
    ),
    Recipe(
        code="f90",
        tools=("gfortran",),
        version=("--version",),
        build=(("gfortran", "-O1", "-pipe", "-J", "{program}", "-o", "{program}/main", "{source}"),),
        run=("{program}/main",),
        env={"GFORTRAN_UNBUFFERED_PRECONNECTED": "y"},
        packages=("gfortran",),
        image="LANG_IMAGE_F90",
    ),
    Recipe(
        code="d",
        tools=("ldc2", "stdbuf"),
        version=("--version",),
        build=(("ldc2", "-O1", "--od={program}", "--of={program}/main", "{source}"),),
        run=_LINE_BUFFERED,
        memory_factor=1.5,
        time_factor=2.0,
        packages=("ldc", "coreutils"),
        image="LANG_IMAGE_D",
        host_paths=("/etc/ldc2.conf",),
    ),
    Recipe(
        code="bash",
        tools=("bash",),
        version=("--version",),
        run=("bash", "{source}"),
        packages=("bash", "coreutils", "jq", "python3"),
        image="LANG_IMAGE_PY",
    ),
)

_BY_CODE = {recipe.code: recipe for recipe in RECIPES}


def recipe_for(code: str) -> Recipe:
    """Return the recipe of a language by its code. Raises `KeyError`."""
    return _BY_CODE[code]
