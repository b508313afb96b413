// The AVX-512 instructions that native.cpp uses, number by number in plain C++: a directory that stands before the
// compiler's own in its search path lets the tests run the same source on any CPU. Semantics: Intel's Intrinsics Guide.

#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

using __mmask16 = uint16_t;
struct __m512 { float n[16]; };
struct __m512i { uint32_t n[16]; };
struct __m512bh {
    uint32_t n[16];
    explicit __m512bh(const __m512i& from) { std::memcpy(n, from.n, sizeof n); }
};
struct __m256i { uint16_t n[16]; };
struct __m256bh {
    uint16_t n[16];
    explicit operator __m256i() const { __m256i to; std::memcpy(to.n, n, sizeof n); return to; }
};

#define EACH for (int i = 0; i < 16; ++i)

namespace emulated {
inline bool on(__mmask16 mask, int i) { return mask >> i & 1; }
inline float as_float(uint32_t bits) { float f; std::memcpy(&f, &bits, sizeof f); return f; }
inline uint32_t as_bits(float f) { uint32_t bits; std::memcpy(&bits, &f, sizeof bits); return bits; }
// To the nearest bfloat16, halves to the even one; denormals are zero and a NaN stays one, as VCVTNEPS2BF16 has it.
inline uint16_t rounded(float f) {
    if (std::isnan(f)) return static_cast<uint16_t>(as_bits(f) >> 16 | 0x40);
    if (std::fabs(f) < std::numeric_limits<float>::min()) f = std::copysign(0.f, f);
    const uint32_t bits = as_bits(f);
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
template <class F> __m512 made(F f) { __m512 r; EACH r.n[i] = f(i); return r; }
template <class F> __m512i whole(F f) { __m512i r; EACH r.n[i] = f(i); return r; }
template <class F> float folded(__m512 a, F f) {
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; ++i) a.n[i] = f(a.n[i], a.n[i + width]);
    return a.n[0];
}
// MINPS and MAXPS: the second operand where either is a NaN.
inline float least(float a, float b) { return a < b ? a : b; }
inline float most(float a, float b) { return a > b ? a : b; }
}  // namespace emulated

inline __m512 _mm512_set1_ps(float a) { return emulated::made([&](int) { return a; }); }
inline __m512 _mm512_setzero_ps() { return _mm512_set1_ps(0); }
inline __m512 _mm512_loadu_ps(const void* from) { __m512 r; std::memcpy(r.n, from, sizeof r.n); return r; }
inline __m512 _mm512_mask_loadu_ps(__m512 other, __mmask16 mask, const void* from) {
    const float* p = static_cast<const float*>(from);
    return emulated::made([&](int i) { return emulated::on(mask, i) ? p[i] : other.n[i]; });
}
inline __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const void* from) {
    return _mm512_mask_loadu_ps(_mm512_setzero_ps(), mask, from);
}
inline void _mm512_storeu_ps(void* to, __m512 a) { std::memcpy(to, a.n, sizeof a.n); }
inline void _mm512_mask_storeu_ps(void* to, __mmask16 mask, __m512 a) {
    EACH if (emulated::on(mask, i)) static_cast<float*>(to)[i] = a.n[i];
}
inline __m512 _mm512_add_ps(__m512 a, __m512 b) { return emulated::made([&](int i) { return a.n[i] + b.n[i]; }); }
inline __m512 _mm512_sub_ps(__m512 a, __m512 b) { return emulated::made([&](int i) { return a.n[i] - b.n[i]; }); }
inline __m512 _mm512_mul_ps(__m512 a, __m512 b) { return emulated::made([&](int i) { return a.n[i] * b.n[i]; }); }
inline __m512 _mm512_div_ps(__m512 a, __m512 b) { return emulated::made([&](int i) { return a.n[i] / b.n[i]; }); }
inline __m512 _mm512_min_ps(__m512 a, __m512 b) {
    return emulated::made([&](int i) { return emulated::least(a.n[i], b.n[i]); });
}
inline __m512 _mm512_max_ps(__m512 a, __m512 b) {
    return emulated::made([&](int i) { return emulated::most(a.n[i], b.n[i]); });
}
inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
    return emulated::made([&](int i) { return __builtin_fmaf(a.n[i], b.n[i], c.n[i]); });
}
inline __m512 _mm512_fnmadd_ps(__m512 a, __m512 b, __m512 c) {
    return emulated::made([&](int i) { return __builtin_fmaf(-a.n[i], b.n[i], c.n[i]); });
}
inline __m512 _mm512_rcp14_ps(__m512 a) {  // at most 2^-14 off: here as far off as it may be
    return emulated::made([&](int i) { return 1 / a.n[i] * (1 + 1 / 32768.f); });
}
inline __m512 _mm512_roundscale_ps(__m512 a, int) {
    return emulated::made([&](int i) { return std::nearbyint(a.n[i]); });
}
inline __m512 _mm512_scalef_ps(__m512 a, __m512 b) {  // a * 2^floor(b)
    return emulated::made([&](int i) { return a.n[i] * std::exp2(std::floor(b.n[i])); });
}
inline __m512 _mm512_maskz_scalef_ps(__mmask16 mask, __m512 a, __m512 b) {
    const __m512 r = _mm512_scalef_ps(a, b);
    return emulated::made([&](int i) { return emulated::on(mask, i) ? r.n[i] : 0; });
}
inline float _mm512_reduce_add_ps(__m512 a) { return emulated::folded(a, [](float x, float y) { return x + y; }); }
inline float _mm512_reduce_max_ps(__m512 a) { return emulated::folded(a, emulated::most); }

