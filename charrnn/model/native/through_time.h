// A layer through all of time, forwards and backwards (fused.py derives it).
//
// A row of the batch never needs another row, so each thread takes its rows through all of time on its own: there is
// nothing to wait for between one step and the next. But where W_h is more than a core's cache holds, it would be read
// from farther away in every step by each of them: then each takes all rows and its part of the units, and they wait for
// each other once a step. For COLUMNS units at a time, the products of all gates are made and the cell's step follows while
// they are in the nearest cache.

#pragma once
#include <atomic>
#include <thread>
#include "cells.h"
#include "products.h"

namespace {

// A layer's tensors, all contiguous; those that a cell or a direction does not have are nullptr.
template <class T>
struct Layer {
    using number = typename T::number;
    const number* W_h;           // [G * H, H]
    const number* b_u;           // [G * H]
    const number* inputs;        // the input terms: [T, B, G * H], or the rows that `tokens` name
    const int64_t* tokens;       // [T, B]
    number* history;             // [T + 1, B, H]: h_0 first
    float* cells;                // [T + 1, B, H]: c_0 first
    number* gates;               // [T, B, G * H]: what the forward pass keeps, then dx; may be `inputs`
    number* u_n;                 // [T, B, H]: GRU, u of its gate n, then its du
    const number* grad_outputs;  // backward: [T, B, H]
    float* carry;                // [B, H]: in, the gradient by the last state; out, what of it reaches the first one
    int64_t steps, B, H;

    // Unit j of row `row` at step t of a cell with G gates.
    Place<T> place(int64_t t, int64_t row, int64_t j, int64_t G) const {
        const int64_t n = t * B + row, here = n * H + j, later = here + B * H;
        Place<T> at;
        at.H = H, at.count = H - j;
        at.x = inputs + (tokens ? tokens[n] : n) * G * H + j, at.b_u = b_u + j;
        at.before = history + here, at.after = history + later;
        at.c = cells + here, at.next_c = cells + later;
        at.gates = gates + n * G * H + j, at.u_n = u_n + here;
        at.carry = carry + row * H + j;
        return at;
    }
};

// What a product reads of the step before and what it is followed by: [B, width] of this step and of the last one.
template <class T>
struct Steps {
    using number = typename T::number;

    // not a power of two: rows would share their places in the cache
    Steps(int64_t B, int64_t width) : stride(width + LINE / sizeof(number)), size(whole(B) * stride), both(2 * size) {}

    number* at(int64_t t, int64_t row) const { return both.at((t % 2 ? size : 0) + row * stride); }

    int64_t stride, size;
    Buffer<number> both;
};

// Threads that wait for each other.
class Barrier {
public:
    void wait(int64_t threads) {
        const int64_t now = phase.load();
        if (waiting.fetch_add(1) + 1 == threads) {
            waiting.store(0);
            phase.store(now + 1);
        } else {
            for (int64_t spins = 0; phase.load() == now; ++spins)
                if (spins > SPINS) std::this_thread::yield();
        }
    }

private:
    static constexpr int64_t SPINS = 2000;
    std::atomic<int64_t> waiting{0}, phase{0};
};

constexpr int64_t CACHE = 1 << 20;      // bytes of W_h that a core is trusted to keep
constexpr int64_t ENOUGH_ROWS = 64;     // for a matrix that comes from farther away

// Which rows and which of `blocks` blocks of COLUMNS units a thread has.
struct Share {
    Share(int64_t B, int64_t blocks, int64_t thread, int64_t threads, int64_t bytes)
        : of_units(bytes > CACHE && B < ENOUGH_ROWS * threads && blocks >= threads) {
        const int64_t parts = of_units ? blocks : B;
        const int64_t begin = parts * thread / threads, end = parts * (thread + 1) / threads;
        top = of_units ? 0 : begin, bottom = of_units ? B : end;
        first = of_units ? begin : 0, last = of_units ? end : blocks;
    }

