// Vectors of float32, and what float32 and bfloat16 differ in.
//
// Written in the vector extension of GCC and Clang: one source for every CPU. VECTOR is how many float32 an instruction
// takes; ROWS x 2 vectors of sums leave enough registers for what is multiplied.

#pragma once
#include <algorithm>
#include <new>
#include <cstdint>
#include <cstring>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
constexpr int64_t VECTOR = 16, ROWS = 8;
#elif defined(__AVX__)
constexpr int64_t VECTOR = 8, ROWS = 6;
#elif defined(__aarch64__)
constexpr int64_t VECTOR = 4, ROWS = 8;
#else
constexpr int64_t VECTOR = 4, ROWS = 6;
#endif
constexpr int64_t COLUMNS = 2 * VECTOR;
constexpr int64_t LINE = 64;  // bytes of a line of the cache

typedef float floats __attribute__((vector_size(VECTOR * 4)));
typedef uint32_t words __attribute__((vector_size(VECTOR * 4)));
typedef uint16_t halves __attribute__((vector_size(VECTOR * 2)));

inline int64_t padded(int64_t size) { return (size + COLUMNS - 1) / COLUMNS * COLUMNS; }

template <class Vector>
Vector read(const void* from) {
    Vector values;
    std::memcpy(&values, from, sizeof values);
    return values;
}
template <class Vector>
void write(void* to, Vector values) {
    std::memcpy(to, &values, sizeof values);
}
// No more than `count` numbers; zeros beyond. What is rare is out of the way, where the compiler is done with it sooner.
template <class Vector, class Number>
[[gnu::noinline, gnu::cold]] Vector read_some(const Number* from, int64_t count) {
    Vector values{};
    std::memcpy(&values, from, count * sizeof(Number));
    return values;
}
template <class Vector, class Number>
[[gnu::noinline, gnu::cold]] void write_some(Number* to, Vector values, int64_t count) {
    std::memcpy(to, &values, count * sizeof(Number));
}
template <class Vector, class Number>
Vector read(const Number* from, int64_t count) {
    return count >= VECTOR ? read<Vector>(from) : read_some<Vector>(from, count);
}
template <class Vector, class Number>
void write(Number* to, Vector values, int64_t count) {
    count >= VECTOR ? write(to, values) : write_some(to, values, count);
}

inline words bits(floats values) { return read<words>(&values); }
inline floats from_bits(words values) { return read<floats>(&values); }
inline floats all(float value) { return value - floats{}; }

// DEPTH numbers of a row are multiplied and added up at once, and a function needs TERMS of its series and a quotient
// to be right within the rounding of the number.

struct Float32 {
    using number = float;
    static constexpr int64_t DEPTH = 1, TERMS = 7;
    static floats load(const float* from, int64_t count = VECTOR) { return read<floats>(from, count); }
    static void store(float* to, floats values, int64_t count = VECTOR) { write(to, values, count); }
    static floats add_product(floats sum, const float* row, floats strip) { return sum + *row * strip; }
    static floats quotient(floats a, floats b) { return a / b; }
};

struct BFloat16 {
    using number = uint16_t;
    static constexpr int64_t DEPTH = 2, TERMS = 4;
    static floats load(const uint16_t* from, int64_t count = VECTOR) {
        return from_bits(__builtin_convertvector(read<halves>(from, count), words) << 16);
    }
#ifdef __AVX512BF16__
    static void store(uint16_t* to, floats values, int64_t count = VECTOR) {
        write(to, read<halves>(&(const __m256bh&)_mm512_cvtneps_pbh((__m512)values)), count);
    }
    static floats add_product(floats sum, const uint16_t* row, floats strip) {
        return (floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(read<int32_t>(row)), (__m512bh)strip);
    }
    static floats quotient(floats a, floats b) { return a * (floats)_mm512_rcp14_ps((__m512)b); }
#else
    // To the nearest, halves to the even one; a NaN stays one.
    static void store(uint16_t* to, floats values, int64_t count = VECTOR) {
        const words whole = bits(values);
        const words nearest = (whole + 0x7fff + (whole >> 16 & 1)) >> 16;
        write(to, __builtin_convertvector(values == values ? nearest : (whole >> 16 | 0x40), halves), count);
    }
    static floats add_product(floats sum, const uint16_t* row, floats strip) {
        const uint32_t pair = read<uint32_t>(row);
        const uint32_t even = pair << 16, odd = pair & 0xffff0000u;
        sum += read<float>(&even) * from_bits(bits(strip) << 16);
        return sum + read<float>(&odd) * from_bits(bits(strip) & 0xffff0000u);
    }
    static floats quotient(floats a, floats b) { return a / b; }
#endif
};

// exp(a) = power (1 + m), power = 2^n: a = n ln 2 + r, |r| <= ln(2) / 2, and m = exp(r) - 1 by the first TERMS of its
// Taylor series. |a| at most 87.
template <int64_t TERMS>
void exponential(floats a, floats& power, floats& m) {
    // 1.5 * 2^23 + n: the last bits of the number are those of n.
    const floats shifted = a * 1.44269504f + 12582912.f, n = shifted - 12582912.f;
    floats r = a - n * 0.693359375f;  // ln 2 in two parts, the first one exact
    r = r + n * 2.12194440e-4f;
    constexpr float inverse_factorials[] = {1.f, 1.f / 2, 1.f / 6, 1.f / 24, 1.f / 120, 1.f / 720, 1.f / 5040};
    floats series = all(inverse_factorials[TERMS - 1]);
    for (int64_t term = TERMS - 1; term-- > 0;) series = series * r + inverse_factorials[term];
    m = series * r;
    power = from_bits((bits(shifted) << 23) + 0x3f800000u);
}

// In this order of operands, a NaN stays one.
inline floats within(floats a, float least, float most) {
    a = a > all(most) ? all(most) : a;
    return a < all(least) ? all(least) : a;
}

// tanh(a) = u / (u + 2) with u = exp(2a) - 1 = 2^n m + (2^n - 1). It is 1 beyond 10.
template <class T>
floats tanh(floats a) {
    a = within(a, -10, 10);
    floats power, m;
    exponential<T::TERMS>(a + a, power, m);
    const floats u = power * m + (power - 1);
    return T::quotient(u, u + 2);
}

// s(a) = 1 / (1 + exp(-a))
template <class T>
floats sigmoid(floats a) {
    floats power, m;
    exponential<T::TERMS>(within(-a, -87, 87), power, m);
    return T::quotient(all(1), power * m + (power + 1));
}

// Numbers that begin at a line of the cache, zero at first.
template <class Number>
class Buffer {
public:
    explicit Buffer(int64_t size) : memory(::operator new(size * sizeof(Number), std::align_val_t(LINE))) {
        std::memset(memory, 0, size * sizeof(Number));
    }
    Buffer(const Buffer&) = delete;
    ~Buffer() { ::operator delete(memory, std::align_val_t(LINE)); }
    Number* at(int64_t place) const { return static_cast<Number*>(memory) + place; }

private:
    void* memory;
};

}  // namespace
