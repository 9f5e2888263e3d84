// Coordinate descent on a Boolean or ternary readout: see algorithms/coordinate_descent.py and
// devices/readout.py, which say what is computed here. The summed light is the plain form's bit for
// bit; the error is computed in double precision and rounded to single.
#include <cstring>
#include <vector>

#include "parallel.h"
#include "selections.h"
#include "threefry.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using dither::Floats;
using dither::Key;
using dither::LANES;

namespace {

constexpr int HALF = LANES / 2, ROW = 2 * LANES;
typedef float Half __attribute__((vector_size(4 * HALF)));
typedef double Doubles __attribute__((vector_size(8 * HALF)));

enum Decision { KEEP, REMEASURE, SIGNIFICANT };
enum Noise { OF_COST, OF_OUTPUTS, RELATIVE };

struct Setting {
  int64_t N, T, decision, repeats, levels;
  float significance, low;
  bool coherent;
  ffi::Span<const int64_t> kinds;    // of the imperfections
  ffi::Span<const float> sigmas;     // theirs
  ffi::Span<const float> of_states;  // multiplicative common, multiplicative, additive, common

  bool clean() const {
    bool noisy = false;
    for (float sigma : of_states) noisy |= sigma != 0;
    for (int64_t kind : kinds) noisy |= kind != OF_COST;
    return !noisy;
  }
};

struct Aligned {
  explicit Aligned(int64_t size) : held(size + 16) {
    begin = held.data() + (64 - reinterpret_cast<uintptr_t>(held.data()) % 64) % 64 / sizeof(float);
  }
  std::vector<float> held;
  float* begin;
};

struct Sums {
  double y = 0, squares = 0, along = 0;
};

// Σ y, Σ y² and Σ y z over rows padded with zeros.
Sums summed(const float* y, const double* z, int64_t padded) {
  Doubles a[4] = {}, b[4] = {}, c[4] = {};
  for (int64_t n = 0; n < padded; n += ROW) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
      Half part;
      Doubles target;
      std::memcpy(&part, y + n + k * HALF, sizeof part);
      std::memcpy(&target, z + n + k * HALF, sizeof target);
      Doubles now = __builtin_convertvector(part, Doubles);
      a[k] += now;
      b[k] += now * now;
      c[k] += now * target;
    }
  }
  auto total = [](const Doubles* d) {
    Doubles all = (d[0] + d[1]) + (d[2] + d[3]);
    double sum = 0;
    for (int lane = 0; lane < HALF; lane++) sum += all[lane];
    return sum;
  };
  return {total(a), total(b), total(c)};
}

// One bench: its light, and the error that it measures.
class Bench {
 public:
  Bench(const Setting& set, Key key, const float* columns, const float* target, float* weights,
        const float* light, const float* squares)
      : set(set), key(key), columns(columns), weights(weights), padded((set.T + ROW - 1) / ROW * ROW),
        lights(padded), outputs(padded), spreads(squares ? padded : 0), z(padded),
        costs(set.kinds.size()) {
    std::memcpy(lights.begin, light, 4 * set.T);
    if (squares) std::memcpy(spreads.begin, squares, 4 * set.T);
    has_squares = squares != nullptr;
    standardise(target);
    for (int64_t i = 0; i < set.N; i++) {
      sum_w += weights[i];
      sum_w2 += weights[i] * weights[i];
    }
  }

  void finish(float* light, float* squares) const {
    std::memcpy(light, lights.begin, 4 * set.T);
    if (has_squares) std::memcpy(squares, spreads.begin, 4 * set.T);
  }

  void fetch(int64_t place) const {
    const char* column = reinterpret_cast<const char*>(columns + place * set.T);
    for (int64_t byte = 0; byte < 4 * set.T; byte += 64) __builtin_prefetch(column + byte);
  }

