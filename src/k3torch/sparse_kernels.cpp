// Updates of those rows of a matrix of weights, (words, units), whose words occur in a batch.
// Called from sparse_kernels.py, which checks what is passed here.
//
// An optimizer goes through all weights at each step, also where the gradient is zero. A row that did not occur for some
// steps makes up for them when it is next needed: each step with gradient zero is computed then, one after another, so
// that the bits are those of steps taken in time. That costs no pass over memory for each step.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

// N floats in vector registers.
template <int N>
struct Block {
  typedef float type __attribute__((vector_size(4 * N), aligned(4), may_alias));
};

// Keras's optimizers. `step` is an update with a gradient, `idle` one with gradient zero.
//   SLOT: it has a variable for each weight, LAGS: which an idle step changes, MOVES: and the weight with it.

// weight -= rate * gradient
struct Sgd {
  static constexpr bool SLOT = false, LAGS = false, MOVES = false;
  float rate;
  explicit Sgd(const float* settings) : rate(settings[0]) {}
  template <class F>
  void idle(F&, F&) const {}
  void step(float gradient, float&, float& weight) const { weight -= rate * gradient; }
};

// velocity = momentum * velocity - rate * gradient; weight += velocity
struct Momentum {
  static constexpr bool SLOT = true, LAGS = true, MOVES = true;
  float rate, momentum;
  explicit Momentum(const float* settings) : rate(settings[0]), momentum(settings[1]) {}
  template <class F>
  void idle(F& velocity, F& weight) const {
    velocity = momentum * velocity;
    weight += velocity;
  }
  void step(float gradient, float& velocity, float& weight) const {
    velocity = momentum * velocity - rate * gradient;
    weight += velocity;
  }
};

// velocity as above; weight += momentum * velocity - rate * gradient
struct Nesterov : Momentum {
  using Momentum::Momentum;
  template <class F>
  void idle(F& velocity, F& weight) const {
    velocity = momentum * velocity;
    weight += momentum * velocity;
  }
  void step(float gradient, float& velocity, float& weight) const {
    velocity = momentum * velocity - rate * gradient;
    weight = weight - rate * gradient + momentum * velocity;
  }
};

// velocity = rho * velocity + (1 - rho) * gradient^2; weight -= rate * gradient / sqrt(velocity + epsilon)
struct Rmsprop {
  static constexpr bool SLOT = true, LAGS = true, MOVES = false;
  float rate, rho, rest, epsilon;
  explicit Rmsprop(const float* settings)
      : rate(settings[0]), rho(settings[1]), rest(settings[2]), epsilon(settings[3]) {}
  template <class F>
  void idle(F& velocity, F&) const {
    velocity = rho * velocity;
  }
  void step(float gradient, float& velocity, float& weight) const {
    velocity = rho * velocity + rest * (gradient * gradient);
    weight -= rate * gradient / std::sqrt(velocity + epsilon);
  }
};

// sum += gradient^2; weight -= rate * gradient / sqrt(sum + epsilon)
struct Adagrad {
  static constexpr bool SLOT = true, LAGS = false, MOVES = false;
  float rate, epsilon;
  explicit Adagrad(const float* settings) : rate(settings[0]), epsilon(settings[1]) {}
  template <class F>
  void idle(F&, F&) const {}
  void step(float gradient, float& sum, float& weight) const {
    sum += gradient * gradient;
    weight -= rate * gradient / std::sqrt(sum + epsilon);
  }
};

template <class Function>
void with_optimizer(int32_t number, const float* settings, Function function) {
  switch (number) {
    case 0: return function(Sgd(settings));
    case 1: return function(Momentum(settings));
    case 2: return function(Nesterov(settings));
    case 3: return function(Rmsprop(settings));
    case 4: return function(Adagrad(settings));
  }
}

// Each idle step waits for the one before it. So rows of a window are ordered by the steps that they lag behind (more
// than LONGEST count as that), and those of a group take theirs side by side.
constexpr int WINDOW = 128, GROUP = 8, LONGEST = 63;

typedef uint32_t Bits __attribute__((may_alias));

// A row, and the idle steps that it lags behind.
struct Late {
  int32_t lag;
  float *slots, *weights;
};

