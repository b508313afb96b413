// The recurrence for CPUs with AVX-512: h_t = tanh(x_t + h_{t-1} W_h^T), and its backward pass (fused.py derives it).
//
// A row of the batch never needs another row, so each thread takes its rows through all of time on its own: there is
// nothing to wait for between one step and the next. W_h is packed once per call, in panels of COLUMNS columns; a tile
// of up to ROWS x COLUMNS sums stays in registers, starts as x_t (or as the gradient from above) and leaves as h_t (or
// da_t). Built and called by native.py.

#include <immintrin.h>
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

constexpr int64_t ROWS = 8, VECTOR = 16, COLUMNS = 2 * VECTOR;

int64_t padded(int64_t size) { return (size + COLUMNS - 1) / COLUMNS * COLUMNS; }

__mmask16 first(int64_t count) {
    return count >= VECTOR ? 0xffff : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

// What float32 and bfloat16 differ in: DEPTH numbers of a row are multiplied and added up by one instruction.

struct Float32 {
    using number = float;
    static constexpr int64_t DEPTH = 1;
    static __m512 load(const float* from, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, from); }
    static void store(float* to, __m512 values, __mmask16 mask) { _mm512_mask_storeu_ps(to, mask, values); }
    static __m512 add_product(__m512 sum, const float* row, const float* panel) {
        return _mm512_fmadd_ps(_mm512_set1_ps(*row), _mm512_loadu_ps(panel), sum);
    }
};

#ifdef __AVX512BF16__
struct BFloat16 {
    using number = uint16_t;
    static constexpr int64_t DEPTH = 2;
    static __m512 load(const uint16_t* from, __mmask16 mask) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from)), 16));
    }
    static void store(uint16_t* to, __m512 values, __mmask16 mask) {
        _mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh(values));
    }
    static __m512 add_product(__m512 sum, const uint16_t* row, const uint16_t* panel) {
        int32_t pair;
        __builtin_memcpy(&pair, row, sizeof pair);
        return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)_mm512_loadu_si512(panel));
    }
};
#endif

// tanh(a) = u / (u + 2) with u = exp(2a) - 1 = 2^n (exp(r) - 1) + (2^n - 1), 2a = n ln 2 + r, |r| <= ln(2) / 2;
// exp(r) - 1 by its Taylor series to r^7, whose rest is below float32's rounding. tanh is 1 beyond 10.
__m512 tanh(__m512 a) {
    const __m512 one = _mm512_set1_ps(1), two = _mm512_set1_ps(2);
    // In this order of operands, a NaN stays one.
    a = _mm512_max_ps(_mm512_set1_ps(-10), _mm512_min_ps(_mm512_set1_ps(10), a));
    const __m512 twice = _mm512_add_ps(a, a);
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(twice, _mm512_set1_ps(1.44269504f)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), twice);  // ln 2 in two parts, the first one exact
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 series = _mm512_set1_ps(1.f / 5040);
    for (float term : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1.f})
        series = _mm512_fmadd_ps(series, r, _mm512_set1_ps(term));
    const __m512 power = _mm512_scalef_ps(one, n);
    const __m512 u = _mm512_fmadd_ps(power, _mm512_mul_ps(series, r), _mm512_sub_ps(power, one));
    return _mm512_div_ps(u, _mm512_add_ps(u, two));
}

// W [K, J] as [panel][k / DEPTH][COLUMNS][DEPTH], zero beyond K and J; W[k][j] is at k * k_stride + j * j_stride.
template <class T>
std::vector<typename T::number> packed(const typename T::number* W, int64_t K, int64_t J, int64_t k_stride,
                                       int64_t j_stride, int64_t threads) {
    std::vector<typename T::number> panels(padded(K) * padded(J));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t begin = 0; begin < J; begin += COLUMNS)
        for (int64_t k = 0; k < K; ++k) {
            auto* to = &panels[begin * padded(K) + k / T::DEPTH * COLUMNS * T::DEPTH + k % T::DEPTH];
            for (int64_t j = begin; j < std::min(begin + COLUMNS, J); ++j, to += T::DEPTH)
                *to = W[k * k_stride + j * j_stride];
        }
    return panels;
}

