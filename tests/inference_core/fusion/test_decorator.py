"""What a fused function promises: the plain function's results whatever is done to its arguments, and an explanation."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch
from torch.nn import functional as F

from inference_core import deepseek_fuse
from inference_core.fusion.constants import MOST_SETS
from inference_core.fusion.cpu import build
from inference_core.fusion.decorator import MOST_PLANS

pytestmark = pytest.mark.needs_compiler


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fused")


def head(x, w, b):
    return torch.sigmoid(F.relu(F.linear(x, w, b)))


def published(x, weight, bias, running_mean, running_var):
    x = F.conv2d(x, weight, bias)
    x = F.batch_norm(x, running_mean, running_var)
    return F.relu(x)


def close(got, expected) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def layer() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(9, 6), torch.randn(9)


def images(rows: int = 4) -> tuple[torch.Tensor, ...]:
    return torch.randn(rows, 3, 8, 8), torch.randn(5, 3, 3, 3), torch.randn(5), torch.randn(5), torch.rand(5) + 0.5


def test_the_published_example(folder):
    fused = deepseek_fuse(published, folder=folder)
    arguments = images()
    close(fused(*arguments), published(*arguments))
    said = fused.explain()
    assert "published: 1 kernels compiled" in said and "[batch, 3, 8, 8], [5, 3, 3, 3]" in said
    assert "mul into conv2d, add into conv2d" in said and "bytes a row" in said and "untouched" not in said


def test_a_large_convolution_is_the_librarys_with_folded_weights(folder):
    fused = deepseek_fuse(published, folder=folder)
    arguments = (torch.randn(3, 16, 20, 20), torch.randn(32, 16, 3, 3), *(torch.rand(32) + 0.5 for _ in range(3)))
    for _ in range(2):
        torch.testing.assert_close(fused(*arguments), published(*arguments), rtol=1e-5, atol=1e-4)
    assert "the library's convolution with folded weights" in fused.explain() and not fused.fused.untouched
    assert fused.fused.plans[0].kernel.constants.worked_out == 1
    F.batch_norm(torch.randn(64, 32), *arguments[3:], training=True)
    torch.testing.assert_close(fused(*arguments), published(*arguments), rtol=1e-5, atol=1e-4)
    arguments[1].mul_(2)
    torch.testing.assert_close(fused(*arguments), published(*arguments), rtol=1e-5, atol=1e-4)


def test_other_large_layers_are_left_untouched(folder):
    x, w = torch.randn(2, 2048), torch.randn(2100, 2048)
    fused = deepseek_fuse(lambda x, w: F.relu(F.linear(x, w)), folder=folder)
    assert torch.equal(fused(x, w), F.relu(F.linear(x, w))) and "a large layer" in reason_of(fused)


@pytest.mark.parametrize("rows", [0, 1, 2, 17, 300])
def test_any_batch_runs_through_one_compilation(folder, rows):
    fused = deepseek_fuse(head, folder=folder)
    w, b = layer()
    for n in (5, rows, 5, rows):
        x = torch.randn(n, 6)
        close(fused(x, w, b), head(x, w, b))
    assert fused.fused.compilations == 1 and not fused.fused.untouched


def test_a_batch_that_equals_a_constants_dimension_is_told_apart(folder):
    """Nine rows, and nine outputs: w and b are constants none the less, and other sizes use the same kernel."""
    fused = deepseek_fuse(lambda x, w, s: F.relu(F.linear(x, w)) * s, folder=folder)
    w, s = layer()
    for n in (9, 1, 4):
        x = torch.randn(n, 6)
        close(fused(x, w, s), F.relu(F.linear(x, w)) * s)
    assert fused.fused.compilations == 1


def test_one_row_whose_neighbours_are_constant_may_later_be_many(folder):
    fused = deepseek_fuse(lambda x, y: torch.exp(x) * y + y, folder=folder)
    for a, b in ((1, 1), (4, 1), (4, 4), (1, 1), (6, 6), (7, 1)):
        x, y = torch.randn(a, 5), torch.randn(b, 5)
        close(fused(x, y), torch.exp(x) * y + y)
    assert fused.fused.compilations == 2


def test_many_arguments_may_vary(folder):
    fused = deepseek_fuse(lambda *xs: torch.tanh(sum(xs)), folder=folder)
    for n in (1, 5, 12):
        xs = [torch.randn(n, 3) for _ in range(12)]
        close(fused(*xs), torch.tanh(sum(xs)))
    assert fused.fused.compilations == 1


# --- constants -----------------------------------------------------------------------------------------------------------


def changed_in_place(w):
    w.mul_(2)


def given_new_memory(w):
    w.data = torch.randn_like(w)


def one_element_set(w):
    w[0, 0] = 7


@pytest.mark.parametrize("change", [changed_in_place, given_new_memory, one_element_set])
def test_changed_weights_are_folded_again(folder, change):
    fused = deepseek_fuse(head, folder=folder)
    x, (w, b) = torch.randn(3, 6), layer()
    fused(x, w, b)
    close(fused(x, w, b), head(x, w, b))
    change(w)
    close(fused(x, w, b), head(x, w, b))
    assert fused.fused.compilations == 1


def test_statistics_that_change_are_folded_again(folder):
    fused = deepseek_fuse(published, folder=folder)
    arguments = images()
    fused(*arguments)
    arguments[4].add_(1)
    close(fused(*arguments), published(*arguments))


def test_other_weights_are_folded_once_each_and_forgotten_in_the_end(folder):
    fused = deepseek_fuse(head, folder=folder)
    x, sets = torch.randn(3, 6), [layer() for _ in range(MOST_SETS)]
    for _ in range(3):
        for w, b in sets:
            close(fused(x, w, b), head(x, w, b))
    assert fused.fused.plans[0].kernel.constants.worked_out == MOST_SETS
    first = weakref.ref(sets[0][0])
    del sets[0], w, b
    for _ in range(MOST_SETS):
        fused(x, *layer())
    gc.collect()
    assert first() is None


def test_weights_that_do_not_count_their_versions_are_read_every_time(folder):
    fused = deepseek_fuse(head, folder=folder)
    x = torch.randn(3, 6)
    with torch.inference_mode():
        w, b = layer()
        for _ in range(3):
            close(fused(x, w, b), head(x, w, b))
            w.mul_(1.5)


def test_strided_weights_and_biases_need_no_copy_by_the_caller(folder):
    fused = deepseek_fuse(head, folder=folder)
    x, w, b = torch.randn(3, 6), torch.randn(6, 9).T, torch.randn(9, 2)[:, 0]
    close(fused(x, w, b), head(x, w, b))
    assert not fused.fused.untouched


def test_threads_with_weights_of_their_own_do_not_meet(folder):
    fused = deepseek_fuse(head, folder=folder)
    x, wrong = torch.randn(64, 6), []

    def work():
        w, b = layer()
        expected = head(x, w, b)
        for _ in range(300):
            if not torch.allclose(fused(x, w, b), expected, rtol=1e-5, atol=1e-5):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- untouched -----------------------------------------------------------------------------------------------------------


def reason_of(fused) -> str:
    """Return the only reason for which calls were left untouched."""
    (reason,) = fused.fused.untouched
    assert reason in fused.explain()
    return reason


def test_training_is_left_untouched(folder):
    fused = deepseek_fuse(head, folder=folder)
    x, (w, b) = torch.randn(3, 6), layer()
    fused(x, w, b)
    w.requires_grad_()
    fused(x, w, b).sum().backward()
    assert w.grad is not None and "requires a gradient" in reason_of(fused)
    with torch.no_grad():
        assert fused(x, w, b).grad_fn is None
    assert sum(fused.fused.untouched.values()) == 1, "without gradients it is fused again"


def test_batch_norm_in_training_folds_nothing_and_updates_its_statistics(folder):
    def function(x, mean, variance, training):
        return F.relu(F.batch_norm(x, mean, variance, training=training))

    fused = deepseek_fuse(function, folder=folder)
    x, mean, variance = torch.randn(8, 5), torch.zeros(5), torch.ones(5)
    close(fused(x, mean, variance, False), function(x, mean.clone(), variance.clone(), False))
    fused(x, mean, variance, True)
    assert mean.abs().sum() > 0 and "in training" in reason_of(fused)
    close(fused(x, mean, variance, False), function(x, mean, variance, False))


@pytest.mark.parametrize(
    ("function", "arguments", "says"),
    [
        (lambda x: torch.cumsum(torch.exp(x), -1), (torch.randn(3, 4),), "cumsum is not an operation that is fused"),
        (lambda x: torch.exp(x).sum(0) + 1, (torch.randn(3, 4),), "sum over the batch mixes rows"),
        (lambda x: x.exp() if x.sum() > 0 else -x, (torch.randn(3, 4),), "control flow"),
        (lambda x: torch.exp(x), (torch.randn(3, 4),), "one operation by itself"),
        (lambda x: torch.exp(x) + 1, (torch.randn(3, 4).double(),), "torch.float64"),
        (lambda x: torch.exp(x) + 1, (torch.randn(3, 4, device="meta"),), "no kernels are written for the device meta"),
        (lambda x, y: torch.exp(x) @ y, (torch.randn(3, 4), torch.randn(3, 4, 2)), "second factor"),
        (lambda x: torch.exp(x).tolist(), (torch.randn(3, 4),), "tolist is not an operation"),
        (lambda x: torch.exp(x.T) + 1, (torch.randn(3, 4),), "transposition"),
        (lambda x: (torch.exp(x) + 1).argmin(-1) + 1, (torch.randn(3, 4),), "positions"),
        (lambda x: F.relu(torch.exp(x), inplace=True), (torch.randn(3, 4),), "in place"),
        (lambda x: x[:, 1:], (torch.randn(3, 4),), "view of one"),
        (lambda x, y: torch.exp(x) * y, (torch.randn(5), torch.randn(5, 4)), "joins values"),
        (lambda x, of: torch.exp(x) + of["one"], (torch.randn(3, 4), {"one": 1.0}), "dict"),
    ],
)
def test_what_is_not_fused_runs_as_it_was_and_says_why(folder, function, arguments, says):
    fused = deepseek_fuse(function, folder=folder)
    try:
        expected, failure = function(*arguments), None
    except Exception as error:  # the caller must see the function's own error
        expected, failure = None, type(error)
    for _ in range(2):
        if failure:
            with pytest.raises(failure):
                fused(*arguments)
        elif isinstance(expected, torch.Tensor) and expected.device.type != "meta":
            assert torch.equal(fused(*arguments), expected)
        else:
            fused(*arguments)
    assert says in reason_of(fused)
    assert fused.fused.compilations == 0 and len(fused.fused.plans) <= 1


def test_rows_that_are_not_contiguous_are_left_untouched(folder):
    fused = deepseek_fuse(head, folder=folder)
    (w, b), wide = layer(), torch.randn(8, 12)
    for x in (wide[:, :6], wide[:, 6:], torch.randn(6, 8).T):
        assert torch.equal(fused(x, w, b), head(x, w, b))
    assert "not contiguous" in " ".join(fused.fused.untouched)


def test_autocast_subclasses_vmap_and_other_recorders_see_the_plain_function(folder):
    fused = deepseek_fuse(head, folder=folder)
    x, (w, b) = torch.randn(3, 6), layer()
    fused(x, w, b)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fused(x, w, b), head(x, w, b))
    assert "autocast" in reason_of(fused)
    assert torch.equal(torch.vmap(fused, (0, None, None))(x[None], w, b)[0], head(x, w, b))

    class Own(torch.Tensor):
        pass

    assert type(fused(x.as_subclass(Own), w, b)) is Own
    whole = torch.compile(lambda x: fused(x, w, b) + 1, backend="eager", fullgraph=True)
    assert torch.equal(whole(x), head(x, w, b) + 1)
    traced = torch.fx.symbolic_trace(lambda x: fused(x, w, b))
    assert torch.equal(traced(x), head(x, w, b))
    assert any(node.op == "call_function" and node.target is F.linear for node in traced.graph.nodes)


def test_a_host_without_a_compiler_runs_the_plain_function(folder, monkeypatch):
    monkeypatch.setattr(build, "COMPILERS", ("no-such-compiler",))
    build.host_compiler.cache_clear()
    try:
        fused = deepseek_fuse(head, folder=folder)
        x, (w, b) = torch.randn(3, 6), layer()
        assert torch.equal(fused(x, w, b), head(x, w, b))
        assert "no C compiler" in reason_of(fused)
    finally:
        build.host_compiler.cache_clear()


def test_a_compiler_that_refuses_the_source_says_so(folder):
    with pytest.raises(build.NoCompiler, match="refused the source"):
        build.load_c("this is no C", folder)


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    fused = deepseek_fuse(head, folder=shared)
    x, (w, b) = torch.randn(3, 6), layer()
    assert torch.equal(fused(x, w, b), head(x, w, b))
    assert "may write to" in reason_of(fused) and not list(shared.iterdir())


def test_too_many_shapes_end_compiling(folder):
    fused = deepseek_fuse(lambda x: torch.exp(x) + 1, folder=folder)
    for width in range(1, MOST_PLANS + 3):
        fused.fused._plans.append(fused.fused._plans[-1]) if width > 2 and len(fused.fused.plans) < MOST_PLANS else None
        x = torch.randn(2, width)
        close(fused(x), torch.exp(x) + 1)
    assert "combinations of shapes" in fused.explain()


# --- calling -------------------------------------------------------------------------------------------------------------


def test_names_defaults_and_plain_values(folder):
    @deepseek_fuse(folder=folder)
    def scaled(x, factor=2.0, shift=None):
        """Doc."""
        x = torch.tanh(x) * factor
        return x if shift is None else x + shift

    x, shift = torch.randn(3, 4), torch.randn(4)
    close(scaled(x), torch.tanh(x) * 2)
    close(scaled(x, 3.0), torch.tanh(x) * 3)
    close(scaled(x, shift=shift), torch.tanh(x) * 2 + shift)
    close(scaled(x, 3.0), torch.tanh(x) * 3)
    close(scaled(shift=shift, x=x, factor=0.5), torch.tanh(x) * 0.5 + shift)
    assert (scaled.__name__, scaled.__doc__) == ("scaled", "Doc.") and scaled.fused.compilations == 4
    with pytest.raises(TypeError):
        scaled()
    with pytest.raises(TypeError):
        scaled(x, nothing=1)


def test_outputs_are_the_callers_own(folder):
    fused = deepseek_fuse(lambda x: (torch.exp(x) + 1, torch.exp(x) + 1, x.max(-1)), folder=folder)
    assert "not a tensor" in _untouched(fused, torch.randn(3, 4))
    fused = deepseek_fuse(lambda x: (torch.exp(x) + 1, torch.exp(x) + 1), folder=folder)
    x = torch.randn(3, 4)
    a, b = fused(x)
    a.zero_()
    close(b, torch.exp(x) + 1)
    again = fused(x)
    again[0].zero_()
    close(b, torch.exp(x) + 1)


def _untouched(fused, *arguments) -> str:
    fused(*arguments)
    return reason_of(fused)


def test_positions_and_values_of_the_least(folder):
    def cheapest(p, loss, fixed):
        least = (p[:, None] * loss + fixed).min(-1)
        return least.values, least.indices

    fused = deepseek_fuse(cheapest, folder=folder)
    p, loss, fixed = torch.rand(33), torch.tensor([1.0, 2.0, 1.0]), torch.tensor([0.5, 0.0, 0.5])
    p[3] = float("nan")
    for got, expected in zip(fused(p, loss, fixed), cheapest(p, loss, fixed), strict=True):
        assert torch.equal(got.nan_to_num(-1), expected.nan_to_num(-1)) and got.dtype == expected.dtype


def test_before_the_first_call_there_is_nothing_to_explain(folder):
    assert deepseek_fuse(head, folder=folder).explain() == "head: not called yet"


def test_compiled_code_is_found_again(tmp_path):
    x, (w, b) = torch.randn(3, 6), layer()
    deepseek_fuse(head, folder=tmp_path / "made")(x, w, b)
    (library,) = (tmp_path / "made").iterdir()
    written = library.stat().st_mtime_ns
    deepseek_fuse(head, folder=tmp_path / "made")(x, w, b)
    assert [one.stat().st_mtime_ns for one in (tmp_path / "made").iterdir()] == [written]
