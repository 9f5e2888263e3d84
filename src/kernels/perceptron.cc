// Weight perturbation on multilayer perceptrons: n measurements of every replica in one call.
//
//   G <- G + (C(theta + p) - reference) p / delta^2,  theta <- theta - eta G / tau_theta
//
// A replica's parameters, its batch and its perturbation stay in the cache from one measurement to
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

struct Rule {
  bool central;
  int64_t tau_x, tau_theta, tau_p;
  bool at_once() const { return tau_theta == 1; }
};

struct Network {
  std::vector<dither::Dense> layers;
  int64_t activation, output, parameters;
  int64_t cost;  // 0 mean squared error, 1 cross-entropy
};

struct Data {
  const float *x, *wanted;
  int64_t samples, batch;
};

// What one replica's measurements need, allocated once.
struct Room {
  std::vector<float> signs, probe, padded, a, b;
  std::vector<int32_t> rows;
  std::vector<const float*> inputs;
  Room(const Network& net, int64_t batch)
      : signs(net.parameters + 32), probe(net.parameters), rows(batch), inputs(batch) {
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

float measure(const Network& net, const Data& data, Room& room) {
  for (int64_t i = 0; i < data.batch; i++) {
    room.inputs[i] = data.x + int64_t(room.rows[i]) * net.layers[0].p;
  }
  const float* theta = room.probe.data();
  float *padded = room.padded.data(), *out = room.a.data(), *next = room.b.data();
  for (size_t l = 0; l < net.layers.size(); l++) {
    const dither::Dense& layer = net.layers[l];
    layer.forward(room.inputs.data(), data.batch, layer.pad(theta, padded), out);
    theta += (layer.p + 1) * layer.q;
    padded += (layer.p + 1) * layer.padded();
    bool last = l + 1 == net.layers.size();
    dither::activate(last ? net.output : net.activation, out, data.batch * layer.padded());
    if (last) return mean_cost(net, data, room, out, layer.padded());
    for (int64_t i = 0; i < data.batch; i++) room.inputs[i] = out + i * layer.padded();
    std::swap(out, next);
  }
  return 0;
}

struct Replica {
  float *theta, *gradient, *reference, *cost, *parameters;
  int32_t* referred;
  Key signs, rows;
  float rate, delta;
};

void correlate(const Rule& rule, Replica& r, const Room& room, float change, bool closes, int64_t P) {
  float scale = change / (r.delta * r.delta);
  if (rule.at_once()) {
    for (int64_t i = 0; i < P; i++) r.theta[i] -= r.rate * (scale * (room.probe[i] - r.theta[i]));
    return;
  }
  for (int64_t i = 0; i < P; i++) r.gradient[i] += scale * (room.probe[i] - r.theta[i]);
  if (!closes) return;
  for (int64_t i = 0; i < P; i++) {
    r.theta[i] -= r.rate * (r.gradient[i] / float(rule.tau_theta));
    r.gradient[i] = 0;
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
  for (; n > 0; n--, now = after(rule, now)) {
    if (now.tick / rule.tau_x != rows_of) {
      rows_of = now.tick / rule.tau_x;
      draw_rows(room, data, r.rows, uint32_t(rows_of));
    }
    int side = rule.central ? 1 - 2 * int(now.part) : int(now.part);
    if (side && now.tick / rule.tau_p != signs_of) {
      signs_of = now.tick / rule.tau_p;
      draw_signs(room, r.signs, uint32_t(signs_of), r.delta, P);
    }
    if (side > 0) {
      for (int64_t i = 0; i < P; i++) room.probe[i] = r.theta[i] + room.signs[i];
    } else if (side < 0) {
      for (int64_t i = 0; i < P; i++) room.probe[i] = r.theta[i] - room.signs[i];
    } else {
      std::memcpy(room.probe.data(), r.theta, sizeof(float) * P);
    }
    float cost = measure(net, data, room);
    *r.cost += cost;
    if (now.part == 0) {
      *r.reference = cost;
      *r.referred =
          int32_t(now.tick - std::min(now.tick % rule.tau_x, now.tick % rule.tau_theta));
    } else {
      float change = (cost - *r.reference) / (rule.central ? 2.f : 1.f);
      correlate(rule, r, room, change, (now.tick + 1) % rule.tau_theta == 0, P);
    }
  }
  std::memcpy(r.parameters, room.probe.data(), sizeof(float) * P);
  return now;
}

ffi::Error perceptron(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> theta,
                      ffi::Buffer<ffi::F32> gradient, ffi::Buffer<ffi::F32> reference,
                      ffi::Buffer<ffi::S32> referred, ffi::Buffer<ffi::F32> cost,
                      ffi::Buffer<ffi::F32> parameters, ffi::Buffer<ffi::S32> clock,
                      ffi::Buffer<ffi::U32> signs, ffi::Buffer<ffi::U32> rows,
                      ffi::Buffer<ffi::F32> rate, ffi::Buffer<ffi::F32> delta,
                      ffi::Buffer<ffi::S32> n, ffi::Buffer<ffi::F32> x,
                      ffi::Buffer<ffi::F32> wanted, ffi::ResultBuffer<ffi::F32> theta_after,
                      ffi::ResultBuffer<ffi::F32> gradient_after,
                      ffi::ResultBuffer<ffi::F32> reference_after,
                      ffi::ResultBuffer<ffi::S32> referred_after,
                      ffi::ResultBuffer<ffi::F32> cost_after,
                      ffi::ResultBuffer<ffi::F32> parameters_after,
                      ffi::ResultBuffer<ffi::S32> clock_after, ffi::Span<const int64_t> widths,
                      int64_t activation, int64_t output, int64_t cost_kind, int64_t batch,
                      bool central, int64_t tau_x, int64_t tau_theta, int64_t tau_p) {
  Network net{{}, activation, output, 0, cost_kind};
  for (size_t l = 0; l + 1 < widths.size(); l++) {
    net.layers.push_back({widths.begin()[l], widths.begin()[l + 1]});
    net.parameters += (net.layers.back().p + 1) * net.layers.back().q;
  }
  Data data{x.typed_data(), wanted.typed_data(), int64_t(x.dimensions()[0]), batch};
  Rule rule{central, tau_x, tau_theta, tau_p};
  int64_t P = net.parameters, R = theta.dimensions()[0];
  const int32_t* begins = clock.typed_data();
  auto copied = [](auto& from, auto& to) {
    std::memcpy(to->untyped_data(), from.untyped_data(), from.size_bytes());
  };
  copied(theta, theta_after);
  copied(gradient, gradient_after);
  copied(reference, reference_after);
  copied(referred, referred_after);
  copied(cost, cost_after);
  copied(parameters, parameters_after);
  copied(clock, clock_after);
  int64_t measurements = n.typed_data()[0];
  if (measurements <= 0) return ffi::Error::Success();
  dither::parallel(pool, R, [&](int64_t i) {
    const uint32_t *s = signs.typed_data() + 2 * i, *d = rows.typed_data() + 2 * i;
    Replica r{theta_after->typed_data() + i * P, gradient_after->typed_data() + i * P,
              reference_after->typed_data() + i, cost_after->typed_data() + i,
              parameters_after->typed_data() + i * P, referred_after->typed_data() + i,
              Key{s[0], s[1]}, Key{d[0], d[1]}, rate.typed_data()[i], delta.typed_data()[i]};
    Clock ends = run(net, data, rule, r, {begins[0], begins[1]}, measurements);
    if (i == 0) {
      clock_after->typed_data()[0] = int32_t(ends.tick);
      clock_after->typed_data()[1] = int32_t(ends.part);
    }
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    Perceptron, perceptron,
    ffi::Ffi::Bind()
        .Ctx<ffi::ThreadPool>()
        .Arg<ffi::Buffer<ffi::F32>>()   // theta [R, P]
        .Arg<ffi::Buffer<ffi::F32>>()   // gradient [R, P]
        .Arg<ffi::Buffer<ffi::F32>>()   // reference [R]
        .Arg<ffi::Buffer<ffi::S32>>()   // referred [R]
        .Arg<ffi::Buffer<ffi::F32>>()   // sum of costs [R]
        .Arg<ffi::Buffer<ffi::F32>>()   // parameters that the device holds [R, P]
        .Arg<ffi::Buffer<ffi::S32>>()   // tick and part
        .Arg<ffi::Buffer<ffi::U32>>()   // key of the signs [R, 2]
        .Arg<ffi::Buffer<ffi::U32>>()   // key of the batches [R, 2]
        .Arg<ffi::Buffer<ffi::F32>>()   // eta [R]
        .Arg<ffi::Buffer<ffi::F32>>()   // delta [R]
        .Arg<ffi::Buffer<ffi::S32>>()   // n
        .Arg<ffi::Buffer<ffi::F32>>()   // inputs [N, p]
        .Arg<ffi::Buffer<ffi::F32>>()   // wanted outputs [N, K]
        .Ret<ffi::Buffer<ffi::F32>>()
        .Ret<ffi::Buffer<ffi::F32>>()
        .Ret<ffi::Buffer<ffi::F32>>()
        .Ret<ffi::Buffer<ffi::S32>>()
        .Ret<ffi::Buffer<ffi::F32>>()
        .Ret<ffi::Buffer<ffi::F32>>()
        .Ret<ffi::Buffer<ffi::S32>>()
        .Attr<ffi::Span<const int64_t>>("widths")
        .Attr<int64_t>("activation")
        .Attr<int64_t>("output")
        .Attr<int64_t>("cost")
        .Attr<int64_t>("batch")
        .Attr<bool>("central")
        .Attr<int64_t>("tau_x")
        .Attr<int64_t>("tau_theta")
        .Attr<int64_t>("tau_p"));