// tile[M][2] += rows [M, H] x panel [H, COLUMNS]
template <class T, int64_t M>
void add_product(__m512 (&tile)[M][2], const typename T::number* rows, int64_t stride,
                 const typename T::number* panel, int64_t H) {
    for (int64_t k = 0; k < H; k += T::DEPTH, panel += COLUMNS * T::DEPTH)
        for (int64_t row = 0; row < M; ++row)
            for (int64_t half = 0; half < 2; ++half)
                tile[row][half] = T::add_product(tile[row][half], rows + row * stride + k,
                                                 panel + half * VECTOR * T::DEPTH);
}

// Calls `act` with the number of rows as a compile-time constant.
template <int64_t M, class Act>
void with_rows(int64_t rows, Act act) {
    if (rows == M)
        act(std::integral_constant<int64_t, M>());
    else if constexpr (M > 1)
        with_rows<M - 1>(rows, act);
}

// One step of time for the rows [begin, end): to = finish(from + before W), [B, H] each. `before` and `now` are this
// thread's copies of the rows of the step before (null: there is none) and of this one, padded so that full vectors fit.
template <class T, int64_t M, class Finish>
void tile_step(const typename T::number* from, typename T::number* to, const typename T::number* before,
               typename T::number* now, const typename T::number* panel, int64_t j, int64_t H, int64_t stride,
               Finish finish) {
    __m512 tile[M][2];
    const __mmask16 masks[2] = {first(H - j), first(H - j - VECTOR)};
    for (int64_t row = 0; row < M; ++row)
        for (int64_t half = 0; half < 2; ++half)
            tile[row][half] = T::load(from + row * H + j + half * VECTOR, masks[half]);
    if (before) add_product<T, M>(tile, before, stride, panel, H);
    for (int64_t row = 0; row < M; ++row)
        for (int64_t half = 0; half < 2; ++half) {
            const int64_t column = j + half * VECTOR;
            const __m512 result = finish(tile[row][half], row * H + column, masks[half]);
            T::store(to + row * H + column, result, masks[half]);
            T::store(now + row * stride + column, result, 0xffff);
        }
}

// All of time, forwards (direction 1) or backwards (-1): to[t] = finish(from[t] + to[t - direction] W).
template <class T, class Finish>
void run(const typename T::number* from, typename T::number* to, const typename T::number* state,
         const std::vector<typename T::number>& panels, int64_t steps, int64_t B, int64_t H, int64_t threads,
         int64_t direction, Finish finish) {
    using number = typename T::number;
    const int64_t stride = padded(H) + VECTOR;  // not a power of two: rows would share their places in the cache
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t thread = 0; thread < threads; ++thread) {
        const int64_t begin = B * thread / threads, end = B * (thread + 1) / threads;
        const int64_t tiles = (end - begin + ROWS - 1) / ROWS, tall = (end - begin + tiles - 1) / tiles;
        std::vector<number> one((end - begin) * stride), other((end - begin) * stride);
        number *before = one.data(), *now = other.data();
        if (state)
            for (int64_t row = begin; row < end; ++row)
                __builtin_memcpy(before + (row - begin) * stride, state + row * H, H * sizeof(number));
        for (int64_t step = 0; step < steps; ++step) {
            const int64_t t = direction > 0 ? step : steps - 1 - step;
            const number* source = step || state ? before : nullptr;
            for (int64_t j = 0; j < H; j += COLUMNS)
                for (int64_t row = begin; row < end; row += tall) {
                    const int64_t at = (t * B + row) * H, own = (row - begin) * stride;
                    const number* panel = panels.data() + j * padded(H);
                    const auto finish_here = [&](__m512 sum, int64_t offset, __mmask16 mask) {
                        return finish(sum, at + offset, mask);
                    };
                    const auto tile = [&](auto rows) {
                        tile_step<T, decltype(rows)::value>(from + at, to + at, source ? source + own : nullptr,
                                                            now + own, panel, j, H, stride, finish_here);
                    };
                    with_rows<ROWS>(std::min(end - row, tall), tile);
                }
            std::swap(before, now);
        }
    }
}