  // Two mirrors at once, of which a place of N is none.
  void write(const int32_t (&places)[2], const float (&values)[2]) {
    const float* column[2];
    float change[2], spread[2];
    for (int k = 0; k < 2; k++) {
      bool none = places[k] >= set.N;
      int32_t place = none ? 0 : places[k];
      float before = weights[place], after = none ? before : values[k];
      column[k] = columns + place * set.T;
      change[k] = after - before;
      spread[k] = after * after - before * before;
      sum_w += change[k];
      sum_w2 += spread[k];
    }
    for (int k = 0; k < 2; k++)
      if (places[k] < set.N) weights[places[k]] = values[k];
    float* __restrict light = lights.begin;
    const float *one = column[0], *two = column[1];
    for (int64_t n = 0; n < set.T; n++) light[n] += change[0] * one[n] + change[1] * two[n];
    if (!has_squares) return;
    float* __restrict squares = spreads.begin;
    for (int64_t n = 0; n < set.T; n++)
      squares[n] += spread[0] * (one[n] * one[n]) + spread[1] * (two[n] * two[n]);
  }

  float measure(uint32_t number) {
    const float* y = lights.begin;
    if (set.coherent || !set.clean()) y = detected(number);
    Sums sums = summed(y, z.data(), padded);
    double mean = sums.y / double(set.T), variance = sums.squares / double(set.T) - mean * mean;
    double rounding = 4 * 1.1920929e-07 * std::abs(double(y[0]));
    float cost = float(energy);  // of a constant output
    if (variance > rounding * rounding) {
      double product = (sums.along - mean * z_sum) / std::sqrt(variance);
      cost = float(1 + energy - 2 * product / double(set.T));
    }
    for (size_t k = 0; k < set.kinds.size(); k++) {
      if (set.kinds.begin()[k] == OF_COST) cost += set.sigmas.begin()[k] * noise_of_cost(k, number);
    }
    return cost;
  }

 private:
  void standardise(const float* target) {
    double mean = 0, variance = 0;
    for (int64_t n = 0; n < set.T; n++) mean += target[n] / double(set.T);
    for (int64_t n = 0; n < set.T; n++) variance += (target[n] - mean) * (target[n] - mean);
    for (int64_t n = 0; n < set.T; n++) {
      z[n] = (target[n] - mean) / std::sqrt(variance / double(set.T));
      z_sum += z[n];
      energy += z[n] * z[n] / double(set.T);
    }
  }

  float noise_of_cost(size_t k, uint32_t number) {
    return costs[k].at(number, [&](dither::Words numbers) {
      return dither::normal(dither::bits(fold_in(fold_in(key, numbers), uint32_t(k))));
    });
  }

  // The outputs as they are read: the light, or its square, and noise.
  const float* detected(uint32_t number) {
    const Key now = fold_in(key, number);
    const int64_t T = set.T;
    const float *light = lights.begin, *spread = spreads.begin;
    float* y = outputs.begin;
    for (int64_t n = 0; n < T; n++) y[n] = set.coherent ? light[n] * light[n] : light[n];
    const float* sigma = set.of_states.begin();
    const uint32_t places = uint32_t(set.kinds.size());
    auto state_noise = [&](uint32_t k, auto size) {
      if (sigma[k] != 0) add_noise(y, fold_in(now, places + k), size);
    };
    state_noise(0, [&](int64_t n) { return sigma[0] * light[n]; });
    state_noise(1, [&](int64_t n) { return sigma[1] * std::sqrt(spread[n]); });
    state_noise(2, [&](int64_t) { return sigma[2] * std::sqrt(sum_w2); });
    state_noise(3, [&](int64_t) { return sigma[3] * sum_w; });
    for (size_t k = 0; k < set.kinds.size(); k++) {
      int64_t kind = set.kinds.begin()[k];
      float size = set.sigmas.begin()[k];
      if (kind == OF_COST || size == 0) continue;
      if (kind == RELATIVE) {
        Sums sums = summed(y, z.data(), padded);
        double mean = sums.y / double(T);
        size *= float(std::sqrt(std::max(0.0, sums.squares / double(T) - mean * mean)));
      }
      add_noise(y, fold_in(now, uint32_t(k)), [&](int64_t) { return size; });
    }
    return y;
  }

