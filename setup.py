"""Builds the C kernels; all else about the package is in pyproject.toml."""

from glob import glob

from setuptools import Extension, setup

sources = sorted(glob("kernels/*/*.c"))

# Plain C loaded with ctypes, not a Python module: it needs no PyInit function. Optional, so that
# a host without a compiler still installs and runs on the NumPy references.
native = Extension(
    "kernels._native",
    sources=sources,
    depends=sorted(glob("kernels/**/*.h", recursive=True)),
    optional=True,
    # Floating-point operations as written: a fused multiply-add would round otherwise than every other executor.
    extra_compile_args=["-O3", "-std=c11", "-fno-math-errno", "-ffp-contract=off"],
    extra_link_args=["-pthread"],
)

setup(ext_modules=[native] if sources else [])