// The idle steps of SIZE rows, in blocks of N columns and then of half as many.
template <int N, int SIZE, class Optimizer>
void idle_group(int64_t first, int64_t units, const Optimizer& optimizer, const Late* const* late) {
  using Vector = typename Block<N>::type;
  for (; units - first >= N; first += N) {
    Vector slots[SIZE], weights[SIZE] = {};
    for (int i = 0; i < SIZE; ++i) {
      slots[i] = *reinterpret_cast<Vector*>(late[i]->slots + first);
      if constexpr (Optimizer::MOVES) weights[i] = *reinterpret_cast<Vector*>(late[i]->weights + first);
    }
    int32_t together = late[0]->lag;
    for (int i = 1; i < SIZE; ++i) together = std::min(together, late[i]->lag);
    for (int32_t k = 0; k < together; ++k)
      for (int i = 0; i < SIZE; ++i) optimizer.idle(slots[i], weights[i]);
    for (int i = 0; i < SIZE; ++i) {
      for (int32_t k = together; k < late[i]->lag; ++k) optimizer.idle(slots[i], weights[i]);
      *reinterpret_cast<Vector*>(late[i]->slots + first) = slots[i];
      if constexpr (Optimizer::MOVES) *reinterpret_cast<Vector*>(late[i]->weights + first) = weights[i];
    }
  }
  if constexpr (N > 1) idle_group<N / 2, SIZE>(first, units, optimizer, late);
}

// Rows that lag, up to a window of them.
template <class Optimizer>
class Lagging {
 public:
  Lagging(const Optimizer& optimizer, int64_t units) : optimizer(optimizer), units(units) {}

  // Where all slots are zero, idle steps change nothing: most words have not occurred yet, or long ago.
  void add(int32_t lag, float* slots, float* weights) {
    uint32_t bits = 0;
    for (int64_t j = 0; j < units; ++j) bits |= reinterpret_cast<const Bits*>(slots)[j] << 1;  // without the sign
    late[count] = {lag, slots, weights};
    count += (lag > 0) & (bits != 0);  // without a branch, which would often be mispredicted
    if (count == WINDOW) catch_up();
  }

  // Takes the steps of the rows that were added.
  void catch_up() {
    const Late* ordered[WINDOW];
    int starts[LONGEST + 2] = {};
    for (int i = 0; i < count; ++i) ++starts[std::min(late[i].lag, LONGEST) + 1];
    for (int lag = 0; lag <= LONGEST; ++lag) starts[lag + 1] += starts[lag];
    for (int i = 0; i < count; ++i) ordered[starts[std::min(late[i].lag, LONGEST)]++] = late + i;
    int i = 0;
    for (; i + GROUP <= count; i += GROUP) idle_group<16, GROUP>(0, units, optimizer, ordered + i);
    for (; i < count; ++i) idle_group<16, 1>(0, units, optimizer, ordered + i);
    count = 0;
  }

 private:
  const Optimizer& optimizer;
  const int64_t units;
  Late late[WINDOW];
  int count = 0;
};

// Asks for the memory of a row some rows ahead of its use.
void prefetch(const float* row, int64_t units) {
  for (int64_t j = 0; j < units; j += 16) __builtin_prefetch(row + j, 1);
  __builtin_prefetch(row + units - 1, 1);
}

constexpr int64_t AHEAD = 32;

}  // namespace

