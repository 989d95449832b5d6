"""What the C++ functions of torch's compiler use, as a short header of our own.

torch's own header takes longer to compile than a step does. This one has what plain loops over numbers need, in C++14:
with a later standard, and with ``<string>``, g++ would read the headers of the standard library for longer than it
compiles a step. For a step that needs more (special functions, other dtypes), ``cpp_build`` compiles with torch's
header.
"""

INCLUDED = "torch/csrc/inductor/cpp_prefix.h"  # by each of the functions; the folder with this header comes first

HEADER = r"""
#pragma once
#include <algorithm>
#include <atomic>
#include <climits>
#include <cmath>
#include <cstdint>
#include <exception>
#include <limits>

#define C10_LIKELY(x) __builtin_expect(!!(x), 1)
#define C10_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define TORCH_CHECK(condition, message) \
  if (C10_UNLIKELY(!(condition))) throw LoopError(message)
#define AOTI_TORCH_CHECK(condition, message) TORCH_CHECK(condition, message)

// Everything is local to the file: torch's header has the same names, and a process may load code with either.
namespace {
struct LoopError : std::exception {
  explicit LoopError(const char* message) : message(message) {}
  const char* what() const noexcept override { return message; }
  const char* message;
};
}  // namespace

namespace c10 {
namespace {
template <typename T, typename U>
inline T convert(U value) { return static_cast<T>(value); }

inline int64_t div_floor_integer(int64_t a, int64_t b) {
  if (C10_UNLIKELY(b == 0)) throw LoopError("division by zero");
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)));
}
}  // namespace
}  // namespace c10

namespace {
thread_local std::atomic<int>* inductor_cpu_integer_div_error_flag = nullptr;
inline void inductor_cpu_throw_if_integer_div_error(std::atomic<int>& error) {
  if (error.load()) throw LoopError("division by zero");
}

template <typename T>
inline T floor_divide_integral(T a, T b) { return c10::div_floor_integer(a, b); }
template <typename T>
inline T mod(T a, T b) {
  if (C10_UNLIKELY(b == 0)) throw LoopError("division by zero");
  return a % b;
}
inline float mod(float a, float b) { return std::fmod(a, b); }
inline double mod(double a, double b) { return std::fmod(a, b); }

template <typename T>
inline T max_propagate_nan(T a, T b) {
  return a != a || a > b ? a : b;
}
template <typename T>
inline T min_propagate_nan(T a, T b) {
  return a != a || a < b ? a : b;
}

// Random numbers by counter: two rounds of a 64-bit mixing function, of which 24 bits make a float in [0, 1).
inline uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}
inline float normalized_rand_cpu(int64_t seed, int64_t offset) {
  return (mixed(mixed(seed) + 0x9e3779b97f4a7c15ULL * (offset + 1)) >> 40) * (1.0f / 16777216);
}
}  // namespace
"""
