"""CUDA C++ compiled at run time by NVRTC, which PyTorch brings along, and launched through the driver. No compiler needed.

Importing this module touches no GPU.
"""

from __future__ import annotations

import ctypes
import functools

_CAPTURE_OF_THIS_THREAD = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
_MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


class CudaUnavailableError(RuntimeError):
    """NVRTC or the driver is missing, or refused the source."""


@functools.cache
def _driver() -> ctypes.CDLL:
    return _load("libcuda.so.1")


@functools.cache
def _compiler() -> ctypes.CDLL:
    import torch

    if torch.version.cuda is None:
        raise CudaUnavailableError("this build of PyTorch is not for CUDA")
    torch.cuda.init()
    return _load(f"libnvrtc.so.{torch.version.cuda.split('.')[0]}", "libnvrtc.so")


def _load(*names: str) -> ctypes.CDLL:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise CudaUnavailableError(f"{' or '.join(names)} cannot be loaded")


def _check(result: int, what: str) -> None:
    if result:
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(result, ctypes.byref(text))
        raise CudaUnavailableError(f"{what}: {(text.value or b'unknown error').decode()} ({result})")


def compile_source(source: str, defines: dict[str, int], capability: tuple[int, int]) -> bytes:
    """Return machine code of a source for a compute capability; every operation rounds by itself (no multiply-add).

    Raises:
        CudaUnavailableError: with the compiler's messages.
    """
    compiler, program = _compiler(), ctypes.c_void_p()
    options = [f"--gpu-architecture=sm_{capability[0]}{capability[1]}", "--fmad=false", "--ftz=false", "--prec-div=true"]
    options += [f"-D{name}={int(value)}" for name, value in defines.items()]
    arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    if compiler.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None):
        raise CudaUnavailableError("NVRTC made no program")
    try:
        if compiler.nvrtcCompileProgram(program, len(options), arguments):
            raise CudaUnavailableError(f"NVRTC: {_log(compiler, program)}")
        size = ctypes.c_size_t()
        compiler.nvrtcGetCUBINSize(program, ctypes.byref(size))
        code = ctypes.create_string_buffer(size.value)
        compiler.nvrtcGetCUBIN(program, code)
        return code.raw
    finally:
        compiler.nvrtcDestroyProgram(ctypes.byref(program))


def _log(compiler: ctypes.CDLL, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    compiler.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    compiler.nvrtcGetProgramLog(program, log)
    return log.value.decode(errors="replace")


class CudaFunction:
    """One kernel of a module, with as much dynamic shared memory as the device has."""

    def __init__(self, code: bytes, name: str, shared_bytes: int) -> None:
        """Raises CudaUnavailableError if the driver does not take the code."""
        driver, module, self._function = _driver(), ctypes.c_void_p(), ctypes.c_void_p()
        _check(driver.cuModuleLoadData(ctypes.byref(module), code), "loading a module")
        _check(driver.cuModuleGetFunction(ctypes.byref(self._function), module, name.encode()), f"finding {name}")
        fixed = ctypes.c_int()
        _check(driver.cuFuncGetAttribute(ctypes.byref(fixed), 1, self._function), "asking for shared memory")
        # CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES is 1: what the kernel declares counts too.
        self.shared_bytes = shared_bytes - fixed.value
        _check(driver.cuFuncSetAttribute(self._function, _MAX_DYNAMIC_SHARED, self.shared_bytes), "asking for shared memory")

    def bind(self, grid: int, block: int, shared: int, *arguments: ctypes.Structure) -> BoundLaunch:
        """Return a launch whose arguments are read when it runs."""
        return BoundLaunch(self._function, grid, block, shared, arguments)


class BoundLaunch:
    """A kernel with its grid and arguments."""

    def __init__(self, function: ctypes.c_void_p, grid: int, block: int, shared: int, arguments: tuple) -> None:
        self._arguments = arguments  # kept alive: the launch reads them
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))
        # All of ctypes' own types: nothing is left to convert when it runs.
        one = ctypes.c_uint(1)
        self._call = (function, ctypes.c_uint(grid), one, one, ctypes.c_uint(block), one, one, ctypes.c_uint(shared))
        self._rest = pointers, ctypes.c_void_p()
        self._launch = _driver().cuLaunchKernel

    def run(self, stream: ctypes.c_void_p) -> None:
        """Launch on a stream (torch's stream.cuda_stream); returns at once."""
        result = self._launch(*self._call, stream, *self._rest)
        if result:
            _check(result, "launching a kernel")


class CudaGraph:
    """One launch as a CUDA graph: the driver has less to do each time."""

    def __init__(self, launch: BoundLaunch, stream: ctypes.c_void_p) -> None:
        """Raises CudaUnavailableError if the driver refuses it."""
        driver, graph, executable = _driver(), ctypes.c_void_p(), ctypes.c_void_p()
        _check(driver.cuStreamBeginCapture_v2(stream, _CAPTURE_OF_THIS_THREAD), "beginning a capture")
        launch.run(stream)
        _check(driver.cuStreamEndCapture(stream, ctypes.byref(graph)), "ending a capture")
        _check(driver.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, ctypes.c_ulonglong(0)), "making a graph")
        _check(driver.cuGraphDestroy(graph), "giving a graph's template back")
        self._arguments, self._launch, self._kept = (executable, stream), driver.cuGraphLaunch, launch
        self._destroy = driver.cuGraphExecDestroy

    def __del__(self) -> None:
        if hasattr(self, "_destroy"):
            self._destroy(self._arguments[0])

    def run(self) -> None:
        """Launch on the stream; returns at once."""
        result = self._launch(*self._arguments)
        if result:
            _check(result, "launching a graph")
