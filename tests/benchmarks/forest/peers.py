"""The other engines on the forest, each as fast as its Python interface allows. Packages are imported where they are used:
one that is missing is then that peer's failure alone."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tests.benchmarks.forest.case import ForestCase
from tests.benchmarks.forest.halves import on_two_threads
from tests.benchmarks.side_by_side.engines import Call, Engine, LeftOut, Way, version_of

# tl2cgen and lleaves compile for minutes where a forest has more nodes than this; --full compiles all of them.
COMPILED_NODES = 80_000
# A peer that trains a forest of its own does so for this many tree levels; --full trains all of them.
OWN_MODEL_LEVELS = 500 * 6
# YDF trains slowly; the size of its forest does not depend on more rows than these.
OWN_MODEL_ROWS = 20_000


def open_xgboost(case: ForestCase) -> Engine:
    import xgboost

    def booster(threads: int):
        made = xgboost.Booster(model_file=str(case.model_file))
        made.set_param({"nthread": threads})
        return made

    boosters = {1: booster(1), 2: booster(2)}

    def way(threads: int) -> Way:
        score = boosters[threads].inplace_predict
        setting = f"inplace_predict, nthread={threads}, validate_features=False"
        return Way(setting, lambda x: lambda: score(x, validate_features=False))

    return Engine("XGBoost", xgboost.__version__, {1: (way(1),), 2: (way(2), way(1))})


def open_daal4py(case: ForestCase) -> Engine:
    import daal4py
    import xgboost

    started = time.perf_counter()
    model = daal4py.mb.convert_model(xgboost.Booster(model_file=str(case.model_file)))
    prepare_s = time.perf_counter() - started

    def algorithm(x: np.ndarray) -> Call:
        compute = daal4py.gbt_regression_prediction(fptype="float").compute
        return lambda: compute(x, model.daal_model_).prediction

    ways = (
        Way("daal4py.gbt_regression_prediction made once, float32", algorithm),
        Way("daal4py.mb model.predict, float32", lambda x: lambda: model.predict(x)),
    )
    return Engine("daal4py", version_of("scikit-learn-intelex"), {1: ways, 2: ways}, prepare_s, enter=daal4py.daalinit)


def open_onnxruntime(case: ForestCase) -> Engine:
    import onnxruntime

    started = time.perf_counter()
    onnx = _as_onnx(case)
    prepare_s = time.perf_counter() - started
    pool = ThreadPoolExecutor(1)

    def session(threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])

    sessions = {1: session(1), 2: session(2)}
    output = sessions[1].get_outputs()[0].name

    def bound(threads: int) -> Callable[[np.ndarray], Call]:
        def make(x: np.ndarray) -> Call:
            binding, run = sessions[threads].io_binding(), sessions[threads].run_with_iobinding
            values, result = np.ascontiguousarray(x), np.empty((len(x), 1), np.float32)
            binding.bind_input("x", "cpu", 0, np.float32, values.shape, values.ctypes.data)
            binding.bind_output(output, "cpu", 0, np.float32, result.shape, result.ctypes.data)

            def call(kept: np.ndarray = values) -> np.ndarray:  # the binding knows addresses, and keeps nothing alive
                run(binding)
                return result

            return call

        return make

    def plain(threads: int) -> Callable[[np.ndarray], Call]:
        return lambda x: lambda: sessions[threads].run([output], {"x": x})[0]

    def in_chunks(rows: int) -> Callable[[np.ndarray], Call]:
        def make(x: np.ndarray) -> Call:
            calls = [bound(1)(x[i : i + rows]) for i in range(0, len(x), rows)]
            return lambda: np.concatenate([call() for call in calls])

        return make

    one = (
        Way("io_binding, 1 thread", bound(1)),
        Way("session.run, 1 thread", plain(1)),
        Way("io_binding, 1 thread, chunks of 256 rows", in_chunks(256)),
    )
    two = (
        Way("io_binding, 2 intra-op threads", bound(2)),
        Way("io_binding, two Python threads over halves", on_two_threads(bound(1), pool)),
        Way("io_binding, two Python threads over halves, chunks of 256 rows", on_two_threads(in_chunks(256), pool)),
        *one,
    )
    return Engine("ONNX Runtime", onnxruntime.__version__, {1: one, 2: two}, prepare_s)


def _as_onnx(case: ForestCase) -> bytes:
    import onnxmltools
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    model = xgboost.XGBRegressor()
    model.load_model(str(case.model_file))
    model.get_booster().feature_names = list(case.feature_names)
    inputs = [("x", FloatTensorType([None, case.shape.features]))]
    return onnxmltools.convert_xgboost(model, initial_types=inputs, target_opset=15).SerializeToString()


def open_gtil(case: ForestCase) -> Engine:
    import treelite
    import treelite.gtil

    model = treelite.frontend.load_xgboost_model(str(case.model_file))

    def way(threads: int) -> Way:
        return Way(f"gtil.predict, nthread={threads}", lambda x: lambda: treelite.gtil.predict(model, x, nthread=threads))

    return Engine("Treelite GTIL", treelite.__version__, {1: (way(1),), 2: (way(2), way(1))})


def open_tl2cgen(case: ForestCase, limit: int | None = COMPILED_NODES) -> Engine:
    import tl2cgen
    import treelite

    refuse_long_compiling(case, limit)
    model = treelite.frontend.load_xgboost_model(str(case.model_file))
    library = case.folder / "tl2cgen.so"
    started = time.perf_counter()
    parameters = {"parallel_comp": 8, "quantize": 1}
    tl2cgen.export_lib(model, toolchain="gcc", libpath=str(library), params=parameters, nthread=2)
    prepare_s = time.perf_counter() - started
    predictors = {threads: tl2cgen.Predictor(str(library), nthread=threads) for threads in (1, 2)}

    def way(threads: int) -> Way:
        def make(x: np.ndarray) -> Call:
            matrix = tl2cgen.DMatrix(np.ascontiguousarray(x))
            return lambda: predictors[threads].predict(matrix)

        return Way(f"gcc, quantize=1, DMatrix made before, nthread={threads}", make)

    return Engine("tl2cgen", version_of("tl2cgen"), {1: (way(1),), 2: (way(2), way(1))}, prepare_s)


def open_lightgbm(case: ForestCase) -> Engine:
    import lightgbm

    booster = _own_lightgbm(case)

    def way(threads: int) -> Way:
        def make(x: np.ndarray) -> Call:
            return lambda: booster.predict(x, raw_score=True, num_threads=threads, validate_features=False)

        return Way(f"Booster.predict, num_threads={threads}, validate_features=False", make)

    return Engine("LightGBM", lightgbm.__version__, {1: (way(1),), 2: (way(2), way(1))}, own_model=True)


def open_lleaves(case: ForestCase, limit: int | None = COMPILED_NODES) -> Engine:
    import lleaves

    refuse_long_compiling(case, limit)
    file = case.folder / "lightgbm.txt"
    booster = _own_lightgbm(case)
    booster.save_model(str(file))
    started = time.perf_counter()
    model = lleaves.Model(str(file))
    model.compile(raw_score=True)
    prepare_s = time.perf_counter() - started

    def way(threads: int) -> Way:
        def make(x: np.ndarray) -> Call:
            wide = np.ascontiguousarray(x, np.float64)
            return lambda: model.predict(wide, n_jobs=threads)

        return Way(f"float64 input made before, n_jobs={threads}", make)

    x = case.rows(1000, 0.05)
    difference = float(np.abs(way(1).make(x)() - booster.predict(x, raw_score=True)).max())
    ways = {1: (way(1),), 2: (way(2), way(1))}
    facts = {"max_margin_diff_to_lightgbm": difference}
    return Engine("lleaves (LightGBM's forest)", version_of("lleaves"), ways, prepare_s, own_model=True, facts=facts)


@functools.lru_cache(maxsize=1)
def _own_lightgbm(case: ForestCase):
    """Train LightGBM's forest of the same size, once for itself and lleaves."""
    import lightgbm

    parameters = {
        "objective": "binary", "max_depth": case.shape.depth, "num_leaves": 2**case.shape.depth - 1, "learning_rate": 0.1,
        "num_threads": 2, "verbose": -1, "seed": 0, "deterministic": True, "force_row_wise": True,
    }  # fmt: skip
    return lightgbm.train(parameters, lightgbm.Dataset(case.x_train, case.y_train), case.shape.trees)


