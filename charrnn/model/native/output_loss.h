// The output layer with its loss (charrnn/model/loss.py has the equations).

#pragma once
#include <cmath>
#include <limits>
#include "products.h"

namespace {

constexpr float NOTHING = -std::numeric_limits<float>::infinity();  // a logit whose character does not exist

// One row of logits z [V], overwritten, to which `bias` is added first: dz = softmax(z) - onehot(target), added to db;
// the loss and whether the target has the highest logit are added to `sums`. All have whole vectors: beyond V, `bias`
// is NOTHING.
template <class T>
void cross_entropy(float* z, const float* bias, int64_t V, int64_t target, typename T::number* dz, float* db,
                   double* sums) {
    floats most = all(NOTHING), total{};
    for (int64_t j = 0; j < V; j += VECTOR) {
        const floats logits = read<floats>(z + j) + read<floats>(bias + j);
        most = logits > most ? logits : most;
        write(z + j, logits);
    }
    float highest = most[0], sum = 0;
    for (int64_t i = 1; i < VECTOR; ++i) highest = std::max(highest, float(most[i]));
    const float of_target = z[target];
    for (int64_t j = 0; j < V; j += VECTOR) {
        const floats below = read<floats>(z + j) - highest;
        floats power, m;
        exponential<T::TERMS>(within(below, -87, 87), power, m);
        power = below < all(-87) ? floats{} : power * m + power;
        total += power;
        write(z + j, power);
    }
    for (int64_t i = 0; i < VECTOR; ++i) sum += total[i];
    z[target] -= sum;
    for (int64_t j = 0; j < V; j += VECTOR) {
        const floats gradient = read<floats>(z + j) * (1 / sum);
        T::store(dz + j, gradient);
        write(db + j, read<floats>(db + j) + gradient);
    }
    sums[0] += std::log(static_cast<double>(sum)) + highest - of_target;
    sums[1] += of_target >= highest;
}

// h [N, H], W [V, H], bias [V], targets [N] -> dh [N, H], dW [V, H], db [V], sums [2]. dh alone is multiplied by
// `scale`. Each thread takes its rows from the logits to the gradients, some at a time.
template <class T>
void output_loss(const typename T::number* h, const typename T::number* W, const typename T::number* bias,
                 const int64_t* targets, typename T::number* dh, float* dW, float* db, double* sums, float scale,
                 int64_t N, int64_t V, int64_t H, int64_t threads) {
    using number = typename T::number;
    using Products = OuterProducts<T>;
    constexpr int64_t CHUNK = Products::CHUNK;
    const int64_t h_width = padded(H), z_width = padded(V);
    const int64_t h_stride = h_width + LINE / sizeof(number), dz_stride = z_width + LINE / sizeof(number);
    Strips<T> to_logits(h_width, z_width / COLUMNS), to_dh(z_width, h_width / COLUMNS);
    to_logits.pack(0, H, 1, threads, [&](int64_t strip, int64_t c) {
        const int64_t character = strip * COLUMNS + c;
        return character < V ? W + character * H : nullptr;
    });
    to_dh.pack(0, V, H, threads, [&](int64_t strip, int64_t c) {
        const int64_t unit = strip * COLUMNS + c;
        return unit < H ? W + unit : nullptr;
    });
    Buffer<float> wide_bias(z_width);
    std::fill_n(wide_bias.at(0), z_width, NOTHING);
    for (int64_t j = 0; j < V; j += VECTOR)
        Float32::store(wide_bias.at(j), T::load(bias + j, V - j), std::min(V - j, VECTOR));
    Parts<float> dW_parts(V * Products::stride(H), threads), db_parts(z_width, threads);
    Parts<double> sums_parts(LINE, threads);  // a line of the cache for each
    parallel(threads, [&](int64_t thread, int64_t threads) {
        Products products(dW_parts.of(thread), V, H);
        Buffer<number> rows(CHUNK * h_stride), dz(CHUNK * dz_stride);
        Buffer<float> z(AT_ONCE * z_width), wide_dh(AT_ONCE * h_width);
        const int64_t end = N * (thread + 1) / threads;
        for (int64_t begin = N * thread / threads; begin < end; begin += CHUNK) {
            const int64_t count = std::min(end - begin, CHUNK);
            for (int64_t n = 0; n < count; ++n) std::copy_n(h + (begin + n) * H, H, rows.at(n * h_stride));
            for (int64_t top = 0; top < count; top += AT_ONCE) {
                const int64_t size = std::min(count - top, AT_ONCE);
                multiply<T>(rows.at(top * h_stride), h_stride, size, to_logits.at(0), h_width, z_width / COLUMNS,
                            z.at(0));
                for (int64_t n = top; n < top + size; ++n)
                    cross_entropy<T>(z.at((n - top) * z_width), wide_bias.at(0), V, targets[begin + n],
                                     dz.at(n * dz_stride), db_parts.of(thread), sums_parts.of(thread));
                multiply<T>(dz.at(top * dz_stride), dz_stride, size, to_dh.at(0), z_width, h_width / COLUMNS,
                            wide_dh.at(0));
                for (int64_t n = 0; n < size; ++n)
                    for (int64_t j = 0; j < H; j += VECTOR) {
                        const floats scaled = read<floats>(wide_dh.at(n * h_width + j)) * scale;
                        T::store(dh + (begin + top + n) * H + j, scaled, H - j);
                    }
            }
            products.add(dz.at(0), dz_stride, rows.at(0), h_stride, count, false);
        }
    });
    for (int64_t v = 0; v < V; ++v) {
        for (int64_t j = 0; j < H; ++j) dW[v * H + j] = dW_parts.sum(v * Products::stride(H) + j);
        db[v] = db_parts.sum(v);
    }
    for (int64_t i = 0; i < 2; ++i) sums[i] = sums_parts.sum(i);
}

}  // namespace
