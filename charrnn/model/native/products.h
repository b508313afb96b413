// Products of matrices, and the threads among which they are shared out.
//
// The right factor is packed once per call in strips of COLUMNS columns; ROWS x COLUMNS sums stay in registers.

#pragma once
#include <functional>
#include <type_traits>
#include <utility>
#ifdef _OPENMP
#include <omp.h>
#else
#include <future>
#include <system_error>
#include <thread>
#include <vector>
#endif
#include "numbers.h"
#if defined(__AMX_BF16__) && defined(__AVX512F__) && defined(__linux__)
#define CHARRNN_AMX
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// act(thread, threads) for every one of up to `most` threads at the same time. With OpenMP, where the compiler has it,
// they are torch's own, which would otherwise spin where ours want to work: the library finds torch's OpenMP in the
// process.
void parallel(int64_t most, const std::function<void(int64_t, int64_t)>& act) {
#ifdef _OPENMP
#pragma omp parallel num_threads(most)
    act(omp_get_thread_num(), omp_get_num_threads());
#else
    std::promise<int64_t> number;  // of threads that could be had
    const std::shared_future<int64_t> threads(number.get_future());
    std::vector<std::thread> others;
    try {
        for (int64_t thread = 1; thread < most; ++thread)
            others.emplace_back([thread, threads, &act] { act(thread, threads.get()); });
    } catch (const std::system_error&) {
    }
    number.set_value(others.size() + 1);
    act(0, threads.get());
    for (auto& other : others) other.join();
#endif
}

// A matrix with K rows, packed: strip after strip, in each [K / DEPTH][COLUMNS][DEPTH].
template <class T>
class Strips {
    using number = typename T::number;

public:
    Strips(int64_t K, int64_t strips) : K(K), strips(strips), numbers(K * strips * COLUMNS) {}

    const number* at(int64_t strip) const { return numbers.at(strip * K * COLUMNS); }

    // Fill the rows `begin` to `begin + count`. column(strip, c) is where a column begins, nullptr where it is zero;
    // its numbers lie `stride` apart.
    template <class Column>
    void pack(int64_t begin, int64_t count, int64_t stride, int64_t threads, Column column) {
        parallel(threads, [&](int64_t thread, int64_t threads) {
            for (int64_t strip = thread; strip < strips; strip += threads) {
                const number* columns[COLUMNS];
                for (int64_t c = 0; c < COLUMNS; ++c) columns[c] = column(strip, c);
                for (int64_t k = 0; k < count; ++k) {
                    number* to = numbers.at(strip * K * COLUMNS + place(begin + k));
                    for (int64_t c = 0; c < COLUMNS; ++c)
                        if (columns[c]) to[c * T::DEPTH] = columns[c][k * stride];
                }
            }
        });
    }

private:
    static int64_t place(int64_t k) { return k / T::DEPTH * COLUMNS * T::DEPTH + k % T::DEPTH; }

    int64_t K, strips;
    Buffer<number> numbers;
};

// A strip of out [M, COLUMNS] += rows [M, K] x strip [K, COLUMNS], or = where `from_zero`. The numbers of a row lie in
// groups of DEPTH, `group_stride` apart.
template <class T, int64_t M>
[[gnu::noinline]] void add_tile(const typename T::number* rows, int64_t row_stride, int64_t group_stride,
                                const typename T::number* strip, int64_t K, float* out, int64_t out_stride,
                                bool from_zero) {
    floats tile[M][2];
    for (int64_t row = 0; row < M; ++row)
        for (int64_t half = 0; half < 2; ++half)
            tile[row][half] = from_zero ? floats{} : read<floats>(out + row * out_stride + half * VECTOR);
    for (int64_t k = 0; k < K; k += T::DEPTH, rows += group_stride, strip += COLUMNS * T::DEPTH) {
        const floats left = read<floats>(strip), right = read<floats>(strip + VECTOR * T::DEPTH);
        for (int64_t row = 0; row < M; ++row) {
            tile[row][0] = T::add_product(tile[row][0], rows + row * row_stride, left);
            tile[row][1] = T::add_product(tile[row][1], rows + row * row_stride, right);
        }
    }
    for (int64_t row = 0; row < M; ++row)
        for (int64_t half = 0; half < 2; ++half) write(out + row * out_stride + half * VECTOR, tile[row][half]);
}

// Calls `act` with the number of rows as a compile-time constant.
template <int64_t M, class Act>
void with_rows(int64_t rows, Act act) {
    if (rows == M)
        act(std::integral_constant<int64_t, M>());
    else if constexpr (M > 1)
        with_rows<M - 1>(rows, act);
}

