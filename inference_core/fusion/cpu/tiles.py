"""C text of the two inner loops that hold all their sums in registers: matrix products and convolutions.

Both are written out by hand-unrolled text rather than loops over arrays, which compilers do not always keep in registers.
"""

from __future__ import annotations

LANES = 16
# Panels of 16 outputs side by side -> rows that are added up together; sums, weights and one element fit 32 registers.
TILE_ROWS = {1: 12, 2: 10, 3: 8, 4: 6}
MOST_PANELS = 4
# With one row the latency of an addition is hidden by more panels.
ONE_ROW_PANELS = 8
CHANNELS_A_TILE = 4
VECTORS_A_TILE = 6

VECTORS = """
typedef float v16 __attribute__((vector_size(64), aligned(4), may_alias));
INLINE v16 fuse_load(const float *p) { return *(const v16 *)p; }
INLINE void fuse_store(float *p, v16 v) { *(v16 *)p = v; }
INLINE v16 fuse_spread(float x) { return (v16){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
"""


def product_tile(rows: int, panels: int) -> str:
    """Return a function that multiplies `rows` rows of a by `panels` panels of 16 columns of packed weights.

    a: element (r, k) at a[r * ars + k * acs]; w: [panels][K][16]; bias: [panels * 16] or null; out: element (r, j) at
    out[r * ors + j * ocs], for j below `width`.
    """
    tile = [(r, p) for r in range(rows) for p in range(panels)]
    lines = [f"INLINE void {product_name(rows, panels)}(const int64_t K, const float *a, const int64_t ars, const int64_t acs,",
             "    const float *w, const float *bias, float *out, const int64_t ors, const int64_t ocs, const int64_t width) {"]
    lines += [f"    v16 s{r}_{p} = bias ? fuse_load(bias + {p * LANES}) : fuse_spread(0.0f);" for r, p in tile]
    lines += ["    for (int64_t k = 0; k < K; k++) {"]
    lines += [f"        const v16 w{p} = fuse_load(w + ({p} * K + k) * {LANES});" for p in range(panels)]
    for r in range(rows):
        lines += [f"        const v16 a{r} = fuse_spread(a[{r} * ars + k * acs]);"]
        lines += [f"        s{r}_{p} += a{r} * w{p};" for p in range(panels)]
    lines += ["    }"]
    lines += [f"    fuse_put(out + {r} * ors, s{r}_{p}, {p * LANES}, ocs, width);" for r, p in tile]
    return "\n".join([*lines, "}", ""])


PUT = """
INLINE void fuse_put(float *out, v16 v, const int64_t from, const int64_t ocs, const int64_t width) {
    if (ocs == 1 && from + 16 <= width) { fuse_store(out + from, v); return; }
    for (int64_t j = 0; j < 16; j++) if (from + j < width) out[(from + j) * ocs] = v[j];
}
"""


def product_name(rows: int, panels: int) -> str:
    return f"fuse_product_{rows}_{panels}"


def panel_groups(panels: int, most: int) -> list[tuple[int, int]]:
    """Return (first panel, panels) of each tile across."""
    groups, at = [], 0
    while at < panels:
        size = min(most, panels - at)
        groups.append((at, size))
        at += size
    return groups


def convolution_tile(channels: int, vectors: int) -> str:
    """Return a function that adds up `vectors` * 16 neighbouring places for `channels` output channels.

    x: the image with its border, element k of the filter at x[place + offset[k]]; w: [channels][K]; out: [channels] with
    `stride` floats between them.
    """
    tile = [(c, v) for c in range(channels) for v in range(vectors)]
    lines = [f"INLINE void {convolution_name(channels, vectors)}(const int64_t K, const float *x, const int32_t *offset,",
             "    const float *w, const float *bias, float *out, const int64_t stride) {"]
    lines += [f"    v16 s{c}_{v} = fuse_spread(bias ? bias[{c}] : 0.0f);" for c, v in tile]
    lines += ["    for (int64_t k = 0; k < K; k++) {", "        const float *from = x + offset[k];"]
    lines += [f"        const v16 w{c} = fuse_spread(w[{c} * K + k]);" for c in range(channels)]
    for v in range(vectors):
        lines += [f"        const v16 x{v} = fuse_load(from + {v * LANES});"]
        lines += [f"        s{c}_{v} += w{c} * x{v};" for c in range(channels)]
    lines += ["    }"]
    lines += [f"    fuse_store(out + {c} * stride + {v * LANES}, s{c}_{v});" for c, v in tile]
    return "\n".join([*lines, "}", ""])


def convolution_name(channels: int, vectors: int) -> str:
    return f"fuse_convolution_{channels}_{vectors}"