    bool of_units;
    int64_t top, bottom, first, last;
};

// act(row, j, products) for `rows` rows and each vector of COLUMNS units that begin at `first`, of H; `products` are one
// vector for each of `strips` strips, from [rows, strips * COLUMNS].
template <int64_t STRIPS, class Act>
void each_vector(int64_t rows, int64_t first, int64_t H, const float* products, Act act) {
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t j = 0; j < COLUMNS && first + j < H; j += VECTOR) {
            floats vectors[STRIPS];
            for (int64_t strip = 0; strip < STRIPS; ++strip)
                vectors[strip] = read<floats>(products + (row * STRIPS + strip) * COLUMNS + j);
            act(row, first + j, vectors);
        }
}

template <class T, class Cell>
void forward(const Layer<T>& layer, int64_t threads) {
    constexpr int64_t G = Cell::GATES;
    const int64_t B = layer.B, H = layer.H, width = padded(H), blocks = width / COLUMNS;
    Strips<T> strips(width, blocks * G);
    strips.pack(0, H, 1, threads, [&](int64_t strip, int64_t c) {
        const int64_t unit = strip / G * COLUMNS + c;
        return unit < H ? layer.W_h + (strip % G * H + unit) * H : nullptr;
    });
    Steps<T> states(B, width);
    for (int64_t row = 0; row < B; ++row) std::copy_n(layer.history + row * H, H, states.at(0, row));
    Barrier barrier;
    parallel(threads, [&](int64_t thread, int64_t threads) {
        const Share share(B, blocks, thread, threads, strips.bytes());
        Buffer<float> u(AT_ONCE * G * COLUMNS);
        for (int64_t t = 0; t < layer.steps; ++t) {
            for (int64_t block = share.first; block < share.last; ++block)
                for (int64_t top = share.top; top < share.bottom; top += AT_ONCE) {
                    const int64_t count = std::min(share.bottom - top, AT_ONCE);
                    multiply<T>(states.at(t, top), states.stride, count, strips.at(block * G), width, G, u.at(0));
                    each_vector<G>(count, block * COLUMNS, H, u.at(0), [&](int64_t row, int64_t j, const floats* products) {
                        const Place<T> at = layer.place(t, top + row, j, G);
                        const floats h = Cell::template forward<T>(products, at);
                        T::store(layer.history + (at.after - layer.history), h, at.count);
                        T::store(states.at(t + 1, top + row) + j, h);
                    });
                }
            if (share.of_units) barrier.wait(threads);
        }
    });
}

template <class T, class Cell>
void backward(const Layer<T>& layer, int64_t threads) {
    constexpr int64_t G = Cell::GATES;
    const int64_t B = layer.B, H = layer.H, width = padded(H), blocks = width / COLUMNS;
    Strips<T> strips(G * width, blocks);
    for (int64_t gate = 0; gate < G; ++gate)
        strips.pack(gate * width, H, H, threads, [&](int64_t strip, int64_t c) {
            const int64_t unit = strip * COLUMNS + c;
            return unit < H ? layer.W_h + gate * H * H + unit : nullptr;
        });
    Steps<T> gradients(B, G * width);
    Barrier barrier;
    parallel(threads, [&](int64_t thread, int64_t threads) {
        const Share share(B, blocks, thread, threads, strips.bytes());
        Buffer<float> products(AT_ONCE * COLUMNS);
        for (int64_t t = layer.steps; t-- > 0;) {
            for (int64_t block = share.first; block < share.last; ++block)
                for (int64_t top = share.top; top < share.bottom; top += AT_ONCE) {
                    const int64_t count = std::min(share.bottom - top, AT_ONCE);
                    if (t < layer.steps - 1)
                        multiply<T>(gradients.at(t + 1, top), gradients.stride, count, strips.at(block), G * width, 1,
                                    products.at(0));
                    each_vector<1>(count, block * COLUMNS, H, products.at(0),
                                   [&](int64_t row, int64_t j, const floats* product) {
                        const Place<T> at = layer.place(t, top + row, j, G);
                        const auto* gradient = layer.grad_outputs + (t * B + top + row) * H + j;
                        floats du[G];
                        Cell::template backward<T>(*product + T::load(gradient, at.count), at, du);
                        for (int64_t gate = 0; gate < G; ++gate)
                            T::store(gradients.at(t, top + row) + gate * width + j, du[gate]);
                    });
                }
            if (share.of_units) barrier.wait(threads);
        }
    });
}

}  // namespace