inline __m512i _mm512_setzero_si512() { return emulated::whole([](int) { return 0u; }); }
inline __m512i _mm512_set1_epi32(int32_t a) {
    return emulated::whole([&](int) { return static_cast<uint32_t>(a); });
}
inline __m512i _mm512_loadu_si512(const void* from) { __m512i r; std::memcpy(r.n, from, sizeof r.n); return r; }
inline void _mm512_storeu_si512(void* to, __m512i a) { std::memcpy(to, a.n, sizeof a.n); }
inline __m512i _mm512_or_si512(__m512i a, __m512i b) { return emulated::whole([&](int i) { return a.n[i] | b.n[i]; }); }
inline __m512i _mm512_slli_epi32(__m512i a, int count) {
    return emulated::whole([&](int i) { return a.n[i] << count; });
}
inline __m512 _mm512_castsi512_ps(__m512i a) {
    return emulated::made([&](int i) { return emulated::as_float(a.n[i]); });
}
inline __m256i _mm256_maskz_loadu_epi16(__mmask16 mask, const void* from) {
    __m256i r;
    EACH r.n[i] = emulated::on(mask, i) ? static_cast<const uint16_t*>(from)[i] : 0;
    return r;
}
inline void _mm256_mask_storeu_epi16(void* to, __mmask16 mask, __m256i a) {
    EACH if (emulated::on(mask, i)) static_cast<uint16_t*>(to)[i] = a.n[i];
}
inline __m512i _mm512_cvtepu16_epi32(__m256i a) {
    return emulated::whole([&](int i) { return static_cast<uint32_t>(a.n[i]); });
}
inline __m256bh _mm512_cvtneps_pbh(__m512 a) {
    __m256bh r;
    EACH r.n[i] = emulated::rounded(a.n[i]);
    return r;
}
// The odd products first, then the even ones, as VDPBF16PS adds them.
inline __m512 _mm512_dpbf16_ps(__m512 sum, __m512bh a, __m512bh b) {
    return emulated::made([&](int i) {
        const auto high = [](uint32_t pair) { return emulated::as_float(pair & 0xffff0000u); };
        const auto low = [](uint32_t pair) { return emulated::as_float(pair << 16); };
        const float odd = __builtin_fmaf(high(a.n[i]), high(b.n[i]), sum.n[i]);
        return __builtin_fmaf(low(a.n[i]), low(b.n[i]), odd);
    });
}

#undef EACH