// from [count, size], its columns [begin, begin + COLUMNS) -> to [CHUNK / DEPTH][COLUMNS][DEPTH], zero beyond both.
template <class T, int64_t CHUNK>
void pack_columns(const typename T::number* from, typename T::number* to, int64_t count, int64_t size, int64_t begin) {
    constexpr int64_t D = T::DEPTH;
    if (count == CHUNK && begin + COLUMNS <= size) {
        for (int64_t n = 0; n < CHUNK; n += D)
            for (int64_t column = 0; column < COLUMNS; ++column)
                for (int64_t d = 0; d < D; ++d)
                    to[(n / D * COLUMNS + column) * D + d] = from[(n + d) * size + begin + column];
    } else {
        for (int64_t n = 0; n < CHUNK; ++n)
            for (int64_t column = 0; column < COLUMNS; ++column)
                to[(n / D * COLUMNS + column) * D + n % D] =
                    n < count && begin + column < size ? from[n * size + begin + column] : 0;
    }
}

// out [threads, M, K], to be added up = the sum over n of the outer products a[n] b[n]: a [N, M], b [N, K], N at
// least the number of threads. That is dW_h, from da and h. Each thread takes its share of n, a chunk at a time, packed so that what a tile reads lies together.
template <class T>
void outer_products(const typename T::number* a, const typename T::number* b, float* out, int64_t N, int64_t M,
                    int64_t K, int64_t threads) {
    using number = typename T::number;
    constexpr int64_t CHUNK = 128 * T::DEPTH, PANEL = CHUNK * COLUMNS;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t thread = 0; thread < threads; ++thread) {
        std::vector<number> a_panels(padded(M) * CHUNK), b_panels(padded(K) * CHUNK);
        float* sums = out + thread * M * K;
        const int64_t end = N * (thread + 1) / threads;
        for (int64_t begin = N * thread / threads, n = begin; n < end; n += CHUNK) {
            const int64_t count = std::min(end - n, CHUNK);
            for (int64_t i = 0; i < M; i += COLUMNS)
                pack_columns<T, CHUNK>(a + n * M, &a_panels[i * CHUNK], count, M, i);
            for (int64_t j = 0; j < K; j += COLUMNS)
                pack_columns<T, CHUNK>(b + n * K, &b_panels[j * CHUNK], count, K, j);
            for (int64_t j = 0; j < K; j += COLUMNS)
                for (int64_t i = 0; i < M; i += ROWS) {
                    const number* a_panel = &a_panels[i / COLUMNS * PANEL + i % COLUMNS * T::DEPTH];
                    const number* b_panel = &b_panels[j * CHUNK];
                    const __mmask16 masks[2] = {first(K - j), first(K - j - VECTOR)};
                    float* own = sums + i * K + j;
                    __m512 tile[ROWS][2];
                    for (int64_t row = 0; row < ROWS; ++row)
                        for (int64_t half = 0; half < 2; ++half)
                            tile[row][half] = n == begin || i + row >= M
                                                  ? _mm512_setzero_ps()
                                                  : _mm512_maskz_loadu_ps(masks[half], own + row * K + half * VECTOR);
                    for (int64_t step = 0; step < CHUNK; step += T::DEPTH)
                        for (int64_t row = 0; row < ROWS; ++row)
                            for (int64_t half = 0; half < 2; ++half)
                                tile[row][half] =
                                    T::add_product(tile[row][half], a_panel + step * COLUMNS + row * T::DEPTH,
                                                   b_panel + step * COLUMNS + half * VECTOR * T::DEPTH);
                    for (int64_t row = 0; row < ROWS && i + row < M; ++row)
                        for (int64_t half = 0; half < 2; ++half)
                            _mm512_mask_storeu_ps(own + row * K + half * VECTOR, masks[half], tile[row][half]);
                }
        }
    }
}

