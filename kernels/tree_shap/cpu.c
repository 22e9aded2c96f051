/* Exact Shapley values in one walk down and one up the forest.

   For a leaf of value v whose path tests n features, with o_j whether the row fulfils the tests of feature j and z_j the
   share of the training rows that did, the Shapley weights k! (n-1-k)! / n! are the integrals of t^k (1-t)^(n-1-k), so

       share of i = v (o_i - z_i) * integral over t from 0 to 1 of prod_{j != i} (z_j (1-t) + o_j t).

   The integrand is a polynomial of degree n - 1: Gauss-Legendre with half as many points gives it exactly. At each point
   the products of all paths follow from the parent's (down), and what the leaves below add up to from the children's (up);
   a feature tested again replaces its earlier factor. The sums are those of Linear TreeSHAP (Yu, Xu, Ou, Bifet and
   others 2022), which interpolates instead of integrating.

   Children come after their parents in the arrays, so that both walks are plain loops. */

#include <stdint.h>

/* The factor of a node at point t. Zero only where share and reached both are: no such leaf counts at all. */
static inline double tree_shap_factor(double share, uint8_t reached, double t) {
    return share * (1.0 - t) + (reached ? t : 0.0);
}

static void tree_shap_down(const int32_t *column, const uint8_t *shift, const uint8_t *rank, const int32_t *left,
                           const int32_t *parent, const int32_t *twin, const double *share, int64_t nodes,
                           const uint8_t *bins, int64_t rows, int64_t row, const double *points, int64_t count,
                           double *products, uint8_t *reached) {
    for (int64_t node = 0; node < nodes; node++) {
        double *product = products + node * count;
        int32_t above = parent[node], same = twin[node];
        if (above < 0) {
            reached[node] = 1;
            for (int64_t q = 0; q < count; q++) product[q] = 1.0;
            continue;
        }
        uint8_t value = (uint8_t)(bins[(int64_t)column[above] * rows + row] + shift[above]);
        uint8_t goes = (value >= rank[above]) == (node != left[above]);
        reached[node] = goes && (same < 0 || reached[same]);
        const double *before = products + (int64_t)above * count;
        for (int64_t q = 0; q < count; q++) {
            double factor = tree_shap_factor(share[node], reached[node], points[q]);
            double earlier = same < 0 ? 1.0 : tree_shap_factor(share[same], reached[same], points[q]);
            product[q] = earlier > 0.0 ? before[q] / earlier * factor : 0.0;
        }
    }
}

/* (o - z) / factor, summed over the points with the leaves below: what fulfilling the tests down to `of` is worth. */
static double tree_shap_worth(double share, uint8_t reached, const double *below, const double *points,
                              const double *weights, int64_t count) {
    double difference = (reached ? 1.0 : 0.0) - share, sum = 0.0;
    if (difference == 0.0) return 0.0;
    for (int64_t q = 0; q < count; q++) sum += weights[q] * below[q] / tree_shap_factor(share, reached, points[q]);
    return difference * sum;
}

static void tree_shap_up(const int32_t *column, const int32_t *left, const int32_t *value, const int32_t *feature,
                         const int32_t *parent, const int32_t *twin, const double *share, int64_t nodes, double unit,
                         const double *points, const double *weights, int64_t count, double *products,
                         const uint8_t *reached, double *contributions) {
    for (int64_t node = nodes - 1; node >= 0; node--) {
        double *below = products + node * count; /* products of this path become the sum of the leaves below */
        if (parent[node] < 0) continue;
        if (column[node] < 0) {
            for (int64_t q = 0; q < count; q++) below[q] *= value[node] * unit;
        } else {
            const double *children = products + (int64_t)left[node] * count;
            for (int64_t q = 0; q < count; q++) below[q] = children[q] + children[count + q];
        }
        int32_t same = twin[node];
        double worth = tree_shap_worth(share[node], reached[node], below, points, weights, count);
        if (same >= 0) worth -= tree_shap_worth(share[same], reached[same], below, points, weights, count);
        contributions[feature[parent[node]]] += worth;
    }
}

void tree_shap_rows(const int32_t *column, const uint8_t *shift, const uint8_t *rank, const int32_t *left,
                    const int32_t *value, const int32_t *feature, const int32_t *parent, const int32_t *twin,
                    const double *share, int64_t nodes, double unit, const uint8_t *bins, int64_t rows,
                    int64_t features, const double *points, const double *weights, int64_t count, double *products,
                    uint8_t *reached, double *contributions) {
    for (int64_t row = 0; row < rows; row++) {
        tree_shap_down(column, shift, rank, left, parent, twin, share, nodes, bins, rows, row, points, count, products,
                       reached);
        tree_shap_up(column, left, value, feature, parent, twin, share, nodes, unit, points, weights, count, products,
                     reached, contributions + row * features);
    }
}