def open_ydf(case: ForestCase, limit: int | None = OWN_MODEL_LEVELS) -> Engine:
    import ydf

    levels = case.shape.trees * case.shape.depth
    if limit is not None and levels > limit:
        raise LeftOut(f"training its own {case.shape} forest takes minutes; ARGS=--full does it")
    ydf.verbose(0)
    learner = ydf.GradientBoostedTreesLearner(
        label="y", num_trees=case.shape.trees, max_depth=case.shape.depth + 1, early_stopping="NONE", validation_ratio=0.0,
        num_threads=2, discretize_numerical_columns=True,
    )  # fmt: skip
    data = {**_columns(case, case.x_train[:OWN_MODEL_ROWS]), "y": case.y_train[:OWN_MODEL_ROWS]}
    model = learner.train(data)
    measured = model.benchmark(data, benchmark_duration=1, warmup_duration=0.2, num_threads=1)
    facts = {
        "inner_engine": model.list_compatible_engines()[0],
        "cpp_us_per_row_1t": round(float(measured.duration_per_example) * 1e6, 3),
        "cpp_note": "its own C++ benchmark, batches of 100, without Python",
    }

    def way(threads: int) -> Way:
        def make(x: np.ndarray) -> Call:
            values = _columns(case, x)
            return lambda: model.predict(values, num_threads=threads)

        return Way(f"model.predict of columns made before, num_threads={threads}", make)

    return Engine("YDF", version_of("ydf"), {1: (way(1),), 2: (way(2), way(1))}, own_model=True, facts=facts)


def _columns(case: ForestCase, x: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(x[:, i]) for i, name in enumerate(case.feature_names)}


def refuse_long_compiling(case: ForestCase, limit: int | None) -> None:
    """Raise LeftOut for a forest of more than `limit` nodes; None is no limit."""
    if limit is not None and case.nodes > limit:
        raise LeftOut(f"compiling {case.nodes:,} nodes takes minutes; ARGS=--full does it")


def peers(full: bool) -> tuple[tuple[str, Callable[[ForestCase], Engine]], ...]:
    """Return (name, opener) of every peer; with full, those that compile or train for minutes do so for every shape."""
    compiled, own = (None, None) if full else (COMPILED_NODES, OWN_MODEL_LEVELS)
    return (
        ("XGBoost", open_xgboost),
        ("daal4py", open_daal4py),
        ("ONNX Runtime", open_onnxruntime),
        ("Treelite GTIL", open_gtil),
        ("tl2cgen", functools.partial(open_tl2cgen, limit=compiled)),
        ("LightGBM", open_lightgbm),
        ("lleaves (LightGBM's forest)", functools.partial(open_lleaves, limit=compiled)),
        ("YDF", functools.partial(open_ydf, limit=own)),
    )
