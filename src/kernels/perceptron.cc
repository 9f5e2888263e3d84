// Weight perturbation on multilayer perceptrons: n measurements of every replica in one call.
//
//   G <- G + (C(theta + p) - reference) p / delta^2,  theta <- theta - eta G / tau_theta, or Adam
//
// on a chip with bounds, a DAC, mismatch, noise of its outputs and of its cost. A replica's parameters, its batch and its perturbation stay in the cache from one measurement to
// the next. The random numbers are those of the plain loop.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "activations.h"
#include "dense.h"
#include "parallel.h"
#include "threefry.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using dither::Key;

namespace {

constexpr float B1 = 0.9f, B2 = 0.999f;  // of Adam's moments

struct Rule {
  bool central, adam;
  int64_t tau_x, tau_theta, tau_p;
};

// What may differ from replica to replica, in the order of a row that Python hands over.
struct Settings {
  float rate, amplitude, lowest, highest, low, high, step, output_noise, cost_noise;

  bool free() const { return step == 0 && std::isinf(low) && std::isinf(high); }

  // What the device can be set to, nearest to theta + side p.
  void snap(const float* theta, float side, const float* p, float* to, int64_t size) const {
    if (step > 0) {
      for (int64_t i = 0; i < size; i++) {
        float steps = std::nearbyint((theta[i] + side * p[i] - low) / step);
        to[i] = std::min(std::max(low + steps * step, low), high);
      }
    } else {
      for (int64_t i = 0; i < size; i++) {
        to[i] = std::min(std::max(theta[i] + side * p[i], low), high);
      }
    }
  }
};

struct Network {
  std::vector<dither::Dense> layers;
  int64_t activation, output, parameters;
  int64_t cost;                          // 0 mean squared error, 1 cross-entropy
  int64_t output_noise_at, cost_noise_at;  // places among the imperfections
};

struct Data {
  const float *x, *wanted;
  int64_t samples, batch;
};

// What one replica's measurements need, allocated once.
struct Room {
  std::vector<float> signs, point, probe, passed, padded, a, b;
  std::vector<int32_t> rows;
  std::vector<const float*> inputs;
  Room(const Network& net, int64_t batch)
      : signs(net.parameters + 32), point(net.parameters), probe(net.parameters),
        passed(net.parameters), rows(batch), inputs(batch) {
    int64_t most = 0, padded_size = 0;
    for (auto& layer : net.layers) {
      most = std::max(most, layer.padded());
      padded_size += (layer.p + 1) * layer.padded();
    }
    padded.resize(padded_size);
    a.resize(batch * most);
    b.resize(batch * most);
  }
};

void draw_signs(Room& room, Key key, uint32_t tick, float delta, int64_t size) {
  const Key now = dither::fold_in(key, tick);
  const uint32_t amplitude = dither::cast<uint32_t>(delta);
  for (int64_t first = 0; 32 * first < size; first += dither::LANES) {
    dither::Words words = dither::many_bits(now, uint32_t(first));
    for (int64_t w = 0; w < dither::LANES && 32 * (first + w) < size; w++) {
      uint32_t word = words[w], spread[32];
      for (int j = 0; j < 32; j++) spread[j] = amplitude ^ (((word >> j) & 1u) << 31);
      std::memcpy(&room.signs[32 * (first + w)], spread, sizeof spread);
    }
  }
}

void draw_rows(Room& room, const Data& data, Key key, uint32_t draw) {
  if (data.batch >= data.samples) {
    for (int64_t i = 0; i < data.batch; i++) room.rows[i] = int32_t(i);
  } else {
    dither::randint(dither::fold_in(key, draw), uint32_t(data.samples), room.rows.data(), data.batch);
  }
}

float mean_cost(const Network& net, const Data& data, const Room& room, const float* y, int64_t stride) {
  int64_t K = net.layers.back().q;
  float sum = 0;
  for (int64_t i = 0; i < data.batch; i++) {
    const float *out = y + i * stride, *t = data.wanted + int64_t(room.rows[i]) * K;
    float cost = 0;
    if (net.cost == 0) {
      for (int64_t k = 0; k < K; k++) cost += (out[k] - t[k]) * (out[k] - t[k]);
      cost /= float(K);
    } else {
      float top = *std::max_element(out, out + K), total = 0;
      for (int64_t k = 0; k < K; k++) total += std::exp(out[k] - top);
      float log_total = std::log(total);
      for (int64_t k = 0; k < K; k++) cost -= t[k] * (out[k] - top - log_total);
    }
    sum += cost;
  }
  return sum / float(data.batch);
}

struct Replica {
  float *theta, *gradient, *reference, *cost, *parameters, *mu, *nu;
  int32_t *referred, *updates;
  const float* mismatch;  // gains then offsets, or null
  Key signs, rows, noise;
  uint32_t measured;
  Settings set;
};

// The outputs as read: y + sigma n.
void add_noise(const Network& net, float sigma, Key key, int64_t batch, float* y) {
  int64_t K = net.layers.back().q, stride = net.layers.back().padded();
  for (int64_t first = 0; first < batch * K; first += dither::LANES) {
    dither::Floats drawn = dither::normal(dither::many_bits(key, uint32_t(first)));
    for (int64_t j = first; j < std::min(batch * K, first + dither::LANES); j++) {
      y[j / K * stride + j % K] += sigma * drawn[j - first];
    }
  }
}

// The cost that is read with theta programmed.
float measure(const Network& net, const Data& data, const Replica& r, const float* theta, Room& room) {
  for (int64_t i = 0; i < data.batch; i++) {
    room.inputs[i] = data.x + int64_t(room.rows[i]) * net.layers[0].p;
  }
  if (r.mismatch) {
    for (int64_t i = 0; i < net.parameters; i++) {
      room.passed[i] = r.mismatch[i] * theta[i] + r.mismatch[net.parameters + i];
    }
    theta = room.passed.data();
  }
  float *padded = room.padded.data(), *out = room.a.data(), *next = room.b.data();
  for (size_t l = 0; l < net.layers.size(); l++) {
    const dither::Dense& layer = net.layers[l];
    layer.forward(room.inputs.data(), data.batch, layer.pad(theta, padded), next);
    theta += (layer.p + 1) * layer.q;
    padded += (layer.p + 1) * layer.padded();
    std::swap(out, next);
    bool last = l + 1 == net.layers.size();
    dither::activate(last ? net.output : net.activation, out, data.batch * layer.padded());
    for (int64_t i = 0; i < data.batch; i++) room.inputs[i] = out + i * layer.padded();
  }
  const Key now = dither::fold_in(r.noise, 2 * r.measured + 1);
  if (net.output_noise_at >= 0) {
    Key key = dither::fold_in(now, uint32_t(net.output_noise_at));
    add_noise(net, r.set.output_noise, key, data.batch, out);
  }
  float cost = mean_cost(net, data, room, out, net.layers.back().padded());
  if (net.cost_noise_at >= 0) {
    Key key = dither::fold_in(now, uint32_t(net.cost_noise_at));
    cost += r.set.cost_noise * dither::normal(dither::bits(key));
  }
  return cost;
}

// theta - eta G by plain descent or by Adam, kept as far from the bounds as perturbations reach.
void update(const Rule& rule, const Replica& r, int64_t P) {
  const Settings set = r.set;
  const float share = 1.f / float(rule.tau_theta);
  float c1 = 1, c2 = 1;
  if (rule.adam) {
    const float count = float(++*r.updates);
    c1 = 1 - std::pow(B1, count);
    c2 = 1 - std::pow(B2, count);
  }
  for (int64_t i = 0; i < P; i++) {
    float g = share * r.gradient[i];
    if (rule.adam) {
      r.mu[i] = B1 * r.mu[i] + (1 - B1) * g;
      r.nu[i] = B2 * r.nu[i] + (1 - B2) * (g * g);
      g = r.mu[i] / c1 / (std::sqrt(r.nu[i] / c2) + 1e-8f);
    }
    r.theta[i] = std::min(std::max(r.theta[i] - set.rate * g, set.lowest), set.highest);
    r.gradient[i] = 0;
  }
}

// What a change of the cost says of the gradient, summed; or at once the update that it leads to.
void correlate(const Rule& rule, const Replica& r, float change, const float* probe,
               const float* point, int64_t P) {
  const Settings set = r.set;
  const float scale = change / (set.amplitude * set.amplitude);
  if (rule.tau_theta > 1 || rule.adam) {
    for (int64_t i = 0; i < P; i++) r.gradient[i] += scale * (probe[i] - point[i]);
    return;
  }
  for (int64_t i = 0; i < P; i++) {
    float theta = r.theta[i] - set.rate * (scale * (probe[i] - point[i]));
    r.theta[i] = std::min(std::max(theta, set.lowest), set.highest);
  }
}

struct Clock {
  int64_t tick, part;
};

Clock after(const Rule& rule, Clock now) {
  if (now.part == 0) return {now.tick, 1};
  int64_t tick = now.tick + 1;
  bool stale = tick % rule.tau_x == 0 || tick % rule.tau_theta == 0;
  return {tick, rule.central || stale ? 0 : 1};
}

Clock run(const Network& net, const Data& data, const Rule& rule, Replica r, Clock now, int64_t n) {
  Room room(net, data.batch);
  int64_t P = net.parameters, signs_of = -1, rows_of = -1;
  // where everything can be set, the parameters are programmed as they are
  const float *point = r.set.free() ? r.theta : room.point.data(), *probe = point;
  auto snap = [&] {
    if (!r.set.free()) r.set.snap(r.theta, 0.f, room.signs.data(), room.point.data(), P);
  };
  snap();
  for (; n > 0; n--, r.measured++, now = after(rule, now)) {
    if (now.tick / rule.tau_x != rows_of) {
      rows_of = now.tick / rule.tau_x;
      draw_rows(room, data, r.rows, uint32_t(rows_of));
    }
    probe = point;
    if (rule.central || now.part == 1) {
      if (now.tick / rule.tau_p != signs_of) {
        signs_of = now.tick / rule.tau_p;
        draw_signs(room, r.signs, uint32_t(signs_of), r.set.amplitude, P);
      }
      float side = rule.central && now.part == 1 ? -1.f : 1.f;
      r.set.snap(point, side, room.signs.data(), room.probe.data(), P);
      probe = room.probe.data();
    }
    float cost = measure(net, data, r, probe, room);
    *r.cost += cost;
    if (n == 1) std::memcpy(r.parameters, probe, sizeof(float) * P);
    if (now.part == 0) {
      *r.reference = cost;
      *r.referred =
          int32_t(now.tick - std::min(now.tick % rule.tau_x, now.tick % rule.tau_theta));
      continue;
    }
    correlate(rule, r, (cost - *r.reference) / (rule.central ? 2.f : 1.f), probe, point, P);
    if ((now.tick + 1) % rule.tau_theta == 0) {
      if (rule.tau_theta > 1 || rule.adam) update(rule, r, P);
      snap();
    }
  }
  return now;
}

using F32 = ffi::Buffer<ffi::F32>;
using S32 = ffi::Buffer<ffi::S32>;
using U32 = ffi::Buffer<ffi::U32>;

// What changes comes first: each as it was, and as it is after n measurements.
ffi::Error perceptron(ffi::ThreadPool pool, F32 theta, F32 gradient, F32 reference, S32 referred,
                      F32 cost, F32 parameters, S32 updates, F32 mu, F32 nu, S32 clock,
                      S32 measured, U32 signs, U32 rows, U32 noise, F32 settings, F32 mismatch,
                      S32 n, F32 x, F32 wanted, ffi::Result<F32> theta_, ffi::Result<F32> gradient_,
                      ffi::Result<F32> reference_, ffi::Result<S32> referred_,
                      ffi::Result<F32> cost_, ffi::Result<F32> parameters_,
                      ffi::Result<S32> updates_, ffi::Result<F32> mu_, ffi::Result<F32> nu_,
                      ffi::Result<S32> clock_, ffi::Span<const int64_t> widths, int64_t activation,
                      int64_t output, int64_t cost_kind, int64_t output_noise_at,
                      int64_t cost_noise_at, int64_t batch, bool central, bool adam, int64_t tau_x,
                      int64_t tau_theta, int64_t tau_p) {
  Network net{{}, activation, output, 0, cost_kind, output_noise_at, cost_noise_at};
  for (size_t l = 0; l + 1 < widths.size(); l++) {
    net.layers.push_back({widths.begin()[l], widths.begin()[l + 1]});
    net.parameters += (net.layers.back().p + 1) * net.layers.back().q;
  }
  Data data{x.typed_data(), wanted.typed_data(), int64_t(x.dimensions()[0]), batch};
  Rule rule{central, adam, tau_x, tau_theta, tau_p};
  auto copied = [](auto& from, auto& to) {
    if (to->untyped_data() == from.untyped_data()) return;  // JAX lets them share memory
    std::memcpy(to->untyped_data(), from.untyped_data(), from.size_bytes());
  };
  copied(theta, theta_);
  copied(gradient, gradient_);
  copied(reference, reference_);
  copied(referred, referred_);
  copied(cost, cost_);
  copied(parameters, parameters_);
  copied(updates, updates_);
  copied(mu, mu_);
  copied(nu, nu_);
  copied(clock, clock_);
  const int64_t P = net.parameters, R = theta.dimensions()[0], measurements = n.typed_data()[0];
  const Clock begins{clock.typed_data()[0], clock.typed_data()[1]};
  if (measurements <= 0) return ffi::Error::Success();
  auto key = [](const U32& keys, int64_t i) {
    return Key{keys.typed_data()[2 * i], keys.typed_data()[2 * i + 1]};
  };
  dither::parallel(pool, R, [&](int64_t i) {
    Settings set;
    std::memcpy(&set, settings.typed_data() + i * (sizeof set / sizeof(float)), sizeof set);
    Replica r{theta_->typed_data() + i * P,
              gradient_->typed_data() + i * P,
              reference_->typed_data() + i,
              cost_->typed_data() + i,
              parameters_->typed_data() + i * P,
              mu_->typed_data() + i * P,
              nu_->typed_data() + i * P,
              referred_->typed_data() + i,
              updates_->typed_data() + i,
              mismatch.element_count() ? mismatch.typed_data() + i * 2 * P : nullptr,
              key(signs, i),
              key(rows, i),
              key(noise, i),
              uint32_t(measured.typed_data()[i]),
              set};
    Clock ends = run(net, data, rule, r, begins, measurements);
    if (i == 0) {
      clock_->typed_data()[0] = int32_t(ends.tick);
      clock_->typed_data()[1] = int32_t(ends.part);
    }
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(Perceptron, perceptron,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>()  // theta [R, P]
                                  .Arg<F32>()  // gradient [R, P]
                                  .Arg<F32>()  // reference [R]
                                  .Arg<S32>()  // referred [R]
                                  .Arg<F32>()  // sum of costs [R]
                                  .Arg<F32>()  // parameters that the device holds [R, P]
                                  .Arg<S32>()  // updates, of Adam [R]
                                  .Arg<F32>()  // its moments [R, P]
                                  .Arg<F32>()
                                  .Arg<S32>()  // tick and part
                                  .Arg<S32>()  // measurements of the device [R]
                                  .Arg<U32>()  // keys of signs, batches and noise [R, 2]
                                  .Arg<U32>()
                                  .Arg<U32>()
                                  .Arg<F32>()  // settings [R, 9]
                                  .Arg<F32>()  // mismatch [R, 2, P], or of no size
                                  .Arg<S32>()  // n
                                  .Arg<F32>()  // inputs [N, p]
                                  .Arg<F32>()  // wanted outputs [N, K]
                                  .Ret<F32>()
                                  .Ret<F32>()
                                  .Ret<F32>()
                                  .Ret<S32>()
                                  .Ret<F32>()
                                  .Ret<F32>()
                                  .Ret<S32>()
                                  .Ret<F32>()
                                  .Ret<F32>()
                                  .Ret<S32>()
                                  .Attr<ffi::Span<const int64_t>>("widths")
                                  .Attr<int64_t>("activation")
                                  .Attr<int64_t>("output")
                                  .Attr<int64_t>("cost")
                                  .Attr<int64_t>("output_noise_at")
                                  .Attr<int64_t>("cost_noise_at")
                                  .Attr<int64_t>("batch")
                                  .Attr<bool>("central")
                                  .Attr<bool>("adam")
                                  .Attr<int64_t>("tau_x")
                                  .Attr<int64_t>("tau_theta")
                                  .Attr<int64_t>("tau_p"));