  template <typename Size>
  void add_noise(float* y, Key from, const Size& size) {
    for (int64_t first = 0; first < set.T; first += LANES) {
      Floats noise = dither::normal(dither::many_bits(from, uint32_t(first)));
      for (int64_t lane = 0; lane < std::min<int64_t>(LANES, set.T - first); lane++)
        y[first + lane] += size(first + lane) * noise[lane];
    }
  }

  const Setting& set;
  const Key key;
  const float* columns;
  float* weights;
  int64_t padded;
  Aligned lights, outputs, spreads;
  std::vector<double> z;
  std::vector<dither::Ahead<Floats>> costs;
  double z_sum = 0, energy = 0;
  float sum_w = 0, sum_w2 = 0;
  bool has_squares;
};

// The state of the rule that is neither weights nor memory, in the order of its arrays.
struct Whole {
  int32_t undo, kept, falls, tests;
};
struct Real {
  float error, first, undo, mean, spread, cost;
};

bool decided(const Setting& set, const Whole& whole, const Real& real) {
  if (set.decision != SIGNIFICANT) return true;
  float count = float(whole.falls);
  float variance = real.spread / std::max(count - 1, 1.0f) / count;
  bool clear = whole.falls >= 2 && std::abs(real.mean) > set.significance * std::sqrt(variance);
  return whole.falls >= set.repeats || clear;
}

template <typename Selection>
void run(const Setting& set, Selection& selection, Key key, Bench& bench, float* theta,
         Whole& whole, Real& real, uint32_t tick, uint32_t measured, int64_t measurements) {
  constexpr uint32_t AHEAD = 6;  // tests, for which columns come from memory
  const int32_t none = int32_t(set.N);
  int32_t place = 0;
  float value = 0;
  auto next = [&] {
    uint32_t test = uint32_t(whole.tests);
    place = selection.choose(test);
    const uint32_t levels = uint32_t(set.levels), level = uint32_t(theta[place] - set.low + 0.5f);
    uint32_t others = levels == 2 ? 0 : dither::randint(fold_in(fold_in(key, test), 3), levels - 1);
    value = set.low + float((level + 1 + others) % levels);
    bench.fetch(selection.soon(test + AHEAD));
  };
  next();
  for (; measurements > 0; measurements--, tick++, measured++) {
    bool refers = (set.decision == KEEP ? tick : tick % 2) == 0;
    int32_t here = refers ? none : place;
    bench.write({whole.undo == here ? none : whole.undo, here}, {real.undo, value});
    float cost = bench.measure(measured);
    real.cost += cost;
    if (tick == 0 && whole.tests == 0) real.first = cost;
    whole.undo = here;
    real.undo = refers ? 0.0f : theta[place];
    whole.kept = false;
    if (refers) {
      real.error = cost;
      continue;
    }
    float fall = real.error - cost, off = fall - real.mean;
    whole.falls += 1;
    real.mean += off / float(whole.falls);
    real.spread += off * (fall - real.mean);
    if (!decided(set, whole, real)) continue;
    bool kept = real.mean > 0;
    selection.learn(uint32_t(whole.tests), place, real.mean, kept);
    if (kept) {
      theta[place] = value;
      real.error -= real.mean;
      whole.undo = none;
      whole.kept = true;
    }
    whole.falls = 0;
    real.mean = real.spread = 0;
    whole.tests++;
    next();
  }
}

using Reals = ffi::Buffer<ffi::F32>;
using Wholes = ffi::Buffer<ffi::S32>;
using Keys = ffi::Buffer<ffi::U32>;
using RealsAfter = ffi::Result<Reals>;
using WholesAfter = ffi::Result<Wholes>;