// Whether bfloat16 is multiplied by a matrix unit.
inline bool has_matrix_unit() {
#ifdef CHARRNN_AMX
    static const bool lent = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
    return lent;
#else
    return false;
#endif
}

#ifdef CHARRNN_AMX
// The matrix unit of a CPU: 16 x 16 sums in each of its registers ("tiles"), which the system lends to who asks.
struct MatrixUnit {
    static constexpr int64_t SIDE = 16, DEPTH = 32;

    MatrixUnit() {
        struct {
            uint8_t palette = 1, start = 0, reserved[14] = {};
            uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        } shape;
        _tile_loadconfig(&shape);
    }
    ~MatrixUnit() { _tile_release(); }

    // out [32, COLUMNS] = rows [32, K] x strip, or the first 16 rows of it. K is a multiple of DEPTH.
    static void multiply(bool both, const uint16_t* rows, int64_t stride, const uint16_t* strip, int64_t K, float* out,
                         int64_t out_stride) {
        const uint16_t* lower = rows + SIDE * stride;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t k = 0; k < K; k += DEPTH, strip += DEPTH * COLUMNS) {
            _tile_loadd(4, rows + k, stride * 2);
            _tile_loadd(6, strip, COLUMNS * 4);
            _tile_loadd(7, strip + COLUMNS, COLUMNS * 4);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (!both) continue;
            _tile_loadd(5, lower + k, stride * 2);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, out, out_stride * 4);
        _tile_stored(1, out + VECTOR, out_stride * 4);
        if (!both) return;
        _tile_stored(2, out + SIDE * out_stride, out_stride * 4);
        _tile_stored(3, out + SIDE * out_stride + VECTOR, out_stride * 4);
    }
};
#endif

constexpr int64_t AT_ONCE = 32;  // rows of a product whose sums are wanted while they are in the cache
constexpr int64_t SLICE = 128;   // numbers of a column that are read for all rows before the next ones

// rows that a product may read and write, of `count`
inline int64_t whole(int64_t count) { return (count + AT_ONCE - 1) / AT_ONCE * AT_ONCE; }

// Rows [count, K] times `strips` strips -> out [count, strips * COLUMNS]. `rows` and `out` have whole(count) rows.
template <class T>
[[gnu::noinline]] void multiply(const typename T::number* rows, int64_t stride, int64_t count,
                                const typename T::number* strip, int64_t K, int64_t strips, float* out) {
    const int64_t out_stride = strips * COLUMNS, tiles = (count + ROWS - 1) / ROWS;
#ifdef CHARRNN_AMX
    if constexpr (std::is_same_v<T, BFloat16>)
        if (has_matrix_unit()) {
            const MatrixUnit unit;
            for (int64_t end = strips; end-- > 0; strip += K * COLUMNS, out += COLUMNS)
                for (int64_t row = 0; row < count; row += 2 * unit.SIDE)
                    unit.multiply(count - row > unit.SIDE, rows + row * stride, stride, strip, K,
                                  out + row * out_stride, out_stride);
            return;
        }
#endif
    for (int64_t end = strips; end-- > 0; strip += K * COLUMNS, out += COLUMNS)
        for (int64_t k = 0; k < K; k += SLICE)
            for (int64_t tile = 0; tile < tiles; ++tile) {
                const int64_t top = count * tile / tiles, below = count * (tile + 1) / tiles;
                with_rows<ROWS>(below - top, [&](auto M) {
                    add_tile<T, decltype(M)::value>(rows + top * stride + k, stride, T::DEPTH, strip + k * COLUMNS,
                                                    std::min(K - k, SLICE), out + top * out_stride, out_stride, k == 0);
                });
            }
}

// Sums that each thread adds to by itself, in memory of its own.
template <class Number>
class Parts {
public:
    Parts(int64_t size, int64_t threads) : size(size), threads(threads), parts(size * threads) {}

    Number* of(int64_t thread) { return parts.at(thread * size); }
    Number sum(int64_t place) {
        Number total = 0;
        for (int64_t thread = 0; thread < threads; ++thread) total += of(thread)[place];
        return total;
    }

private:
    int64_t size, threads;
    Buffer<Number> parts;
};

// A sum of outer products [M, K] = sum_n a[n] b[n], to which up to CHUNK of them are added at a time: packed first, so
// that what a tile reads lies together. `sums` has whole strips of COLUMNS.
template <class T>
class OuterProducts {
    using number = typename T::number;

public:
    static constexpr int64_t CHUNK = 256;

    static int64_t stride(int64_t K) { return padded(K); }