// out [N, J] = rows [N, K] W^T + bias, in float32: W [J, K], bias [J]. Each thread copies a block of its rows at a time,
// padded as W is, and takes it past all of W.
template <class T>
void linear(const typename T::number* rows, const typename T::number* W, const typename T::number* bias, float* out,
            int64_t N, int64_t J, int64_t K, int64_t threads) {
    using number = typename T::number;
    constexpr int64_t BLOCK = 8 * ROWS;
    const auto panels = packed<T>(W, K, J, 1, K, threads);
    const int64_t stride = padded(K) + VECTOR;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t thread = 0; thread < threads; ++thread) {
        std::vector<number> copies(BLOCK * stride);
        const int64_t end = N * (thread + 1) / threads;
        for (int64_t n = N * thread / threads; n < end; n += BLOCK) {
            const int64_t count = std::min(end - n, BLOCK);
            for (int64_t row = 0; row < count; ++row) std::copy_n(rows + (n + row) * K, K, &copies[row * stride]);
            for (int64_t j = 0; j < J; j += COLUMNS)
                for (int64_t top = 0; top < count; top += ROWS) {
                    const __mmask16 masks[2] = {first(J - j), first(J - j - VECTOR)};
                    __m512 tile[ROWS][2];
                    for (int64_t row = 0; row < ROWS; ++row)
                        for (int64_t half = 0; half < 2; ++half)
                            tile[row][half] = T::load(bias + j + half * VECTOR, masks[half]);
                    add_product<T, ROWS>(tile, &copies[top * stride], stride, &panels[j * padded(K)], K);
                    for (int64_t row = 0; row < std::min(count - top, ROWS); ++row)
                        for (int64_t half = 0; half < 2; ++half)
                            _mm512_mask_storeu_ps(out + (n + top + row) * J + j + half * VECTOR, masks[half],
                                                  tile[row][half]);
                }
        }
    }
}

template <class T>
void forward(const typename T::number* inputs, typename T::number* history, const typename T::number* W_h, int64_t steps,
             int64_t B, int64_t H, int64_t threads) {
    const auto panels = packed<T>(W_h, H, H, 1, H, threads);
    run<T>(inputs, history + B * H, history, panels, steps, B, H, threads, 1,
           [](__m512 sum, int64_t, __mmask16) { return tanh(sum); });
}

template <class T>
void backward(const typename T::number* grad_outputs, typename T::number* grad_inputs,
              const typename T::number* history, const typename T::number* W_h, int64_t steps, int64_t B, int64_t H,
              int64_t threads) {
    const auto panels = packed<T>(W_h, H, H, H, 1, threads);
    const auto* outputs = history + B * H;
    run<T>(grad_outputs, grad_inputs, nullptr, panels, steps, B, H, threads, -1,
           [outputs](__m512 dh, int64_t at, __mmask16 mask) {
               const __m512 h = T::load(outputs + at, mask);
               return _mm512_fnmadd_ps(_mm512_mul_ps(dh, h), h, dh);
           });
}

}  // namespace

// inputs, grad_outputs, grad_inputs [T, B, H], history [T + 1, B, H] with h_0 first, W_h [H, H]: all contiguous.
extern "C" {
void forward_float32(const float* inputs, float* history, const float* W_h, int64_t T, int64_t B, int64_t H,
                     int64_t threads) {
    forward<Float32>(inputs, history, W_h, T, B, H, threads);
}
void backward_float32(const float* grad_outputs, float* grad_inputs, const float* history, const float* W_h, int64_t T,
                      int64_t B, int64_t H, int64_t threads) {
    backward<Float32>(grad_outputs, grad_inputs, history, W_h, T, B, H, threads);
}
void outer_products_float32(const float* a, const float* b, float* out, int64_t N, int64_t M, int64_t K,
                            int64_t threads) {
    outer_products<Float32>(a, b, out, N, M, K, threads);
}
void linear_float32(const float* rows, const float* W, const float* bias, float* out, int64_t N, int64_t J, int64_t K,
                    int64_t threads) {
    linear<Float32>(rows, W, bias, out, N, J, K, threads);
}
#ifdef __AVX512BF16__
void linear_bfloat16(const uint16_t* rows, const uint16_t* W, const uint16_t* bias, float* out, int64_t N, int64_t J,
                     int64_t K, int64_t threads) {
    linear<BFloat16>(rows, W, bias, out, N, J, K, threads);
}
void outer_products_bfloat16(const uint16_t* a, const uint16_t* b, float* out, int64_t N, int64_t M, int64_t K,
                             int64_t threads) {
    outer_products<BFloat16>(a, b, out, N, M, K, threads);
}
void forward_bfloat16(const uint16_t* inputs, uint16_t* history, const uint16_t* W_h, int64_t T, int64_t B, int64_t H,
                      int64_t threads) {
    forward<BFloat16>(inputs, history, W_h, T, B, H, threads);
}
void backward_bfloat16(const uint16_t* grad_outputs, uint16_t* grad_inputs, const uint16_t* history,
                       const uint16_t* W_h, int64_t T, int64_t B, int64_t H, int64_t threads) {
    backward<BFloat16>(grad_outputs, grad_inputs, history, W_h, T, B, H, threads);
}
#endif
}
