// Activations over arrays, to a few units in the last place, in loops that compilers vectorise.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace dither {

// exp(x) - 1 = 2^k (exp(r) - 1) + 2^k - 1 with x = k ln 2 + r, |r| <= ln 2 / 2.
inline float exp_minus_1(float x) {
  x = x < -87.f ? -87.f : x > 88.f ? 88.f : x;
  float k = std::nearbyint(x * 1.44269504f);
  float r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
  float series = 1.f + r * (1.f / 8);
  series = 1.f + r * (1.f / 7) * series;
  series = 1.f + r * (1.f / 6) * series;
  series = 1.f + r * (1.f / 5) * series;
  series = 1.f + r * (1.f / 4) * series;
  series = 1.f + r * (1.f / 3) * series;
  series = 1.f + r * (1.f / 2) * series;
  int32_t bits = (int32_t(k) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, 4);
  return power * (r * series) + (power - 1.f);
}

enum Activation { IDENTITY, TANH, SIGMOID, RELU };

inline void activate(int64_t kind, float* z, int64_t n) {
  if (kind == TANH) {
    for (int64_t i = 0; i < n; i++) {
      float x = z[i] < -10.f ? -10.f : z[i] > 10.f ? 10.f : z[i];
      float e = exp_minus_1(2.f * x);
      z[i] = e / (e + 2.f);
    }
  } else if (kind == SIGMOID) {
    for (int64_t i = 0; i < n; i++) z[i] = 1.f / (2.f + exp_minus_1(-z[i]));
  } else if (kind == RELU) {
    for (int64_t i = 0; i < n; i++) z[i] = z[i] > 0.f ? z[i] : 0.f;
  }
}

}  // namespace dither
