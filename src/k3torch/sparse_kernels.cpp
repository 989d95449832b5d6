// Updates of those rows of a matrix of weights, (words, units), whose words occur in a batch.
// Called from sparse_kernels.py, which checks what is passed here.
//
// The words of a batch are sorted by their rows: a step goes through the rows that occur in the order of memory, and
// sums the gradient of each in registers, from the gradients of the bags' products, which are few.
//
// An optimizer goes through all weights at each step, also where the gradient is zero. A row that did not occur for
// some steps makes up for them when it is next needed: each step with gradient zero is computed then, one after
// another, so that the bits are those of steps taken in time. That costs no pass over memory for each step.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

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

// The square root of each element.
template <class F>
F root(F x) {
  F roots;
  for (size_t i = 0; i < sizeof x / sizeof x[0]; ++i) roots[i] = std::sqrt(x[i]);
  return roots;
}

// Keras's optimizers. `step` is an update with a gradient, `idle` one with gradient zero; F is a block of floats.
//   SLOT: it has a variable for each weight, LAGS: which an idle step changes, MOVES: and the weight with it.

// weight -= rate * gradient
struct Sgd {
  static constexpr bool SLOT = false, LAGS = false, MOVES = false;
  float rate;
  explicit Sgd(const float* settings) : rate(settings[0]) {}
  template <class F>
  void idle(F&, F&) const {}
  template <class F>
  void step(F gradient, F&, F& weight) const {
    weight -= rate * gradient;
  }
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
  template <class F>
  void step(F gradient, F& velocity, F& weight) const {
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
  template <class F>
  void step(F gradient, F& velocity, F& weight) const {
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
  template <class F>
  void step(F gradient, F& velocity, F& weight) const {
    velocity = rho * velocity + rest * (gradient * gradient);
    weight -= rate * gradient / root<F>(velocity + epsilon);
  }
};

// sum += gradient^2; weight -= rate * gradient / sqrt(sum + epsilon)
struct Adagrad {
  static constexpr bool SLOT = true, LAGS = false, MOVES = false;
  float rate, epsilon;
  explicit Adagrad(const float* settings) : rate(settings[0]), epsilon(settings[1]) {}
  template <class F>
  void idle(F&, F&) const {}
  template <class F>
  void step(F gradient, F& sum, F& weight) const {
    sum += gradient * gradient;
    weight -= rate * gradient / root<F>(sum + epsilon);
  }
};

// The weights, the optimizer's variable, and the steps that have been taken: `now` are due, all rows have taken at
// least `base`, and a row has taken `done` if that is more.
struct Table {
  int64_t units;
  int32_t base, now;
  int32_t* done;
  float *slots, *weights;

  int32_t lag(int64_t row) const { return now - std::max(done[row], base); }
};

// Asks for the memory of a row before it is needed: in the outer cache, which can wait for more of them at a time.
template <class Optimizer>
void prefetch(const Table& table, int64_t row) {
  for (int64_t j = 0; j < table.units; j += 16) {
    __builtin_prefetch(table.weights + row * table.units + j, 1, 2);
    if constexpr (Optimizer::SLOT) __builtin_prefetch(table.slots + row * table.units + j, 1, 2);
  }
  if constexpr (Optimizer::LAGS) __builtin_prefetch(table.done + row, 1, 2);
}

// Each idle step waits for the one before it. So rows of a window are ordered by the steps that they lag behind (more
// than LONGEST count as that), and those of a group take theirs side by side.
constexpr int WINDOW = 512, GROUP = 8, LONGEST = 63;

// A row, and the idle steps that it lags behind.
struct Late {
  int32_t row, lag;
};

// The idle steps of SIZE rows, in blocks of N columns and then of half as many.
template <int N, int SIZE, class Optimizer>
void idle_group(int64_t first, const Optimizer& optimizer, const Table& table, const Late* late) {
  int32_t together = late[0].lag;
  for (int i = 1; i < SIZE; ++i) together = std::min(together, late[i].lag);
  for (; table.units - first >= N; first += N) {
    typename Block<N>::type slots[SIZE], weights[SIZE] = {};
    for (int i = 0; i < SIZE; ++i) {
      slots[i] = load<N>(table.slots + late[i].row * table.units + first);
      if constexpr (Optimizer::MOVES) weights[i] = load<N>(table.weights + late[i].row * table.units + first);
    }
    for (int32_t k = 0; k < together; ++k)
      for (int i = 0; i < SIZE; ++i) optimizer.idle(slots[i], weights[i]);
    for (int i = 0; i < SIZE; ++i) {
      for (int32_t k = together; k < late[i].lag; ++k) optimizer.idle(slots[i], weights[i]);
      store<N>(table.slots + late[i].row * table.units + first, slots[i]);
      if constexpr (Optimizer::MOVES) store<N>(table.weights + late[i].row * table.units + first, weights[i]);
    }
  }
  if constexpr (N > 1) idle_group<N / 2, SIZE>(first, optimizer, table, late);
}

// Rows that lag, up to a window of them.
template <class Optimizer>
class Lagging {
 public:
  Lagging(const Optimizer& optimizer, const Table& table) : optimizer(optimizer), table(table) {}

  // Where all slots are zero, idle steps change nothing: most words have not occurred yet, or long ago.
  void add(int64_t row) {
    late[count] = {static_cast<int32_t>(row), table.lag(row)};
    count += (late[count].lag > 0) & !is_zero(table.slots + row * table.units);
    if (count == WINDOW) catch_up();
  }

  // Takes the steps of the rows that were added.
  void catch_up() {
    Late ordered[WINDOW];
    int starts[LONGEST + 2] = {};
    for (int i = 0; i < count; ++i) ++starts[std::min(late[i].lag, LONGEST) + 1];
    for (int lag = 0; lag <= LONGEST; ++lag) starts[lag + 1] += starts[lag];
    for (int i = 0; i < count; ++i) ordered[starts[std::min(late[i].lag, LONGEST)]++] = late[i];
    int i = 0;
    for (; i + GROUP <= count; i += GROUP) idle_group<16, GROUP>(0, optimizer, table, ordered + i);
    for (; i < count; ++i) idle_group<16, 1>(0, optimizer, table, ordered + i);
    count = 0;
  }

 private:
  bool is_zero(const float* row) const {
    return std::all_of(row, row + table.units, [](float number) { return number == 0; });
  }

  const Optimizer optimizer;
  const Table table;
  Late late[WINDOW];
  int count = 0;
};

// A word of a batch, as kernels.cpp sorts them.
struct Word {
  int32_t row, sample;
  float value;
};

// One step of a row with the gradients of its words, for the columns from first on as above.
template <int N, class Optimizer>
void step_from(int64_t first, const Optimizer& optimizer, const Table& table, int64_t row, const Word* word,
               const Word* end, const float* gradients) {
  for (; table.units - first >= N; first += N) {
    typename Block<N>::type gradient = {}, slot = {};
    for (const Word* each = word; each != end; ++each)
      gradient += each->value * load<N>(gradients + each->sample * table.units + first);
    const int64_t place = row * table.units + first;
    auto weight = load<N>(table.weights + place);
    if constexpr (Optimizer::SLOT) slot = load<N>(table.slots + place);
    optimizer.step(gradient, slot, weight);
    if constexpr (Optimizer::SLOT) store<N>(table.slots + place, slot);
    store<N>(table.weights + place, weight);
  }
  if constexpr (N > 1) step_from<N / 2>(first, optimizer, table, row, word, end, gradients);
}

// One step of rows, after the steps that they lag behind.
template <class Optimizer>
void update(const Optimizer& optimizer, const Table& table, int64_t count, const int32_t* rows, const int32_t* starts,
            const Word* words, const float* gradients) {
  Lagging<Optimizer> lagging(optimizer, table);
  for (int64_t start = 0; start < count; start += WINDOW) {
    const int64_t stop = std::min(count, start + WINDOW);
    if constexpr (Optimizer::LAGS) {
      for (int64_t k = start; k < stop; ++k) {
        lagging.add(rows[k]);
        table.done[rows[k]] = table.now + 1;
      }
      lagging.catch_up();
    }
    for (int64_t k = start; k < stop; ++k) {
      if (k + WINDOW < count) prefetch<Optimizer>(table, rows[k + WINDOW]);
      step_from<16>(0, optimizer, table, rows[k], words + starts[k], words + starts[k + 1], gradients);
    }
  }
}

// The steps that rows lag behind; without `rows`, all `count` rows.
template <class Optimizer>
void catch_up(const Optimizer& optimizer, const Table& table, int64_t count, const int32_t* rows) {
  Lagging<Optimizer> lagging(optimizer, table);
  for (int64_t k = 0; k < count; ++k) {
    const int64_t row = rows ? rows[k] : k;
    if (rows && k + WINDOW < count) prefetch<Optimizer>(table, rows[k + WINDOW]);
    lagging.add(row);
    if (rows) table.done[row] = table.now;
  }
  lagging.catch_up();
}

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

}  // namespace

extern "C" {

// One step of rows, after the steps that they lag behind; gradients are those of the products, (samples, units).
void update_rows(int32_t number, const float* settings, int64_t units, int32_t base, int32_t now, int32_t* done,
                 float* slots, float* weights, int64_t count, const int32_t* rows, const int32_t* starts,
                 const Word* words, const float* gradients) {
  const Table table{units, base, now, done, slots, weights};
  with_optimizer(number, settings, [&](const auto& optimizer) {
    update(optimizer, table, count, rows, starts, words, gradients);
  });
}

// The steps that rows lag behind; without `rows`, all `count` rows.
void catch_up(int32_t number, const float* settings, int64_t units, int32_t base, int32_t now, int32_t* done,
              float* slots, float* weights, int64_t count, const int32_t* rows) {
  const Table table{units, base, now, done, slots, weights};
  with_optimizer(number, settings, [&](const auto& optimizer) {
    if constexpr (std::decay_t<decltype(optimizer)>::LAGS) catch_up(optimizer, table, count, rows);
  });
}

}  // extern "C"
