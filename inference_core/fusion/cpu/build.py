"""Compiles C with the host's compiler into a folder of the user's own, and loads it. What was compiled before is found again.

A file's name is the digest of everything that made it: source, compiler, flags and the processor's features.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

COMPILERS = ("cc", "gcc", "clang")
# The first set of flags that the compiler takes; the later ones are for compilers that know less of the processor.
_FLAGS = (
    ("-O3", "-march=native", "-mprefer-vector-width=512", "-fopenmp"),
    ("-O3", "-march=native", "-fopenmp"),
    ("-O3", "-fopenmp-simd"),
    ("-O2",),
)
_ALWAYS = ("-std=gnu11", "-fPIC", "-shared", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-w")
_PATIENCE_S = 120


class NoCompiler(Exception):
    """There is no C compiler, or it refused the source; the message says which."""


def private_folder(chosen: Path | None) -> Path:
    """Return the folder for compiled code, made where it is missing.

    Args:
        chosen: the user's choice, or None for one of this user's in the temporary directory.

    Raises:
        NoCompiler: it belongs to another user or others may write to it; code from there could be anybody's.
    """
    folder = chosen or Path(tempfile.gettempdir()) / f"inference-core-fused-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NoCompiler(f"{folder} is not a folder that this user alone may write to")
    return folder


def load_c(source: str, folder: Path | None) -> ctypes.CDLL:
    """Return the library of a C source; its calls release the interpreter's lock.

    Raises:
        NoCompiler: it cannot be compiled here.
    """
    compiler, version, flags = host_compiler()
    digest = hashlib.sha256("\0".join([source, version, *flags, *_ALWAYS, _processor()]).encode()).hexdigest()
    library = private_folder(folder) / f"{digest}.so"
    if not library.exists():
        _compile(compiler, flags, source, library)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise NoCompiler(f"what was compiled cannot be loaded: {error}") from error


def _compile(compiler: str, flags: tuple[str, ...], source: str, library: Path) -> None:
    # Beside the library and then renamed: another process may be doing the same.
    with tempfile.TemporaryDirectory(dir=library.parent) as workplace:
        text, made = Path(workplace) / "fused.c", Path(workplace) / "fused.so"
        text.write_text(source)
        _run([compiler, *flags, *_ALWAYS, "-o", str(made), str(text), "-lm"])
        made.replace(library)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoCompiler(f"{command[0]}: {error}") from error
    if done.returncode:
        raise NoCompiler(f"{command[0]} refused the source: {done.stderr.strip()[-500:]}")
    return done.stdout


@functools.cache
def host_compiler() -> tuple[str, str, tuple[str, ...]]:
    """Return the host's compiler, what it says of its version, and the first set of flags that it can make a library with.

    Raises:
        NoCompiler: there is none.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise NoCompiler(f"no C compiler ({', '.join(COMPILERS)}) was found")
    version = _run([compiler, "--version"])
    last: NoCompiler | None = None
    for flags in _FLAGS:
        try:
            with tempfile.TemporaryDirectory() as folder:
                _compile(compiler, flags, "#include <math.h>\nint run(void) { return 0; }\n", Path(folder) / "try.so")
        except NoCompiler as error:
            last = error
            continue
        return compiler, version, flags
    raise last or NoCompiler("no flags are left")


@functools.cache
def _processor() -> str:
    """What -march=native looks at: a folder that several hosts share must not mix their code."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
