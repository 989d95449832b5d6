"""What the C++ functions of torch's compiler use, as a short header of our own.

torch's own header takes longer to compile than a step does. This one has what plain loops over numbers need; for a step
that needs more (special functions, other dtypes), ``inductor_cpp`` compiles with torch's header.
"""

INCLUDED = "torch/csrc/inductor/cpp_prefix.h"  # by each of the functions; the folder with this header comes first

HEADER = r"""
#pragma once
#include <algorithm>
#include <atomic>
#include <climits>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <type_traits>

#define C10_LIKELY(x) __builtin_expect(!!(x), 1)
#define C10_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define TORCH_CHECK(condition, message) \
  if (C10_UNLIKELY(!(condition))) throw std::runtime_error(message)
#define AOTI_TORCH_CHECK(condition, message) TORCH_CHECK(condition, message)

namespace c10 {
template <typename T, typename U>
inline T convert(U value) { return static_cast<T>(value); }

inline int64_t div_floor_integer(int64_t a, int64_t b) {
  if (C10_UNLIKELY(b == 0)) throw std::runtime_error("division by zero");
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)));
}
}  // namespace c10

inline thread_local std::atomic<int>* inductor_cpu_integer_div_error_flag = nullptr;
inline void inductor_cpu_throw_if_integer_div_error(std::atomic<int>& error) {
  if (error.load()) throw std::runtime_error("division by zero");
}

template <typename T>
inline T max_propagate_nan(T a, T b) { return std::isnan(a) || a > b ? a : b; }
template <>
inline int64_t max_propagate_nan(int64_t a, int64_t b) { return std::max(a, b); }
template <>
inline int32_t max_propagate_nan(int32_t a, int32_t b) { return std::max(a, b); }

template <typename T>
inline T min_propagate_nan(T a, T b) { return std::isnan(a) || a < b ? a : b; }
template <>
inline int64_t min_propagate_nan(int64_t a, int64_t b) { return std::min(a, b); }
template <>
inline int32_t min_propagate_nan(int32_t a, int32_t b) { return std::min(a, b); }

// Random numbers by counter: two rounds of a 64-bit mixing function, of which 24 bits make a float in [0, 1).
inline uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}
inline float normalized_rand_cpu(int64_t seed, int64_t offset) {
  return (mixed(mixed(seed) + 0x9e3779b97f4a7c15ULL * (offset + 1)) >> 40) * 0x1p-24f;
}
"""
