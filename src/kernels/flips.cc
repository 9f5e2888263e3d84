// Coordinate descent on a Boolean or ternary readout: see algorithms/coordinate_descent.py and
// devices/readout.py, which say what is computed here. The summed light is the plain form's bit for
// bit; the error is computed in double precision and rounded to single.
#include <cmath>
#include <cstring>
#include <vector>

#if defined(__AVX2__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // of GCC 12 about its own intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#endif

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
typedef double Doubles __attribute__((vector_size(8 * HALF)));
typedef int64_t Longs __attribute__((vector_size(8 * HALF)));

// Double precision of the lower and the upper half of a register.
#if defined(__AVX512F__)
Doubles lower(Floats x) { return _mm512_cvtps_pd(_mm512_castps512_ps256(x)); }
Doubles upper(Floats x) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)); }
#elif defined(__AVX2__)
Doubles lower(Floats x) { return _mm256_cvtps_pd(_mm256_castps256_ps128(x)); }
Doubles upper(Floats x) { return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)); }
#else
Doubles lower(Floats x) { return Doubles{x[0], x[1]}; }
Doubles upper(Floats x) { return Doubles{x[2], x[3]}; }
#endif

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

// Σ y, Σ y² and Σ y z.
class Sums {
 public:
  // Of ROW values: values(n) gives LANES of them from n on.
  template <typename Values>
  void add(const double* z, int64_t row, const Values& values) {
#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
      const Floats floats = values(row + k * LANES);
      add(2 * k, lower(floats), z + row + k * LANES);
      add(2 * k + 1, upper(floats), z + row + k * LANES + HALF);
    }
  }
  double y() const { return total(y_); }
  double squares() const { return total(squares_); }
  double along() const { return total(along_); }

 private:
  void add(int k, Doubles now, const double* z) {
    Doubles target;
    std::memcpy(&target, z, sizeof target);
    y_[k] += now;
    squares_[k] += now * now;
    along_[k] += now * target;
  }

  static double total(const Doubles* part) {
    Doubles all = (part[0] + part[1]) + (part[2] + part[3]);
    Longs lanes{};
    for (int lane = 1; lane < HALF; lane++) lanes[lane] = lane;
#pragma GCC unroll 3
    for (int width = HALF / 2; width > 0; width /= 2) all += __builtin_shuffle(all, lanes ^ width);
    return all[0];
  }
  Doubles y_[4] = {}, squares_[4] = {}, along_[4] = {};
};

Floats at(const float* y) {
  Floats values;
  std::memcpy(&values, y, sizeof values);
  return values;
}