ffi::Error flips(ffi::ThreadPool pool, Wholes whole, Reals real, Reals theta, Wholes memory,
                 Reals weights, Reals light, Reals squares, Wholes clock, Wholes measured,
                 Keys rule_key, Keys device_key, Wholes n, Reals columns, Reals target,
                 WholesAfter whole_after, RealsAfter real_after, RealsAfter theta_after,
                 WholesAfter memory_after, RealsAfter weights_after, RealsAfter light_after,
                 RealsAfter squares_after, int64_t selection, int64_t decision, int64_t repeats,
                 float significance, float low, int64_t levels, bool coherent,
                 ffi::Span<const int64_t> kinds, ffi::Span<const float> sigmas,
                 ffi::Span<const float> of_states) {
  const int64_t R = theta.dimensions()[0], N = theta.dimensions()[1], T = light.dimensions()[1];
  const Setting set{N, T, decision, repeats, levels, significance, low, coherent,
                    kinds, sigmas, of_states};
  auto copied = [](auto& from, auto& to) {
    std::memcpy(to->untyped_data(), from.untyped_data(), from.size_bytes());
  };
  copied(whole, whole_after);
  copied(real, real_after);
  copied(theta, theta_after);
  copied(memory, memory_after);
  copied(weights, weights_after);
  copied(light, light_after);
  copied(squares, squares_after);
  const int64_t measurements = n.typed_data()[0];
  if (measurements <= 0) return ffi::Error::Success();
  const int64_t held = memory.dimensions()[1], spread = squares.dimensions()[1];
  dither::parallel(pool, R, [&](int64_t r) {
    auto of = [&](auto& array, int64_t size) { return array->typed_data() + r * size; };
    const uint32_t *k = rule_key.typed_data() + 2 * r, *d = device_key.typed_data() + 2 * r;
    const Key key{k[0], k[1]};
    float* squares_now = spread ? of(squares_after, spread) : nullptr;
    Bench bench(set, Key{d[0], d[1]}, columns.typed_data() + r * N * T, target.typed_data(),
                of(weights_after, N), of(light_after, T), squares_now);
    auto all = [&](auto chosen) {
      run(set, chosen, key, bench, of(theta_after, N),
          *reinterpret_cast<Whole*>(of(whole_after, 4)), *reinterpret_cast<Real*>(of(real_after, 6)),
          uint32_t(clock.typed_data()[0]), uint32_t(measured.typed_data()[r]), measurements);
    };
    int32_t* remembered = of(memory_after, held);
    if (selection == 0) all(dither::Uniform(key, int32_t(N), remembered));
    if (selection == 1) all(dither::Cyclic(key, int32_t(N), remembered));
    if (selection == 2) all(dither::Greedy(key, int32_t(N), remembered));
    bench.finish(of(light_after, T), squares_now);
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    Flips, flips,
    ffi::Ffi::Bind()
        .Ctx<ffi::ThreadPool>()
        .Arg<Wholes>()  // place to undo, kept, falls measured, tests [R, 4]
        .Arg<Reals>()   // error, first, value to undo, mean and spread of falls, costs [R, 6]
        .Arg<Reals>()   // theta [R, N]
        .Arg<Wholes>()  // memory of the selection
        .Arg<Reals>()   // weights [R, N]
        .Arg<Reals>()   // light [R, T]
        .Arg<Reals>()   // squares [R, T], or [R, 0]
        .Arg<Wholes>()  // tick
        .Arg<Wholes>()  // measured [R]
        .Arg<Keys>()    // key of the rule [R, 2]
        .Arg<Keys>()    // key of the device's noise [R, 2]
        .Arg<Wholes>()  // n
        .Arg<Reals>()   // columns [R, N, T]
        .Arg<Reals>()   // target [T]
        .Ret<Wholes>()
        .Ret<Reals>()
        .Ret<Reals>()
        .Ret<Wholes>()
        .Ret<Reals>()
        .Ret<Reals>()
        .Ret<Reals>()
        .Attr<int64_t>("selection")
        .Attr<int64_t>("decision")
        .Attr<int64_t>("repeats")
        .Attr<float>("significance")
        .Attr<float>("low")
        .Attr<int64_t>("levels")
        .Attr<bool>("coherent")
        .Attr<ffi::Span<const int64_t>>("kinds")
        .Attr<ffi::Span<const float>>("sigmas")
        .Attr<ffi::Span<const float>>("of_states"));
