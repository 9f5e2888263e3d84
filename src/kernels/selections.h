// Which mirror to test next: the selection rules whose loops are compiled.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "threefry.h"

namespace dither {

// What is drawn for every test, LANES tests at once; the present and the next LANES are kept.
template <typename Value>
class Ahead {
 public:
  template <typename Draw>
  Value at(uint32_t test, const Draw& draw) {
    uint32_t first = test & ~uint32_t(LANES - 1), half = test & LANES;
    if (firsts[half / LANES] != first) {
      const auto values = draw(counted(first));
      std::memcpy(drawn + half, &values, sizeof values);
      firsts[half / LANES] = first;
    }
    return drawn[test % (2 * LANES)];
  }

 private:
  Value drawn[2 * LANES];
  uint32_t firsts[2] = {1, 1};  // no multiple of LANES
};

// The two words of an integer drawn for every test: jax.random.randint(fold_in(key, test), ()).
class DrawnIntegers {
 public:
  explicit DrawnIntegers(Key key) : key(key) {}
  int32_t operator()(uint32_t test, const Below& below) {
    auto half = [&](Words tests, uint32_t which) { return bits(split(fold_in(key, tests), which)); };
    return below(uppers.at(test, [&](Words tests) { return half(tests, 0); }),
                 lowers.at(test, [&](Words tests) { return half(tests, 1); }));
  }

 private:
  Key key;
  Ahead<uint32_t> uppers, lowers;
};

// P(i) = 1/N.
class Uniform {
 public:
  Uniform(Key key, int32_t size, int32_t*) : key(key), below(size) {}
  int32_t choose(uint32_t test) {
    return places.at(test, [&](Words tests) {
      const Keys keys = fold_in(key, tests);
      const Words upper = bits(split(keys, 0)), lower = bits(split(keys, 1));
      Integers drawn;
      for (int lane = 0; lane < LANES; lane++) drawn[lane] = below(upper[lane], lower[lane]);
      return drawn;
    });
  }
  int32_t soon(uint32_t test, int32_t ahead) { return choose(test + ahead); }
  void learn(int32_t, float, bool) {}

 private:
  Key key;
  Below below;
  Ahead<int32_t> places;
};

// Every mirror once a sweep: an order, of which the first `done` were tested.
class Cyclic {
 public:
  Cyclic(Key key, int32_t size, int32_t* memory)
      : drawn(key), size(size), order(memory), done(memory[size]) {}
  int32_t choose(uint32_t test) { return order[r = place(test, done)]; }
  int32_t soon(uint32_t test, int32_t ahead) {
    return order[done + ahead < size ? place(test + ahead, done + ahead) : 0];
  }
  void learn(int32_t, float, bool) {
    std::swap(order[done], order[r]);
    done = (done + 1) % size;
  }

 private:
  int32_t place(uint32_t test, int32_t from) { return from + drawn(test, Below(size - from)); }
  DrawnIntegers drawn;
  int32_t size, r = 0;
  int32_t* order;
  int32_t& done;
};

struct Best {
  float value;
  int32_t place;
};

// The largest value, and the first place that has it.
class BestOfLanes {
 public:
  explicit BestOfLanes(float least) : least(least), values(all(least)) {}
  void add(Floats now, Integers at) {
    auto better = now > values;
    values = better ? now : values;
    places = better ? at : places;
  }
  Best of_all() const {
    Best best{least, 0};
    for (int lane = 0; lane < LANES; lane++) {
      bool ahead = values[lane] > best.value ||
                   (values[lane] == best.value && places[lane] < best.place);
      if (ahead) best = {values[lane], places[lane]};
    }
    return best;
  }

 private:
  float least;
  Floats values;
  Integers places{};
};

// argmax of rand(N) · bias. A mirror whose bias is at most a product already found cannot win, so
// that numbers are drawn for mirrors above a threshold only, and for all where none reaches it.
class Greedy {
 public:
  Greedy(Key key, int32_t size, int32_t* memory)
      : key(key), size(size), bias(reinterpret_cast<float*>(memory)), step(float(1.0 / size)),
        places(size + Block::SIZE), biases(size + Block::SIZE) {
    look(0.0f);
  }

  int32_t choose(uint32_t test) {
    Key now = fold_in(key, test);
    Best best = among(now);
    if (best.value <= threshold) {
      threshold = -1.0f;
      look(0.0f);
      best = among(now);
    }
    return best.place;
  }
  int32_t soon(uint32_t, int32_t) { return 0; }  // not known before the biases are

  void learn(int32_t place, float, bool) {
    bias[place] = -step;
    threshold = std::max(0.0f, highest * share());
    look(step);
    bias[place] = 0.0f;
  }

 private:
  // Of N biases spread evenly, the best product lies above in all but 1 of 1 000 tests.
  float share() const { return 1.0f - std::sqrt(14.0f / float(size)); }