// One bench: its light, and the error that it measures.
class Bench {
 public:
  Bench(const Setting& set, Key key, const float* columns, const float* target, float* weights,
        const float* light, const float* squares)
      : set(set), key(key), columns(columns), weights(weights), padded((set.T + ROW - 1) / ROW * ROW),
        lights(padded), outputs(padded), spreads(squares ? padded : 0), z(padded),
        normals(padded + dither::Block::SIZE), costs(set.kinds.size()),
        has_squares(squares != nullptr), noisy(set.coherent || !set.clean()) {
    std::memcpy(lights.begin, light, 4 * set.T);
    if (squares) std::memcpy(spreads.begin, squares, 4 * set.T);
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

  // Writes two mirrors at once, of which a place of N is none, and measures the error.
  float measure(const int32_t (&places)[2], const float (&values)[2], uint32_t number) {
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
    const float *one = column[0], *two = column[1];
    if (has_squares) {
      float* __restrict squares = spreads.begin;
      for (int64_t n = 0; n < set.T; n++)
        squares[n] += spread[0] * (one[n] * one[n]) + spread[1] * (two[n] * two[n]);
    }
    return read(moved(one, change[0], two, change[1]), number);
  }

 private:
  // The light after two columns were added, and its sums.
  Sums moved(const float* one, float a, const float* two, float b) {
    Sums sums;
    float* __restrict light = lights.begin;
    const int64_t T = set.T;
    auto move = [=](int64_t n) {
      Floats now = at(light + n) + (a * at(one + n) + b * at(two + n));
      std::memcpy(light + n, &now, sizeof now);
      return now;
    };
    int64_t row = 0, n = 0;
    for (; row + ROW <= T; row += ROW) sums.add(z.data(), row, move);
    if (row == T) return sums;
    for (n = row; n + LANES <= T; n += LANES) move(n);
    for (; n < T; n++) light[n] += a * one[n] + b * two[n];
    sums.add(z.data(), row, [=](int64_t n) { return at(light + n); });
    return sums;
  }

  Sums summed(const float* y) const {
    Sums sums;
    for (int64_t row = 0; row < padded; row += ROW)
      sums.add(z.data(), row, [=](int64_t n) { return at(y + n); });
    return sums;
  }

  double variance(const Sums& sums) const {
    double mean = sums.y() / double(set.T);
    return sums.squares() / double(set.T) - mean * mean;
  }

  float read(Sums sums, uint32_t number) {
    const float* y = lights.begin;
    if (noisy) sums = summed(y = detected(number));
    const double spread = variance(sums), rounding = 4 * 1.1920929e-07 * std::abs(double(y[0]));
    float cost = float(energy);  // of a constant output
    if (spread > rounding * rounding) {
      double product = (sums.along() - sums.y() / double(set.T) * z_sum) / std::sqrt(spread);
      cost = float(1 + energy - 2 * product / double(set.T));
    }
    for (size_t k = 0; k < set.kinds.size(); k++) {
      if (set.kinds.begin()[k] == OF_COST) cost += set.sigmas.begin()[k] * noise_of_cost(k, number);
    }
    return cost;
  }

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
    auto add = [&](uint32_t number, auto size) {
      float* noise = normals.data();
      dither::normal(fold_in(now, number), noise, T);
      for (int64_t n = 0; n < T; n++) y[n] += size(n) * noise[n];
    };
    if (sigma[0] != 0) add(places, [=](int64_t n) { return sigma[0] * light[n]; });
    if (sigma[1] != 0) add(places + 1, [=](int64_t n) { return sigma[1] * std::sqrt(spread[n]); });
    const float of_each = sigma[2] * std::sqrt(sum_w2), of_all = sigma[3] * sum_w;
    if (sigma[2] != 0) add(places + 2, [=](int64_t) { return of_each; });
    if (sigma[3] != 0) add(places + 3, [=](int64_t) { return of_all; });
    for (uint32_t k = 0; k < places; k++) {
      int64_t kind = set.kinds.begin()[k];
      float size = set.sigmas.begin()[k];
      if (kind == OF_COST || size == 0) continue;
      if (kind == RELATIVE) size *= float(std::sqrt(std::max(0.0, variance(summed(y)))));
      add(k, [=](int64_t) { return size; });
    }
    return y;
  }

  const Setting& set;
  const Key key;
  const float* columns;
  float* weights;
  int64_t padded;
  Aligned lights, outputs, spreads;
  std::vector<double> z;
  std::vector<float> normals;
  std::vector<dither::Ahead<float>> costs;
  double z_sum = 0, energy = 0;
  float sum_w = 0, sum_w2 = 0;
  bool has_squares, noisy;
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
  constexpr int32_t AHEAD = 6;                    // tests, for which columns come from memory
  const bool large = set.N * set.T > (1 << 21);  // where columns are too many for a cache
  const int32_t none = int32_t(set.N);
  int32_t place = 0;
  float value = 0;
  auto next = [&] {
    uint32_t test = uint32_t(whole.tests);
    place = selection.choose(test);
    const uint32_t levels = uint32_t(set.levels), level = uint32_t(theta[place] - set.low + 0.5f);
    uint32_t others = levels == 2 ? 0 : dither::randint(fold_in(fold_in(key, test), 3), levels - 1);
    value = set.low + float((level + 1 + others) % levels);
    if (large) bench.fetch(selection.soon(test, AHEAD));
  };
  next();
  for (; measurements > 0; measurements--, tick++, measured++) {
    bool refers = (set.decision == KEEP ? tick : tick % 2) == 0;
    int32_t here = refers ? none : place;
    const int32_t undo = whole.undo == here ? none : whole.undo;
    float cost = bench.measure({undo, here}, {real.undo, value}, measured);
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
    real.mean += whole.falls == 1 ? off : off / float(whole.falls);
    real.spread += off * (fall - real.mean);
    if (!decided(set, whole, real)) continue;
    bool kept = real.mean > 0;
    selection.learn(place, real.mean, kept);
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
  if (selection > 3) {
    return ffi::Error::InvalidArgument("the kernels are older than dither: install it again");
  }
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
    if (selection == 3) all(dither::Priority(key, int32_t(N), remembered));
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