extern "C" {

// Writes the distinct ids in ascending order to rows, and the place of each id among them to places. Returns how many
// there are, or -1 for an id outside 0 ... words - 1. marks, (words / 64 + 1), is zero before and after.
int64_t distinct_ids(int64_t count, int64_t words, const int32_t* ids, uint64_t* marks, int32_t* ranks, int32_t* rows,
                     int32_t* places) {
  bool inside = true;
  for (int64_t k = 0; k < count; ++k) inside &= ids[k] >= 0 && ids[k] < words;
  if (!inside) return -1;
  for (int64_t k = 0; k < count; ++k) marks[ids[k] >> 6] |= uint64_t{1} << (ids[k] & 63);
  int32_t total = 0;
  for (int64_t i = 0; i <= words / 64; ++i) {
    ranks[i] = total;
    for (uint64_t left = marks[i]; left != 0; left &= left - 1)
      rows[total++] = static_cast<int32_t>(64 * i + __builtin_ctzll(left));
  }
  for (int64_t k = 0; k < count; ++k) {
    const int32_t i = ids[k] >> 6;
    places[k] = ranks[i] + __builtin_popcountll(marks[i] & ((uint64_t{1} << (ids[k] & 63)) - 1));
  }
  for (int32_t k = 0; k < total; ++k) marks[rows[k] >> 6] = 0;
  return total;
}

// Copies rows of the weights to out, (count, units), after the steps that they lag behind.
// All rows have taken at least `base` steps, row i has taken done[i] if that is more, and `now` are to be taken.
void read_rows(int32_t number, const float* settings, int64_t count, int64_t units, const int32_t* rows, int32_t base,
               int32_t now, int32_t* done, float* slots, float* weights, float* out) {
  with_optimizer(number, settings, [&](const auto& optimizer) {
    using Optimizer = std::decay_t<decltype(optimizer)>;
    Lagging<Optimizer> lagging(optimizer, units);
    for (int64_t start = 0; start < count; start += WINDOW) {
      const int64_t stop = std::min(count, start + WINDOW);
      for (int64_t k = start; k < stop; ++k) {
        if (k + AHEAD < count) {
          prefetch(weights + rows[k + AHEAD] * units, units);
          if constexpr (Optimizer::MOVES) {
            prefetch(slots + rows[k + AHEAD] * units, units);
            __builtin_prefetch(done + rows[k + AHEAD], 1);
          }
        }
        if constexpr (Optimizer::MOVES) {
          const int64_t row = rows[k];
          lagging.add(now - std::max(done[row], base), slots + row * units, weights + row * units);
          done[row] = now;
        }
      }
      if constexpr (Optimizer::MOVES) lagging.catch_up();
      for (int64_t k = start; k < stop; ++k)
        std::memcpy(out + k * units, weights + rows[k] * units, units * sizeof *out);
    }
  });
}

// One step of rows with their gradients, (count, units), after the steps that they lag behind.
void update_rows(int32_t number, const float* settings, int64_t count, int64_t units, const int32_t* rows,
                 int32_t base, int32_t now, int32_t* done, float* slots, float* weights, const float* gradients) {
  with_optimizer(number, settings, [&](const auto& optimizer) {
    using Optimizer = std::decay_t<decltype(optimizer)>;
    Lagging<Optimizer> lagging(optimizer, units);
    for (int64_t start = 0; start < count; start += WINDOW) {
      const int64_t stop = std::min(count, start + WINDOW);
      for (int64_t k = start; k < stop; ++k) {
        if (k + AHEAD < count) {
          prefetch(weights + rows[k + AHEAD] * units, units);
          if constexpr (Optimizer::SLOT) prefetch(slots + rows[k + AHEAD] * units, units);
          if constexpr (Optimizer::LAGS) __builtin_prefetch(done + rows[k + AHEAD], 1);
        }
        if constexpr (Optimizer::LAGS) {
          const int64_t row = rows[k];
          lagging.add(now - std::max(done[row], base), slots + row * units, weights + row * units);
          done[row] = now + 1;
        }
      }
      if constexpr (Optimizer::LAGS) lagging.catch_up();
      for (int64_t k = start; k < stop; ++k) {
        float* __restrict weight = weights + rows[k] * units;
        float* __restrict slot = Optimizer::SLOT ? slots + rows[k] * units : nullptr;
        const float* __restrict gradient = gradients + k * units;
        for (int64_t j = 0; j < units; ++j) {
          float none = 0;
          optimizer.step(gradient[j], Optimizer::SLOT ? slot[j] : none, weight[j]);
        }
      }
    }
  });
}

// The steps that rows lag behind; without `rows`, all `count` rows.
void catch_up(int32_t number, const float* settings, int64_t count, int64_t units, const int32_t* rows, int32_t base,
              int32_t now, int32_t* done, float* slots, float* weights) {
  with_optimizer(number, settings, [&](const auto& optimizer) {
    using Optimizer = std::decay_t<decltype(optimizer)>;
    if (!Optimizer::LAGS) return;
    Lagging<Optimizer> lagging(optimizer, units);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t row = rows ? rows[k] : k;
      lagging.add(now - std::max(done[row], base), slots + row * units, weights + row * units);
      if (rows) done[row] = now;
    }
    lagging.catch_up();
  });
}

}  // extern "C"
