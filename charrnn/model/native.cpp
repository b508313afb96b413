// For CPUs with AVX-512: the recurrence h_t = tanh(x_t + h_{t-1} W_h^T) and its backward pass (fused.py derives it), and
// the output layer with its loss (loss.py has the equations).
//
// A row of the batch never needs another row, so each thread takes its rows through all of time on its own: there is
// nothing to wait for between one step and the next. W_h is packed once per call, in panels of COLUMNS columns; a tile
// of up to ROWS x COLUMNS sums stays in registers, starts as x_t (or as the gradient from above) and leaves as h_t (or
// da_t). Built and called by native.py.

#include <immintrin.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

constexpr int64_t ROWS = 8, VECTOR = 16, COLUMNS = 2 * VECTOR;

int64_t padded(int64_t size) { return (size + COLUMNS - 1) / COLUMNS * COLUMNS; }

__mmask16 first(int64_t count) {
    return count >= VECTOR ? 0xffff : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

// What float32 and bfloat16 differ in: DEPTH numbers of a row are multiplied and added up by one instruction, and a
// function needs TERMS of its series and a quotient to be right within the rounding of the number.

struct Float32 {
    using number = float;
    static constexpr int64_t DEPTH = 1, TERMS = 7;
    static __m512 load(const float* from, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, from); }
    static void store(float* to, __m512 values, __mmask16 mask) { _mm512_mask_storeu_ps(to, mask, values); }
    static __m512 add_product(__m512 sum, const float* row, const float* panel) {
        return _mm512_fmadd_ps(_mm512_set1_ps(*row), _mm512_loadu_ps(panel), sum);
    }
    static __m512 quotient(__m512 a, __m512 b) { return _mm512_div_ps(a, b); }
    static void interleave(const float* from, int64_t, int64_t rows, __mmask16 mask, float* to) {
        _mm512_storeu_ps(to, rows > 0 ? load(from, mask) : _mm512_setzero_ps());
    }
};

#ifdef __AVX512BF16__
struct BFloat16 {
    using number = uint16_t;
    static constexpr int64_t DEPTH = 2, TERMS = 4;
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
    static __m512 quotient(__m512 a, __m512 b) { return _mm512_mul_ps(a, _mm512_rcp14_ps(b)); }
    static void interleave(const uint16_t* from, int64_t stride, int64_t rows, __mmask16 mask, uint16_t* to) {
        const __m512i zero = _mm512_setzero_si512();
        const auto row = [&](int64_t n) { return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from + n * stride)); };
        const __m512i even = rows > 0 ? row(0) : zero, odd = rows > 1 ? row(1) : zero;
        _mm512_storeu_si512(to, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
    }
};
#endif

// exp(a) = 2^n (1 + m): a = n ln 2 + r, |r| <= ln(2) / 2, and m = exp(r) - 1 by the first TERMS of its Taylor series.
template <int64_t TERMS>
void exponential(__m512 a, __m512& n, __m512& m) {
    n = _mm512_roundscale_ps(_mm512_mul_ps(a, _mm512_set1_ps(1.44269504f)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), a);  // ln 2 in two parts, the first one exact
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    constexpr float inverse_factorials[] = {1.f, 1.f / 2, 1.f / 6, 1.f / 24, 1.f / 120, 1.f / 720, 1.f / 5040};
    __m512 series = _mm512_set1_ps(inverse_factorials[TERMS - 1]);
    for (int64_t term = TERMS - 1; term-- > 0;)
        series = _mm512_fmadd_ps(series, r, _mm512_set1_ps(inverse_factorials[term]));
    m = _mm512_mul_ps(series, r);
}

