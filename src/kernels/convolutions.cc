// Layers of a convolutional network in sequence, one example after another.
//
// An example's values lie channel by channel, row after row, in rows that are as long as those of
// the input with its border. A convolution then is the same nine shifts of one long row for every
// channel, whatever the image: z(n) = sum over i, j of x(n + i * row + j) W_ij. What it computes at
// the two places past each row's end is left out afterwards.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "parallel.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, CHANNELS = 8, VECTORS = 3;
#elif defined(__AVX2__)
constexpr int LANES = 8, CHANNELS = 4, VECTORS = 3;
#else
constexpr int LANES = 4, CHANNELS = 4, VECTORS = 2;
#endif
constexpr int SIDE = 3, POOL = 2;

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

inline Floats load(const float* from) {
  Floats v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline void store(float* to, Floats v) { std::memcpy(to, &v, sizeof v); }
inline int64_t whole(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

enum Activation { IDENTITY, RELU, TANH, SIGMOID };

// -m / (2 + m) with m = exp(-2|z|) - 1 = 2^n (exp(r) - 1) + 2^n - 1, |r| <= log(2) / 2.
inline Floats tanh_of(Floats z) {
  Floats size = z < 0 ? -z : z;
  Floats y = (size > 20.0f ? Floats{} + 20.0f : size) * -2.0f;
  Ints n = __builtin_convertvector(y * 1.44269504f - 0.5f, Ints);
  Floats whole_part = __builtin_convertvector(n, Floats);
  Floats r = y - whole_part * 0.693359375f + whole_part * 2.12194440e-4f;
  Floats e = r * (1 / 5040.0f) + 1 / 720.0f;
  e = e * r + 1 / 120.0f;
  e = e * r + 1 / 24.0f;
  e = e * r + 1 / 6.0f;
  e = e * r + 0.5f;
  e = e * r * r + r;
  Ints bits = (n + 127) << 23;
  Floats power;
  std::memcpy(&power, &bits, sizeof power);
  Floats m = power * e + (power - 1.0f);
  Floats a = -m / (m + 2.0f);
  return z < 0 ? -a : a;
}

// Values beyond n, up to a whole vector, are read and written too.
void activate(float* z, int64_t n, int64_t activation) {
  if (activation == IDENTITY) return;
  for (int64_t k = 0; k < n; k += LANES) {
    Floats v = load(z + k);
    if (activation == RELU) v = v < 0 ? Floats{} : v;
    if (activation == TANH) v = tanh_of(v);
    if (activation == SIGMOID) v = tanh_of(v * 0.5f) * 0.5f + 0.5f;
    store(z + k, v);
  }
}

// A layer: a convolution of h x w x p values, those of its border included, or a product of p.
struct Layer {
  int64_t convolves, h, w, p, q, border, pools, activation;
  const float *weight, *bias;
  int64_t rows() const { return h - SIDE + 1; }
  int64_t columns() const { return w - SIDE + 1; }
  int64_t plane_in() const { return whole(rows() * w) + 2 * w + LANES * (VECTORS + 1); }
  int64_t plane_out() const { return whole(rows() * w); }
  int64_t rows_on() const { return pools ? rows() / POOL : rows(); }
  int64_t columns_on() const { return pools ? columns() / POOL : columns(); }
  int64_t outputs() const { return convolves ? rows_on() * columns_on() * q : q; }
  int64_t room() const {
    return convolves ? std::max(p * plane_in(), q * (plane_out() + 2 * w)) : std::max(p, q);
  }
};

// z of Q channels from the first on, V vectors of places at a time.
template <int Q, int V>
int64_t correlate(const Layer& l, const float* x, int64_t first, int64_t n, float* z) {
  for (; n + V * LANES <= l.plane_out(); n += V * LANES) {
    Floats sum[Q][V];
    for (int k = 0; k < Q; k++)
      for (int v = 0; v < V; v++) sum[k][v] = Floats{} + l.bias[first + k];
    for (int64_t c = 0; c < l.p; c++)
      for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
          const float* from = x + c * l.plane_in() + n + i * l.w + j;
          const float* weight = l.weight + ((i * SIDE + j) * l.p + c) * l.q + first;
          Floats values[V];
          for (int v = 0; v < V; v++) values[v] = load(from + v * LANES);
          for (int k = 0; k < Q; k++)
            for (int v = 0; v < V; v++) sum[k][v] += weight[k] * values[v];
        }
    for (int k = 0; k < Q; k++)
      for (int v = 0; v < V; v++) store(z + (first + k) * l.plane_out() + n + v * LANES, sum[k][v]);
  }
  return n;
}

template <int Q, int V>
int64_t channels(const Layer& l, const float* x, int64_t first, float* z) {
  for (; first + Q <= l.q; first += Q) {
    int64_t n = correlate<Q, V>(l, x, first, 0, z);
    correlate<Q, 1>(l, x, first, n, z);
  }
  return first;
}

void convolve(const Layer& l, const float* x, float* z) {
  int64_t first = channels<CHANNELS, VECTORS>(l, x, 0, z);
  if (CHANNELS > 4) first = channels<4, 2 * VECTORS>(l, x, first, z);
  first = channels<2, 2 * VECTORS>(l, x, first, z);
  channels<1, 2 * VECTORS>(l, x, first, z);
}

// The places within the image, or the largest of each 2 x 2 of them: channel by channel, dense.
void shrink(const Layer& l, const float* z, float* to) {
  for (int64_t c = 0; c < l.q; c++)
    for (int64_t r = 0; r < l.rows_on(); r++, to += l.columns_on()) {
      const float* row = z + c * l.plane_out() + r * (l.pools ? POOL : 1) * l.w;
      if (!l.pools) {
        std::memcpy(to, row, sizeof(float) * l.columns());
        continue;
      }
      for (int64_t k = 0; k < l.columns_on(); k++) {
        float a = std::max(row[2 * k], row[2 * k + 1]);
        to[k] = std::max(a, std::max(row[2 * k + l.w], row[2 * k + 1 + l.w]));
      }
    }
}

// From a value's place: `channel` and `place` are the steps from one channel, one place to the next.
void frame(const Layer& l, const float* from, int64_t channel, int64_t place, float* to) {
  int64_t rows = l.h - 2 * l.border, columns = l.w - 2 * l.border;
  std::memset(to, 0, sizeof(float) * l.p * l.plane_in());
  for (int64_t c = 0; c < l.p; c++)
    for (int64_t r = 0; r < rows; r++) {
      float* row = to + c * l.plane_in() + (r + l.border) * l.w + l.border;
      const float* mine = from + c * channel + r * columns * place;
      for (int64_t k = 0; k < columns; k++) row[k] = mine[k * place];
    }
}

void channels_last(const float* from, int64_t places, int64_t channels, float* to) {
  for (int64_t c = 0; c < channels; c++)
    for (int64_t n = 0; n < places; n++) to[n * channels + c] = from[c * places + n];
}

void multiply(const Layer& l, const float* x, float* __restrict z) {
  std::memcpy(z, l.bias, sizeof(float) * l.q);
  for (int64_t k = 0; k < l.p; k++) {
    const float* weight = l.weight + k * l.q;
    for (int64_t n = 0; n < l.q; n++) z[n] += x[k] * weight[n];
  }
}

// `added` is added to z of the first layer: laid out as its z is here.
void example(const std::vector<Layer>& layers, const float* x, const float* added, float* a,
             float* b, float* out) {
  const Layer& first = layers.front();
  if (first.convolves)
    frame(first, x, 1, first.p, a);
  else
    std::memcpy(a, x, sizeof(float) * first.p);
  for (size_t n = 0; n < layers.size(); n++) {
    const Layer& l = layers[n];
    const Layer* next = n + 1 < layers.size() ? &layers[n + 1] : nullptr;
    const float* mine = n == 0 ? added : nullptr;
    if (!l.convolves) {
      multiply(l, a, b);
      if (mine)
        for (int64_t k = 0; k < l.q; k++) b[k] += mine[k];
      activate(b, l.q, l.activation);
      if (next) std::swap(a, b);
      else std::memcpy(out, b, sizeof(float) * l.q);
      continue;
    }
    convolve(l, a, b);
    if (mine)
      for (int64_t k = 0; k < l.q * l.plane_out(); k++) b[k] += mine[k];
    shrink(l, b, a);
    activate(a, l.outputs(), l.activation);
    int64_t places = l.rows_on() * l.columns_on();
    if (next && next->convolves) {
      frame(*next, a, places, 1, b);
      std::swap(a, b);
    } else {
      channels_last(a, places, l.q, next ? b : out);
      if (next) std::swap(a, b);
    }
  }
}

// What is added to z, from channels last to the layout of z here.
std::vector<float> laid_out(const Layer& l, const float* added) {
  if (!l.convolves) return std::vector<float>(added, added + l.q);
  std::vector<float> planes(l.q * l.plane_out());
  for (int64_t c = 0; c < l.q; c++)
    for (int64_t r = 0; r < l.rows(); r++)
      for (int64_t k = 0; k < l.columns(); k++)
        planes[c * l.plane_out() + r * l.w + k] = added[(r * l.columns() + k) * l.q + c];
  return planes;
}

constexpr int64_t FIELDS = 8;

// Arguments: x, what is added to z of the first layer (or nothing), weight and bias of every layer;
// all with an axis of replicas in front, or none. The attribute holds each layer's eight fields.
ffi::Error sequence(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::F32> added,
                    ffi::RemainingArgs rest, ffi::ResultBuffer<ffi::F32> out,
                    ffi::Span<const int64_t> fields) {
  size_t many = fields.size() / FIELDS;
  std::vector<Layer> spec(many);
  int64_t room = 0;
  for (size_t n = 0; n < many; n++) {
    const int64_t* f = fields.begin() + FIELDS * n;
    spec[n] = {f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], nullptr, nullptr};
    room = std::max(room, spec[n].room());
  }
  const Layer& first = spec.front();
  int64_t border = 2 * first.border;
  int64_t inputs = first.convolves ? (first.h - border) * (first.w - border) * first.p : first.p;
  int64_t outputs = spec.back().outputs();
  int64_t nodes = first.convolves ? first.rows() * first.columns() * first.q : first.q;
  auto weights = *rest.get<ffi::Buffer<ffi::F32>>(0);
  int64_t one = first.p * first.q * (first.convolves ? SIDE * SIDE : 1);
  int64_t replicas = weights.element_count() / one;
  int64_t examples = x.element_count() / inputs;
  std::vector<std::vector<Layer>> layers(replicas, spec);
  std::vector<std::vector<float>> more(replicas);
  for (int64_t r = 0; r < replicas; r++) {
    for (size_t n = 0; n < many; n++) {
      auto weight = *rest.get<ffi::Buffer<ffi::F32>>(2 * n);
      auto bias = *rest.get<ffi::Buffer<ffi::F32>>(2 * n + 1);
      layers[r][n].weight = weight.typed_data() + r * (weight.element_count() / replicas);
      layers[r][n].bias = bias.typed_data() + r * (bias.element_count() / replicas);
    }
    if (added.element_count()) more[r] = laid_out(first, added.typed_data() + r * nodes);
  }
  dither::parallel(pool, examples, [&](int64_t n) {
    thread_local std::vector<float> a, b;
    if (int64_t(a.size()) < room + LANES) a.resize(room + LANES), b.resize(room + LANES);
    int64_t r = n / (examples / replicas);
    const float* mine = more[r].empty() ? nullptr : more[r].data();
    example(layers[r], x.typed_data() + n * inputs, mine, a.data(), b.data(),
            out->typed_data() + n * outputs);
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(Convolutions, sequence,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .RemainingArgs()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<ffi::Span<const int64_t>>("fields"));
