// A dense layer of a batch, z = x W + b, a tile of examples times a few vectors of outputs at once.
#pragma once


#include <cstdint>
#include <cstring>

#pragma GCC diagnostic ignored "-Wpsabi"

namespace dither {

typedef float float4 __attribute__((vector_size(16), aligned(4)));
typedef float float8 __attribute__((vector_size(32), aligned(4)));
typedef float float16 __attribute__((vector_size(64), aligned(4)));

template <typename V>
inline V load(const float* from) {
  V v;
  std::memcpy(&v, from, sizeof(V));
  return v;
}

struct Dense {
  int64_t p, q;

  // The outputs, rounded up to whole vectors.
  int64_t padded() const { return q <= 4 ? 4 : q <= 8 ? 8 : (q + 15) / 16 * 16; }

  // Bias then weights, of whole vectors: as they are, or copied into `room`.
  const float* pad(const float* theta, float* room) const {
    int64_t Q = padded();
    if (Q == q) return theta;
    for (int64_t row = 0; row <= p; row++) {
      std::memcpy(room + row * Q, theta + row * q, sizeof(float) * q);
      std::memset(room + row * Q + q, 0, sizeof(float) * (Q - q));
    }
    return room;
  }

  void forward(const float* const* x, int64_t examples, const float* w, float* z) const {
    int64_t Q = padded();
    if (Q == 4) return columns<float4, 1, 12>(x, examples, w, z, 0);
    if (Q == 8) return columns<float8, 1, 12>(x, examples, w, z, 0);
    int64_t at = 0;
    for (; at + 32 <= Q; at += 32) columns<float16, 2, 12>(x, examples, w, z, at);
    if (at < Q) columns<float16, 1, 12>(x, examples, w, z, at);
  }

 private:
  template <typename V, int NV, int E>
  void columns(const float* const* x, int64_t examples, const float* w, float* z, int64_t at) const {
    int64_t i = 0;
    for (; i + E <= examples; i += E) tile<V, NV, E, 1>(x + i, w, z + i * padded(), at);
    for (; i + 4 <= examples; i += 4) tile<V, NV, 4, 2>(x + i, w, z + i * padded(), at);
    for (; i < examples; i++) tile<V, NV, 1, 8>(x + i, w, z + i * padded(), at);
  }

  // E examples, NV vectors of outputs; C sums side by side hide the latency where E is small.
  template <typename V, int NV, int E, int C>
  void tile(const float* const* x, const float* w, float* z, int64_t at) const {
    constexpr int L = sizeof(V) / sizeof(float);
    int64_t Q = padded();
    V sum[C][E][NV];
    for (int v = 0; v < NV; v++) {
      V bias = load<V>(w + at + v * L);
      for (int e = 0; e < E; e++) {
        sum[0][e][v] = bias;
        for (int c = 1; c < C; c++) sum[c][e][v] = V{};
      }
    }
    int64_t i = 0;
    for (; i + C <= p; i += C) {
      for (int c = 0; c < C; c++) multiply<V, NV, E>(x, w, i + c, at, sum[c]);
    }
    for (; i < p; i++) multiply<V, NV, E>(x, w, i, at, sum[0]);
    for (int e = 0; e < E; e++) {
      for (int v = 0; v < NV; v++) {
        for (int c = 1; c < C; c++) sum[0][e][v] += sum[c][e][v];
        std::memcpy(z + e * Q + at + v * L, &sum[0][e][v], sizeof(V));
      }
    }
  }

  template <typename V, int NV, int E>
  void multiply(const float* const* x, const float* w, int64_t i, int64_t at, V (&sum)[E][NV]) const {
    constexpr int L = sizeof(V) / sizeof(float);
    V weight[NV];
    for (int v = 0; v < NV; v++) weight[v] = load<V>(w + (1 + i) * padded() + at + v * L);
    for (int e = 0; e < E; e++) {
      for (int v = 0; v < NV; v++) sum[e][v] += x[e][i] * weight[v];
    }
  }
};

}  // namespace dither