// tanh(a) = u / (u + 2) with u = exp(2a) - 1 = 2^n m + (2^n - 1). It is 1 beyond 10.
template <class T>
__m512 tanh(__m512 a) {
    const __m512 one = _mm512_set1_ps(1), two = _mm512_set1_ps(2);
    // In this order of operands, a NaN stays one.
    a = _mm512_max_ps(_mm512_set1_ps(-10), _mm512_min_ps(_mm512_set1_ps(10), a));
    __m512 n, m;
    exponential<T::TERMS>(_mm512_add_ps(a, a), n, m);
    const __m512 power = _mm512_scalef_ps(one, n);
    const __m512 u = _mm512_fmadd_ps(power, m, _mm512_sub_ps(power, one));
    return T::quotient(u, _mm512_add_ps(u, two));
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

// rows [count, K] x panels [K, J]: finish(row, column, sums, mask) for every COLUMNS / 2 of them. `rows` can be read up to
// a multiple of ROWS.
template <class T, class Finish>
void multiply(const typename T::number* rows, int64_t stride, const typename T::number* panels, int64_t K, int64_t J,
              int64_t count, Finish finish) {
    for (int64_t j = 0; j < J; j += COLUMNS)
        for (int64_t top = 0; top < count; top += ROWS) {
            __m512 tile[ROWS][2];
            for (int64_t row = 0; row < ROWS; ++row) tile[row][0] = tile[row][1] = _mm512_setzero_ps();
            add_product<T, ROWS>(tile, rows + top * stride, stride, panels + j * padded(K), K);
            for (int64_t row = 0; row < std::min(count - top, ROWS); ++row)
                for (int64_t half = 0; half < 2; ++half)
                    finish(top + row, j + half * VECTOR, tile[row][half], first(J - j - half * VECTOR));
        }
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

// A sum of outer products out [M, K] = sum_n a[n] b[n], to which up to CHUNK of them are added at a time: packed first,
// so that what a tile reads lies together.
template <class T>
class OuterProducts {
    using number = typename T::number;

public:
    static constexpr int64_t CHUNK = 128 * T::DEPTH;

    OuterProducts(float* out, int64_t M, int64_t K)
        : out(out), M(M), K(K), a_panels(padded(M) * CHUNK), b_panels(padded(K) * CHUNK) {}

    void add(const number* a, int64_t a_stride, const number* b, int64_t b_stride, int64_t count) {
        pack(a, a_stride, M, count, a_panels);
        pack(b, b_stride, K, count, b_panels);
        for (int64_t j = 0; j < K; j += COLUMNS)
            for (int64_t i = 0; i < M; i += ROWS)
                add_tile(&a_panels[i / COLUMNS * COLUMNS * CHUNK + i % COLUMNS * T::DEPTH], &b_panels[j * CHUNK], i, j);
    }

private:
    // from [count, size] -> [panel][CHUNK / DEPTH][COLUMNS][DEPTH], zero beyond both.
    static void pack(const number* from, int64_t stride, int64_t size, int64_t count, std::vector<number>& panels) {
        number* to = panels.data();
        for (int64_t begin = 0; begin < size; begin += COLUMNS)
            for (int64_t n = 0; n < CHUNK; n += T::DEPTH)
                for (int64_t j = begin; j < begin + COLUMNS; j += VECTOR, to += VECTOR * T::DEPTH)
                    T::interleave(from + n * stride + j, stride, count - n, first(size - j), to);
    }

    void add_tile(const number* a_panel, const number* b_panel, int64_t i, int64_t j) {
        const __mmask16 masks[2] = {first(K - j), first(K - j - VECTOR)};
        const int64_t rows = std::min(M - i, ROWS);
        float* own = out + i * K + j;
        __m512 tile[ROWS][2];
        for (int64_t row = 0; row < ROWS; ++row)
            for (int64_t half = 0; half < 2; ++half)
                tile[row][half] = _mm512_maskz_loadu_ps(row < rows ? masks[half] : 0, own + row * K + half * VECTOR);
        for (int64_t n = 0; n < CHUNK; n += T::DEPTH)
            for (int64_t row = 0; row < ROWS; ++row)
                for (int64_t half = 0; half < 2; ++half)
                    tile[row][half] = T::add_product(tile[row][half], a_panel + n * COLUMNS + row * T::DEPTH,
                                                     b_panel + n * COLUMNS + half * VECTOR * T::DEPTH);
        for (int64_t row = 0; row < ROWS; ++row)
            for (int64_t half = 0; half < 2; ++half)
                _mm512_mask_storeu_ps(own + row * K + half * VECTOR, row < rows ? masks[half] : 0, tile[row][half]);
    }

    float* out;
    int64_t M, K;
    std::vector<number> a_panels, b_panels;
};

// Sums that each thread adds to by itself, in memory of its own: the first in `out`, which is zero at first.
template <class Number>
class Parts {
public:
    Parts(Number* out, int64_t size, int64_t threads) : out(out), size(size), others((threads - 1) * size) {}

    Number* of(int64_t thread) { return thread ? &others[(thread - 1) * size] : out; }

    void add_up(int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t i = 0; i < size; ++i)
            for (int64_t at = i; at < static_cast<int64_t>(others.size()); at += size) out[i] += others[at];
    }

private:
    Number* out;
    int64_t size;
    std::vector<Number> others;
};

// out [M, K], zero at first: the sum of the outer products of N rows, dW_h from da and h. Each thread has its part of N.
template <class T>
void outer_products(const typename T::number* a, const typename T::number* b, float* out, int64_t N, int64_t M,
                    int64_t K, int64_t threads) {
    Parts<float> parts(out, M * K, threads);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t thread = 0; thread < threads; ++thread) {
        OuterProducts<T> sums(parts.of(thread), M, K);
        const int64_t end = N * (thread + 1) / threads;
        for (int64_t n = N * thread / threads; n < end; n += sums.CHUNK)
            sums.add(a + n * M, M, b + n * K, K, std::min(end - n, sums.CHUNK));
    }
    parts.add_up(threads);
}

