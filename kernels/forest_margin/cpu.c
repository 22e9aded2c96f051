/* Sum of tree leaves a row, and the contribution of each feature along the paths taken.
 *
 * Nodes of all trees lie in one array; a node's right child follows its left child, a leaf points at itself with
 * feature -1. `mean` is the leaf's value, or the cover-weighted mean of the leaves below an inner node.
 */
#include <stdint.h>

typedef struct {
    float threshold;
    int32_t feature; /* -1 for a leaf */
    int32_t left;
    int32_t default_left;
} node;

static inline int32_t child(const node *of, const float *x) {
    float value = x[of->feature];
    int right = value != value ? !of->default_left : !(value < of->threshold);
    return of->left + right;
}

void forest_margin(const node *nodes, const float *mean, const int32_t *roots, int64_t trees, float base,
                   const float *x, int64_t rows, int64_t stride, float *margin) {
    for (int64_t r = 0; r < rows; r++) {
        const float *row = x + r * stride;
        float sum = base;
        for (int64_t t = 0; t < trees; t++) {
            int32_t at = roots[t];
            while (nodes[at].feature >= 0) at = child(&nodes[at], row);
            sum += mean[at];
        }
        margin[r] = sum;
    }
}

/* contributions: [rows, features] float32, zeroed by the caller; margin = bias + sum(contributions). */
void forest_contributions(const node *nodes, const float *mean, const int32_t *roots, int64_t trees, float base,
                          const float *x, int64_t rows, int64_t stride, float *margin, int64_t features, float *contributions) {
    for (int64_t r = 0; r < rows; r++) {
        const float *row = x + r * stride;
        float *of = contributions + r * features;
        float sum = base;
        for (int64_t t = 0; t < trees; t++) {
            int32_t at = roots[t];
            while (nodes[at].feature >= 0) {
                int32_t next = child(&nodes[at], row);
                of[nodes[at].feature] += mean[next] - mean[at];
                at = next;
            }
            sum += mean[at];
        }
        margin[r] = sum;
    }
}