    OuterProducts(float* sums, int64_t M, int64_t K)
        : sums(sums), M(M), K(K), a_tiles(TILES * ROWS * CHUNK), b_strips(padded(K) * CHUNK) {}

    // Or the first ones, where `from_zero`.
    void add(const number* a, int64_t a_stride, const number* b, int64_t b_stride, int64_t count, bool from_zero) {
        for (int64_t j = 0; j < K; j += COLUMNS)
            pack<COLUMNS>(b + j, b_stride, std::min(K - j, COLUMNS), count, b_strips.at(j * CHUNK));
        for (int64_t begin = 0; begin < M; begin += TILES * ROWS) {
            const int64_t end = std::min(M, begin + TILES * ROWS);
            for (int64_t i = begin; i < end; i += ROWS)
                pack<ROWS>(a + i, a_stride, std::min(M - i, ROWS), count, a_tiles.at((i - begin) * CHUNK));
            for (int64_t j = 0; j < K; j += COLUMNS)
                for (int64_t i = begin; i < end; i += ROWS)
                    with_rows<ROWS>(std::min(end - i, ROWS), [&](auto rows) {
                        add_tile<T, decltype(rows)::value>(a_tiles.at((i - begin) * CHUNK), T::DEPTH, ROWS * T::DEPTH,
                                                           b_strips.at(j * CHUNK), count, sums + i * stride(K) + j,
                                                           stride(K), from_zero);
                    });
        }
    }

private:
    static constexpr int64_t TILES = 32;  // whose rows of a are packed at a time

    // from [count, size] -> [count / DEPTH][WIDTH][DEPTH], zero beyond both.
    template <int64_t WIDTH>
    static void pack(const number* from, int64_t stride, int64_t size, int64_t count, number* to) {
        for (int64_t n = 0; n < count; n += T::DEPTH, to += WIDTH * T::DEPTH)
            if (size == WIDTH && n + T::DEPTH <= count) {
                for (int64_t c = 0; c < WIDTH; ++c)
                    for (int64_t d = 0; d < T::DEPTH; ++d) to[c * T::DEPTH + d] = from[(n + d) * stride + c];
            } else {
                for (int64_t c = 0; c < WIDTH; ++c)
                    for (int64_t d = 0; d < T::DEPTH; ++d)
                        to[c * T::DEPTH + d] = c < size && n + d < count ? from[(n + d) * stride + c] : number(0);
            }
    }

    float* sums;
    int64_t M, K;
    Buffer<number> a_tiles, b_strips;
};

// out [M, K]: the sum of the outer products of N rows, dW_h from du and h; a's lie `a_stride` apart. Each thread has
// its part of M.
template <class T>
void outer_products(const typename T::number* a, int64_t a_stride, const typename T::number* b,
                    typename T::number* out, int64_t N, int64_t M, int64_t K, int64_t threads) {
    using Sums = OuterProducts<T>;
    const int64_t stride = Sums::stride(K);
    const bool in_place = std::is_same_v<T, Float32> && stride == K;
    Buffer<float> elsewhere(in_place ? 0 : M * stride);
    float* const sums = in_place ? reinterpret_cast<float*>(out) : elsewhere.at(0);
    parallel(threads, [&](int64_t thread, int64_t threads) {
        const int64_t begin = M * thread / threads, end = M * (thread + 1) / threads;
        Sums part(sums + begin * stride, end - begin, K);
        for (int64_t n = 0; n < N; n += part.CHUNK)
            part.add(a + n * a_stride + begin, a_stride, b + n * K, K, std::min(N - n, part.CHUNK), n == 0);
        if (in_place) return;
        for (int64_t i = begin; i < end; ++i)
            for (int64_t j = 0; j < K; j += VECTOR)
                T::store(out + i * K + j, read<floats>(sums + i * stride + j), K - j);
    });
}

// rows [N, M], places [N] -> out [size, M]: the sum of the rows that have each place. Each thread has its part of M.
template <class T>
void sums(const typename T::number* rows, const int64_t* places, float* out, int64_t N, int64_t M, int64_t size,
          int64_t threads) {
    parallel(threads, [&](int64_t thread, int64_t threads) {
        const int64_t begin = M * thread / threads, end = M * (thread + 1) / threads;
        for (int64_t place = 0; place < size; ++place) std::fill_n(out + place * M + begin, end - begin, 0.f);
        for (int64_t n = 0; n < N; ++n)
            for (int64_t j = begin; j < end; j += VECTOR) {
                float* sum = out + places[n] * M + j;
                Float32::store(sum, Float32::load(sum, end - j) + T::load(rows + n * M + j, end - j), end - j);
            }
    });
}

}  // namespace
