// The loops of an epoch over bags of words that no operator of torch or SciPy does in one pass over memory.
// Called from kernels.py, which checks what is passed here.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

namespace {

// N floats in vector registers.
template <int N>
struct Block {
  typedef float type __attribute__((vector_size(4 * N)));
  typedef float in_memory __attribute__((vector_size(4 * N), aligned(4), may_alias));
};

template <int N>
typename Block<N>::type load(const float* numbers) {
  return *reinterpret_cast<const typename Block<N>::in_memory*>(numbers);
}

template <int N>
void store(float* numbers, typename Block<N>::type values) {
  *reinterpret_cast<typename Block<N>::in_memory*>(numbers) = values;
}

// Adds to N columns of sums, (words, units), the same columns of bags.T @ gradient.
template <int N>
void add_columns(int64_t bags, int64_t units, const int32_t* offsets, const int32_t* ids, const float* values,
                 const float* gradient, float* sums) {
  for (int64_t i = 0; i < bags; ++i) {
    const auto part = load<N>(gradient + i * units);
    for (int32_t k = offsets[i]; k < offsets[i + 1]; ++k) {
      float* sum = sums + ids[k] * units;
      store<N>(sum, load<N>(sum) + values[k] * part);
    }
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

// A word of a batch, whose id is the number of a row of weights.
struct Word {
  int32_t row, sample;
  float value;
};

// The digits of rows, by which words are sorted: by the last digit first, keeping the order of words with the same one.
class Digits {
 public:
  Digits(int64_t words, int64_t count, const int32_t* ids) {
    int bits = 1;
    while (words > int64_t{1} << bits) ++bits;
    digits = (bits + MOST_BITS - 1) / MOST_BITS;
    size = (bits + digits - 1) / digits;
    // In two tables by turns: adding twice in a row to one counter is slow, and frequent words follow one another.
    for (int64_t k = 0; k < count; ++k)
      for (int digit = 0; digit < digits; ++digit) ++starts[k % 2][digit][of(ids[k], digit)];
    for (int digit = 0; digit < digits; ++digit) {
      int32_t total = 0;
      for (int i = 0; i < 1 << size; ++i) {
        const int32_t here = starts[0][digit][i] + starts[1][digit][i];
        starts[0][digit][i] = total;
        total += here;
      }
    }
  }

  int number() const { return digits; }

  // The place of the next word with this digit.
  int32_t place(int32_t row, int digit) { return starts[0][digit][of(row, digit)]++; }

 private:
  static constexpr int MOST_BITS = 11;  // as many counters as the inner cache holds

  int of(int32_t row, int digit) const { return row >> digit * size & ((1 << size) - 1); }

  int digits, size;
  int32_t starts[2][3][1 << MOST_BITS] = {};
};

constexpr int64_t AHEAD = 64;  // words whose rows are read at a time

// Adds to N columns of the products, (samples, units), those of bags @ weights.
template <int N>
void add_products(int64_t first, int64_t units, int64_t count, const Word* words, const float* weights,
                 float* products) {
  for (int64_t k = 0; k < count; ++k) {
    if (k + AHEAD < count) __builtin_prefetch(weights + words[k + AHEAD].row * units + first);
    float* product = products + words[k].sample * units + first;
    store<N>(product, load<N>(product) + words[k].value * load<N>(weights + words[k].row * units + first));
  }
}

// The same for the columns from first on, in blocks of N columns and then of half as many.
template <int N>
void add_products_from(int64_t first, int64_t units, int64_t count, const Word* words, const float* weights,
                      float* products) {
  for (; units - first >= N; first += N) add_products<N>(first, units, count, words, weights, products);
  if constexpr (N > 1) add_products_from<N / 2>(first, units, count, words, weights, products);
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
    if (count == 0) continue;  // an array without elements may have no address
    std::memcpy(out_ids + target, ids + start, count * sizeof *ids);
    std::memcpy(out_values + target, values + start, count * sizeof *values);
  }
}

// sums += bags.T @ gradient, for bags in CSR, gradient (bags, units) and sums (words, units).
void add_transposed(int64_t bags, int64_t units, const int32_t* offsets, const int32_t* ids, const float* values,
                    const float* gradient, float* sums) {
  add_columns_from<64>(0, bags, units, offsets, ids, values, gradient, sums);
}

// Sorts the words of bags in CSR by their ids, the rows of weights. Writes the distinct rows in ascending order, and to
// starts where the words of each begin, with the end of the last. Returns how many rows there are, or -1 if the offsets
// do not divide the ids into bags, or an id is outside 0 ... words - 1. sorted and scratch hold `count` words.
int64_t sort_words(int64_t samples, int64_t count, int64_t words, const int32_t* offsets, const int32_t* ids,
                   const float* values, Word* sorted, Word* scratch, int32_t* rows, int32_t* starts) {
  bool fits = offsets[0] == 0 && offsets[samples] == count;
  for (int64_t i = 0; i < samples; ++i) fits &= offsets[i] <= offsets[i + 1];
  for (int64_t k = 0; k < count; ++k) fits &= ids[k] >= 0 && ids[k] < words;
  if (!fits) return -1;
  Digits digits(words, count, ids);
  if (digits.number() % 2 == 0) std::swap(sorted, scratch);  // each further digit swaps them
  for (int64_t i = 0; i < samples; ++i)
    for (int32_t k = offsets[i]; k < offsets[i + 1]; ++k)
      sorted[digits.place(ids[k], 0)] = {ids[k], static_cast<int32_t>(i), values[k]};
  for (int digit = 1; digit < digits.number(); ++digit) {
    for (int64_t k = 0; k < count; ++k) scratch[digits.place(sorted[k].row, digit)] = sorted[k];
    std::swap(sorted, scratch);
  }
  int64_t row = 0;
  starts[0] = 0;
  for (int64_t k = 0; k < count; ++k) {  // without a branch, which would often be mispredicted
    rows[row] = sorted[k].row;
    starts[row + 1] = static_cast<int32_t>(k + 1);
    row += k + 1 == count || sorted[k].row != sorted[k + 1].row;
  }
  return row;
}

// Adds bags @ weights to products, (samples, units), for sorted words.
void multiply(int64_t count, int64_t units, const Word* words, const float* weights, float* products) {
  add_products_from<64>(0, units, count, words, weights, products);
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
