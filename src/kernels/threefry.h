// JAX's random numbers: Threefry-2x32 (Salmon2011), and what jax.random draws from its words.
// Words, integers and uniform numbers are JAX's bit for bit; normal ones agree to 3e-7 of their size.
#pragma once

#include <cstdint>
#include <cstring>

#pragma GCC diagnostic ignored "-Wpsabi"

namespace dither {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

// Numbers side by side in one register.
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));
typedef float Floats __attribute__((vector_size(4 * LANES)));

template <typename To, typename From>
inline To cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline Words counted(uint32_t first) {  // first, first + 1, …
  Words lane{};
  for (int n = 1; n < LANES; n++) lane[n] = n;
  return lane + first;
}

inline Floats all(float x) { return x - Floats{}; }

template <typename Word>
struct Pair {
  Word a, b;
};
using Key = Pair<uint32_t>;
using Keys = Pair<Words>;

// Two words of a counter, hashed with a key; or of LANES counters, with one key or LANES of them.
template <typename Word, typename Of>
inline Pair<Word> threefry(Pair<Of> key, Word x0, Word x1) {
  constexpr int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  const Of schedule[3] = {key.a, key.b, key.a ^ key.b ^ 0x1BD11BDAu};
  x0 += schedule[0];
  x1 += schedule[1];
#pragma GCC unroll 5
  for (int step = 0; step < 5; step++) {
#pragma GCC unroll 4
    for (int r : rotations[step % 2]) {
      x0 += x1;
      x1 = ((x1 << r) | (x1 >> (32 - r))) ^ x0;
    }
    x0 += schedule[(step + 1) % 3];
    x1 += schedule[(step + 2) % 3] + uint32_t(step + 1);
  }
  return {x0, x1};
}

// jax.random.fold_in(key, data).
inline Key fold_in(Key key, uint32_t data) { return threefry<uint32_t>(key, 0, data); }
inline Keys fold_in(Key key, Words data) { return threefry<Words>(key, Words{}, data); }
inline Keys fold_in(Keys keys, uint32_t data) {
  return threefry<Words>(keys, Words{}, Words{} + data);
}

// jax.random.split(key, ...)[place].
template <typename Of>
inline Pair<Of> split(Pair<Of> key, uint32_t place) {
  return fold_in(key, place);
}

// jax.random.bits(key, shape).ravel()[place], and of LANES places from `place` on.
inline uint32_t bits(Key key, uint32_t place = 0) {
  auto pair = threefry<uint32_t>(key, 0, place);
  return pair.a ^ pair.b;
}
inline Words many_bits(Key key, Words places) {
  auto pair = fold_in(key, places);
  return pair.a ^ pair.b;
}
inline Words many_bits(Key key, uint32_t place) { return many_bits(key, counted(place)); }

// Four registers of words: hashed side by side they take two thirds of the time.
struct Block {
  static constexpr int SIZE = 4 * LANES;
  Words part[4];

#define EACH(expression) \
  for (int k = 0; k < 4; k++) expression; \
  return *this
  Block& operator+=(uint32_t x) { EACH(part[k] += x); }
  Block& operator+=(const Block& x) { EACH(part[k] += x.part[k]); }
  Block& operator^=(const Block& x) { EACH(part[k] ^= x.part[k]); }
  Block& operator|=(const Block& x) { EACH(part[k] |= x.part[k]); }
  Block& operator<<=(int r) { EACH(part[k] <<= r); }
  Block& operator>>=(int r) { EACH(part[k] >>= r); }
#undef EACH
  friend Block operator^(Block x, const Block& y) { return x ^= y; }
  friend Block operator|(Block x, const Block& y) { return x |= y; }
  friend Block operator<<(Block x, int r) { return x <<= r; }
  friend Block operator>>(Block x, int r) { return x >>= r; }
};
inline Block many_bits(Key key, const Block& places) {
  auto pair = threefry<Block>(key, Block{}, places);
  return pair.a ^ pair.b;
}

// jax.random.bits(key) of every key.
inline Words bits(Keys keys) {
  auto pair = fold_in(keys, 0u);
  return pair.a ^ pair.b;
}

// jax.random.uniform in [0, 1) of bits.
inline float uniform(uint32_t bits) { return cast<float>((bits >> 9) | 0x3F800000u) - 1.0f; }
inline Floats uniform(Words bits) { return cast<Floats>((bits >> 9) | 0x3F800000u) - 1.0f; }

// The rest of a division by a number that is known before (Lemire, Kaser and Kurz, 2019).
struct Modulo {
  uint32_t divisor;
  uint64_t inverse;
  explicit Modulo(uint32_t divisor) : divisor(divisor), inverse(~uint64_t(0) / divisor + 1) {}
  uint32_t operator()(uint32_t x) const {
    return uint32_t((unsigned __int128)(inverse * x) * divisor >> 64);
  }
};

