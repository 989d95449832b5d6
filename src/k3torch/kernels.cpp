// The loops of an epoch over bags of words that no operator of torch or SciPy does in one pass over memory.
// Called from kernels.py, which checks what is passed here.

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

// N floats in vector registers.
template <int N>
struct Block {
  typedef float type __attribute__((vector_size(4 * N), aligned(4), may_alias));
};

// Adds to N columns of sums, (words, units), the same columns of bags.T @ gradient.
template <int N>
void add_columns(int64_t bags, int64_t units, const int32_t* offsets, const int32_t* ids, const float* values,
                 const float* gradient, float* sums) {
  using Vector = typename Block<N>::type;
  for (int64_t i = 0; i < bags; ++i) {
    const Vector part = *reinterpret_cast<const Vector*>(gradient + i * units);
    for (int32_t k = offsets[i]; k < offsets[i + 1]; ++k)
      *reinterpret_cast<Vector*>(sums + ids[k] * units) += values[k] * part;
  }
}

// The same for the columns from first on, in blocks of N columns and then of half as many.
template <int N>
void add_columns_from(int64_t first, int64_t bags, int64_t units, const int32_t* offsets, const int32_t* ids,
                      const float* values, const float* gradient, float* sums) {
  for (; units - first >= N; first += N)
    add_columns<N>(bags, units, offsets, ids, values, gradient + first, sums + first);
  if constexpr (N > 1) add_columns_from<N / 2>(first, bags, units, offsets, ids, values, gradient, sums);
}

}  // namespace

extern "C" {

// Writes the offsets of some rows of a CSR matrix, (rows + 1), and returns the number of their values.
int64_t row_offsets(int64_t rows, const int64_t* chosen, const int32_t* offsets, int32_t* out_offsets) {
  int64_t total = 0;
  out_offsets[0] = 0;
  for (int64_t i = 0; i < rows; ++i) {
    total += offsets[chosen[i] + 1] - offsets[chosen[i]];
    out_offsets[i + 1] = static_cast<int32_t>(total);
  }
  return total;
}

// Copies those rows.
void gather_rows(int64_t rows, const int64_t* chosen, const int32_t* offsets, const int32_t* ids, const float* values,
                 const int32_t* out_offsets, int32_t* out_ids, float* out_values) {
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t start = offsets[chosen[i]], target = out_offsets[i], count = out_offsets[i + 1] - target;
    std::memcpy(out_ids + target, ids + start, count * sizeof *ids);
    std::memcpy(out_values + target, values + start, count * sizeof *values);
  }
}

// sums += bags.T @ gradient, for bags in CSR, gradient (bags, units) and sums (words, units).
void add_transposed(int64_t bags, int64_t units, const int32_t* offsets, const int32_t* ids, const float* values,
                    const float* gradient, float* sums) {
  add_columns_from<64>(0, bags, units, offsets, ids, values, gradient, sums);
}

// Keras's RMSprop without momentum, not centered.
void rmsprop(int64_t count, float rate, float rho, float rest, float epsilon, const float* __restrict gradients,
             float* __restrict velocities, float* __restrict weights) {
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = gradients[i], velocity = rho * velocities[i] + rest * (gradient * gradient);
    velocities[i] = velocity;
    weights[i] -= rate * gradient / std::sqrt(velocity + epsilon);
  }
}

// Keras's Adam without amsgrad; rate is the learning rate with the bias correction.
void adam(int64_t count, float rate, float beta_1, float rest_1, float beta_2, float rest_2, float epsilon,
          const float* __restrict gradients, float* __restrict means, float* __restrict squares,
          float* __restrict weights) {
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = gradients[i];
    const float mean = beta_1 * means[i] + rest_1 * gradient;
    const float square = beta_2 * squares[i] + rest_2 * (gradient * gradient);
    means[i] = mean;
    squares[i] = square;
    weights[i] -= rate * mean / (std::sqrt(square) + epsilon);
  }
}

}  // extern "C"