  // Adds a step to every bias, and lists those above the threshold.
  void look(float added) {
    int32_t i = 0;
    Floats tops{};
    listed = 0;
    for (; i + LANES <= size; i += LANES) {
      Floats now;
      std::memcpy(&now, bias + i, sizeof now);
      now += added;
      std::memcpy(bias + i, &now, sizeof now);
      tops = now > tops ? now : tops;
      list(now, i);
    }
    float top = 0.0f;
    for (int lane = 0; lane < LANES; lane++) top = std::max(top, tops[lane]);
    for (; i < size; i++) {
      float now = bias[i] += added;
      top = std::max(top, now);
      list(now, i);
    }
    highest = top;
    std::fill_n(places.begin() + listed, Block::SIZE, 0);
    std::fill_n(biases.begin() + listed, Block::SIZE, -1.0f);
  }

  void list(float now, int32_t place) {
    biases[listed] = now;
    places[listed] = place;
    listed += now > threshold;
  }

  void list(Floats now, int32_t first) {
#if defined(__AVX512F__)
    __mmask16 above = _mm512_cmp_ps_mask(__m512(now), _mm512_set1_ps(threshold), _CMP_GT_OQ);
    Floats chosen = Floats(_mm512_maskz_compress_ps(above, __m512(now)));
    Words at = Words(_mm512_maskz_compress_epi32(above, __m512i(counted(first))));
    std::memcpy(biases.data() + listed, &chosen, sizeof chosen);
    std::memcpy(places.data() + listed, &at, sizeof at);
    listed += __builtin_popcount(above);
#else
    for (int lane = 0; lane < LANES; lane++) list(now[lane], first + lane);
#endif
  }

  Best among(Key now) const {
    BestOfLanes best(-2.0f);
    for (int32_t first = 0; first < listed; first += Block::SIZE) {
      Block at;
      std::memcpy(&at, places.data() + first, sizeof at);
      const Block words = many_bits(now, at);
      for (int k = 0; k < 4; k++) {
        Floats b;
        std::memcpy(&b, biases.data() + first + k * LANES, sizeof b);
        best.add(uniform(words.part[k]) * b, cast<Integers>(at.part[k]));
      }
    }
    return best.of_all();
  }

  Key key;
  int32_t size;
  float* bias;
  float step, threshold = -1.0f, highest = 0.0f;
  int32_t listed = 0;
  std::vector<uint32_t> places;
  std::vector<float> biases;
};

// argmax of falls + kappa √moved n with normal n, among the mirrors not yet tested while there are
// any, then among those that have moved; where none has, the mirror that has waited longest.
class Priority {
 public:
  Priority(Key key, int32_t size, int32_t* memory)
      : key(key), size(size), falls(reinterpret_cast<float*>(memory)), moved(falls + size),
        waited(memory + 2 * size), tested(memory + 3 * size), sums(falls + 4 * size),
        untested(int32_t(std::count(tested, tested + size, 0))), samples(size + Block::SIZE) {}

  int32_t choose(uint32_t test) {
    float* n = samples.data();
    normal(fold_in(key, test), n, size);
    const float kappa = std::sqrt(sums[SQUARES] / (sums[MOVES] > 0 ? sums[MOVES] : 1.0f));
    if (untested) {
      for (int32_t i = 0; i < size; i++) n[i] = tested[i] ? NEVER : n[i];
    } else {
      for (int32_t i = 0; i < size; i++) {
        float sample = falls[i] + kappa * std::sqrt(moved[i]) * n[i];
        n[i] = moved[i] > 0 ? sample : NEVER;
      }
    }
    std::fill_n(n + size, LANES, NEVER);
    BestOfLanes best(NEVER);
    for (int32_t i = 0; i < size; i += LANES) {
      Floats now;
      std::memcpy(&now, n + i, sizeof now);
      best.add(now, cast<Integers>(counted(uint32_t(i))));
    }
    const Best found = best.of_all();
    if (found.value > NEVER) return found.place;
    return int32_t(std::max_element(waited, waited + size) - waited);
  }
  int32_t soon(uint32_t, int32_t) { return 0; }  // not known before the falls are

  void learn(int32_t place, float fall, bool kept) {
    if (tested[place] && moved[place] > 0) {
      const float change = fall - falls[place];
      sums[SQUARES] += change * change;
      sums[MOVES] += moved[place];
    }
    const float move = kept ? std::abs(fall) : 0.0f;
    for (int32_t i = 0; i < size; i++) {
      moved[i] += move;
      waited[i] += 1;
    }
    untested -= !tested[place];
    falls[place] = kept ? -fall : fall;
    moved[place] = 0.0f;
    waited[place] = 0;
    tested[place] = 1;
  }

 private:
  enum Sum { SQUARES, MOVES };
  static constexpr float NEVER = -std::numeric_limits<float>::infinity();
  Key key;
  int32_t size;
  float *falls, *moved;
  int32_t *waited, *tested;
  float* sums;
  int32_t untested;
  std::vector<float> samples;
};

}  // namespace dither