// An integer from 0 to `high` exclusive, as jax.random.randint makes it of two words.
struct Below {
  Modulo rest;
  uint32_t multiplier;
  explicit Below(uint32_t high) : rest(high), multiplier(rest(rest(65536u) * rest(65536u))) {}
  int32_t operator()(uint32_t upper, uint32_t lower) const {
    return int32_t(rest(rest(upper) * multiplier + rest(lower)));
  }
};

// jax.random.randint(key, (), 0, high), of 32 bits.
inline int32_t randint(Key key, uint32_t high) {
  return Below(high)(bits(split(key, 0)), bits(split(key, 1)));
}

// jax.random.randint(key, (size,), 0, high), of 32 bits.
inline void randint(Key key, uint32_t high, int32_t* drawn, int64_t size) {
  const Below below(high);
  const Key of_upper = split(key, 0), of_lower = split(key, 1);
  for (int64_t first = 0; first < size; first += LANES) {
    Words upper = many_bits(of_upper, uint32_t(first)), lower = many_bits(of_lower, uint32_t(first));
    for (int lane = 0; lane < LANES && first + lane < size; lane++) {
      drawn[first + lane] = below(upper[lane], lower[lane]);
    }
  }
}

template <int terms>
inline Floats polynomial(Floats x, const float (&coefficients)[terms]) {
  Floats p = all(coefficients[0]);
#pragma GCC unroll 16
  for (int k = 1; k < terms; k++) p = p * x + coefficients[k];
  return p;
}

// log x of positive normal numbers, to single precision (the polynomial of Cephes).
inline Floats log(Floats x) {
  Integers raw = cast<Integers>(x) - 0x3F3504F3;  // mantissas from √½ to √2
  Integers exponent = raw >> 23;
  Floats m = cast<Floats>((raw & 0x007FFFFF) + 0x3F3504F3) - 1.0f;
  Floats e = __builtin_convertvector(exponent, Floats), square = m * m;
  constexpr float series[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                              -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                              2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
  Floats cubic = polynomial(m, series) * m * square;
  return m + (cubic + e * -2.12194440e-4f - 0.5f * square) + e * 0.693359375f;
}

inline Floats sqrt(Floats x) {
  for (int lane = 0; lane < LANES; lane++) x[lane] = __builtin_sqrtf(x[lane]);
  return x;
}

// Keeps a product from being fused with the sum after it, as XLA does not fuse them here.
inline void rounded(Floats& x) {
#if defined(__aarch64__)
  asm("" : "+w"(x));
#else
  asm("" : "+x"(x));
#endif
}

// jax.random.normal of bits: √2 erf⁻¹(u), by the two polynomials of Giles (2012) that XLA takes.
inline Floats normal(Words bits) {
  constexpr float centre[] = {2.81022636e-08f,  3.43273939e-07f, -3.5233877e-06f,
                              -4.39150654e-06f, 0.00021858087f,  -0.00125372503f,
                              -0.00417768164f,  0.246640727f,    1.50140941f};
  constexpr float tail[] = {-0.000200214257f, 0.000100950558f, 0.00134934322f,
                            -0.00367342844f,  0.00573950773f,  -0.0076224613f,
                            0.00943887047f,   1.00167406f,     2.83297682f};
  Floats u = uniform(bits) * 2.0f - 0.99999994f;
  Floats square = u * u;
  rounded(square);
  Floats w = -log(1.0f - square);
  Floats p = polynomial(w - 2.5f, centre);
  const auto far = w >= 5.0f;
  uint64_t several[sizeof far / 8], any = 0;
  std::memcpy(several, &far, sizeof far);
  for (uint64_t two : several) any |= two;
  if (any) p = far ? polynomial(sqrt(w) - 3.0f, tail) : p;  // of 1 number in 300
  return 1.41421354f * (p * u);
}
inline float normal(uint32_t bits) { return normal(Words{} + bits)[0]; }

// jax.random.normal(key, (size,)); there is room for whole blocks.
inline void normal(Key key, float* drawn, int64_t size) {
  for (int64_t first = 0; first < size; first += Block::SIZE) {
    Block places;
    for (int k = 0; k < 4; k++) places.part[k] = counted(uint32_t(first + k * LANES));
    const Block words = many_bits(key, places);
    for (int k = 0; k < 4; k++) {
      const Floats numbers = normal(words.part[k]);
      std::memcpy(drawn + first + k * LANES, &numbers, sizeof numbers);
    }
  }
}

}  // namespace dither
