// A layer through all of time, forwards and backwards (fused.py derives it).
//
// A row of the batch never needs another row, so each thread takes its rows through all of time on its own: there is
// nothing to wait for between one step and the next. For COLUMNS units at a time, the products of all gates are made,
// and the cell's step follows while they are in the nearest cache.

#pragma once
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

// The rows of a thread, and what it has of them from the step before and makes in this one.
template <class T>
struct Rows {
    using number = typename T::number;

    Rows(int64_t B, int64_t thread, int64_t threads, int64_t width)
        : begin(B * thread / threads), count(B * (thread + 1) / threads - begin),
          stride(width + LINE / sizeof(number)),  // not a power of two: rows would share their places in the cache
          one(whole(count) * stride), other(whole(count) * stride), before(one.at(0)), now(other.at(0)) {}

    int64_t begin, count, stride;
    Buffer<number> one, other;
    number *before, *now;
};

// act(row, j, vectors) for each of `rows` rows and each vector of the COLUMNS units that begin at `first`, of H. j is its
// first unit; vectors are those of the products [rows, STRIPS * COLUMNS], one of each strip.
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
    const int64_t B = layer.B, H = layer.H, width = padded(H);
    Strips<T> strips(width, width / COLUMNS * G);
    strips.pack(0, H, 1, threads, [&](int64_t strip, int64_t c) {
        const int64_t unit = strip / G * COLUMNS + c;
        return unit < H ? layer.W_h + (strip % G * H + unit) * H : nullptr;
    });
    parallel(threads, [&](int64_t thread, int64_t threads) {
        Rows<T> rows(B, thread, threads, width);
        Buffer<float> u(AT_ONCE * G * COLUMNS);
        for (int64_t row = 0; row < rows.count; ++row)
            std::copy_n(layer.history + (rows.begin + row) * H, H, rows.before + row * rows.stride);
        for (int64_t t = 0; t < layer.steps; ++t, std::swap(rows.before, rows.now))
            for (int64_t first = 0; first < H; first += COLUMNS)
                for (int64_t top = 0; top < rows.count; top += AT_ONCE) {
                    const int64_t count = std::min(rows.count - top, AT_ONCE);
                    multiply<T>(rows.before + top * rows.stride, rows.stride, count, strips.at(first / COLUMNS * G),
                                width, G, u.at(0));
                    each_vector<G>(count, first, H, u.at(0), [&](int64_t row, int64_t j, const floats* products) {
                        const Place<T> at = layer.place(t, rows.begin + top + row, j, G);
                        const floats h = Cell::template forward<T>(products, at);
                        at.store(at.after, 0, h);
                        T::store(rows.now + (top + row) * rows.stride + j, h);
                    });
                }
    });
}

template <class T, class Cell>
void backward(const Layer<T>& layer, int64_t threads) {
    constexpr int64_t G = Cell::GATES;
    const int64_t B = layer.B, H = layer.H, width = padded(H);
    Strips<T> strips(G * width, width / COLUMNS);
    for (int64_t gate = 0; gate < G; ++gate)
        strips.pack(gate * width, H, H, threads, [&](int64_t strip, int64_t c) {
            const int64_t unit = strip * COLUMNS + c;
            return unit < H ? layer.W_h + gate * H * H + unit : nullptr;
        });
    parallel(threads, [&](int64_t thread, int64_t threads) {
        Rows<T> rows(B, thread, threads, G * width);
        Buffer<float> products(AT_ONCE * COLUMNS);
        for (int64_t t = layer.steps; t-- > 0; std::swap(rows.before, rows.now))
            for (int64_t first = 0; first < H; first += COLUMNS)
                for (int64_t top = 0; top < rows.count; top += AT_ONCE) {
                    const int64_t count = std::min(rows.count - top, AT_ONCE);
                    if (t < layer.steps - 1)
                        multiply<T>(rows.before + top * rows.stride, rows.stride, count, strips.at(first / COLUMNS),
                                    G * width, 1, products.at(0));
                    each_vector<1>(count, first, H, products.at(0), [&](int64_t row, int64_t j, const floats* product) {
                        const Place<T> at = layer.place(t, rows.begin + top + row, j, G);
                        const int64_t n = (t * B + rows.begin + top + row) * H + j;
                        floats du[G];
                        Cell::template backward<T>(*product + T::load(layer.grad_outputs + n, at.count), at, du);
                        for (int64_t gate = 0; gate < G; ++gate)
                            T::store(rows.now + (top + row) * rows.stride + gate * width + j, du[gate]);
                    });
                }
    });
}

}  // namespace