// One row of logits z [V], overwritten: dz = softmax(z) - onehot(target), added to db; the loss and whether the target
// has the highest logit are added to `sums`.
template <class T>
void cross_entropy(float* z, int64_t V, int64_t target, typename T::number* dz, float* db, double* sums) {
    const __m512 nothing = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    __m512 most = nothing, total = _mm512_setzero_ps();
    for (int64_t j = 0; j < V; j += VECTOR)
        most = _mm512_max_ps(most, _mm512_mask_loadu_ps(nothing, first(V - j), z + j));
    const float highest = _mm512_reduce_max_ps(most), of_target = z[target];
    for (int64_t j = 0; j < V; j += VECTOR) {
        __m512 n, m;
        exponential<T::TERMS>(_mm512_sub_ps(_mm512_loadu_ps(z + j), _mm512_set1_ps(highest)), n, m);
        const __m512 power = _mm512_maskz_scalef_ps(first(V - j), _mm512_add_ps(m, _mm512_set1_ps(1)), n);
        total = _mm512_add_ps(total, power);
        _mm512_storeu_ps(z + j, power);
    }
    const float sum = _mm512_reduce_add_ps(total);
    z[target] -= sum;
    for (int64_t j = 0; j < V; j += VECTOR) {
        const __m512 gradient = _mm512_mul_ps(_mm512_loadu_ps(z + j), _mm512_set1_ps(1 / sum));
        T::store(dz + j, gradient, first(V - j));
        _mm512_storeu_ps(db + j, _mm512_add_ps(_mm512_loadu_ps(db + j), gradient));
    }
    sums[0] += std::log(static_cast<double>(sum)) + highest - of_target;
    sums[1] += of_target >= highest;
}

// The output layer and its loss: h [N, H], W [V, H], bias [V], targets [N] -> dh [N, H], and, zero at first, dW [V, H],
// db [padded(V)], sums [2]. dh alone is multiplied by `scale`. Each thread takes its rows from the logits to the
// gradients, a chunk at a time.
template <class T>
void output_loss(const typename T::number* h, const typename T::number* W, const typename T::number* bias,
                 const int64_t* targets, typename T::number* dh, float* dW, float* db, double* sums, int64_t N,
                 int64_t V, int64_t H, float scale, int64_t threads) {
    using number = typename T::number;
    constexpr int64_t BLOCK = 8 * ROWS, CHUNK = OuterProducts<T>::CHUNK;
    const auto to_logits = packed<T>(W, H, V, 1, H, threads), to_dh = packed<T>(W, V, H, H, 1, threads);
    const int64_t h_stride = padded(H) + VECTOR, z_stride = padded(V) + VECTOR;
    Parts<float> dW_parts(dW, V * H, threads), db_parts(db, padded(V), threads);
    Parts<double> sums_parts(sums, 2, threads);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t thread = 0; thread < threads; ++thread) {
        OuterProducts<T> products(dW_parts.of(thread), V, H);
        std::vector<number> rows(CHUNK * h_stride), dz(CHUNK * z_stride);
        std::vector<float> z(BLOCK * z_stride);
        const int64_t end = N * (thread + 1) / threads;
        for (int64_t begin = N * thread / threads; begin < end; begin += CHUNK) {
            const int64_t count = std::min(end - begin, CHUNK);
            for (int64_t n = 0; n < count; ++n) std::copy_n(h + (begin + n) * H, H, &rows[n * h_stride]);
            for (int64_t block = 0; block < count; block += BLOCK) {
                const int64_t size = std::min(count - block, BLOCK);
                const auto logits = [&](int64_t n, int64_t j, __m512 sum, __mmask16 mask) {
                    _mm512_storeu_ps(&z[n * z_stride + j], _mm512_add_ps(sum, T::load(bias + j, mask)));
                };
                multiply<T>(&rows[block * h_stride], h_stride, to_logits.data(), H, V, size, logits);
                for (int64_t n = 0; n < size; ++n)
                    cross_entropy<T>(&z[n * z_stride], V, targets[begin + block + n], &dz[(block + n) * z_stride],
                                     db_parts.of(thread), sums_parts.of(thread));
            }
            const auto gradients = [&](int64_t n, int64_t j, __m512 sum, __mmask16 mask) {
                T::store(dh + (begin + n) * H + j, _mm512_mul_ps(sum, _mm512_set1_ps(scale)), mask);
            };
            multiply<T>(dz.data(), z_stride, to_dh.data(), V, H, count, gradients);
            products.add(dz.data(), z_stride, rows.data(), h_stride, count);
        }
    }
    dW_parts.add_up(threads);
    db_parts.add_up(1);
    sums_parts.add_up(1);
}

template <class T>
void forward(const typename T::number* inputs, typename T::number* history, const typename T::number* W_h, int64_t steps,
             int64_t B, int64_t H, int64_t threads) {
    const auto panels = packed<T>(W_h, H, H, 1, H, threads);
    run<T>(inputs, history + B * H, history, panels, steps, B, H, threads, 1,
           [](__m512 sum, int64_t, __mmask16) { return tanh<T>(sum); });
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
void output_loss_float32(const float* h, const float* W, const float* bias, const int64_t* targets, float* dh, float* dW,
                         float* db, double* sums, const float* scale, int64_t N, int64_t V, int64_t H, int64_t threads) {
    output_loss<Float32>(h, W, bias, targets, dh, dW, db, sums, N, V, H, *scale, threads);
}
#ifdef __AVX512BF16__
void output_loss_bfloat16(const uint16_t* h, const uint16_t* W, const uint16_t* bias, const int64_t* targets,
                          uint16_t* dh, float* dW, float* db, double* sums, const float* scale, int64_t N, int64_t V,
                          int64_t H, int64_t threads) {
    output_loss<BFloat16>(h, W, bias, targets, dh, dW, db, sums, N, V, H, *scale, threads);
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
