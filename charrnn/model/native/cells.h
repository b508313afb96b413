// The cells of charrnn/model/cells.py, for a vector of units at one place of the text.
//
// forward: from the products u_t of the gates to the first state h_t. backward: from the gradient by h_t to those by
// the input terms, dx_t, and by the products, du_t. What a cell keeps of a step stands where the gradients by the input
// terms will be: memory is slower than the cells are.

#pragma once
#include "numbers.h"

namespace {

// Where the numbers of a vector of units lie. What a cell does not have is never looked at.
template <class T>
struct Place {
    using number = typename T::number;
    int64_t H, count;      // units of the layer, and how many of them are here
    const number* x;       // input terms, [G, H]
    const number* b_u;     // what is added to the products, [G, H]
    const number* before;  // h_{t-1}
    number* after;         // h_t
    const float* c;        // an LSTM's cell state before the step
    float* next_c;         // and after it
    number* gates;         // what is kept of the gates, then dx, [G, H]
    number* u_n;           // GRU: u of the gate n, then its du
    float* carry;          // a gradient that reaches the state before by no product: in, by the state after the step

    floats load(const number* from, int64_t block = 0) const { return T::load(from + block * H, count); }
    void store(number* to, int64_t block, floats values) const { T::store(to + block * H, values, count); }
};

struct Tanh {
    static constexpr int64_t GATES = 1;

    template <class T>
    static floats forward(const floats* u, const Place<T>& at) {
        return tanh<T>(u[0] + at.load(at.x));
    }
    template <class T>
    static void backward(floats dh, const Place<T>& at, floats* du) {
        const floats h = at.load(at.after);
        du[0] = dh - dh * h * h;
        at.store(at.gates, 0, du[0]);
    }
};

struct GRU {
    static constexpr int64_t GATES = 3;

    template <class T>
    static floats forward(const floats* u, const Place<T>& at) {
        const floats u_n = u[2] + at.load(at.b_u, 2);
        const floats r = sigmoid<T>(u[0] + at.load(at.x, 0)), z = sigmoid<T>(u[1] + at.load(at.x, 1));
        const floats n = tanh<T>(r * u_n + at.load(at.x, 2));
        at.store(at.gates, 0, r);
        at.store(at.gates, 1, z);
        at.store(at.gates, 2, n);
        at.store(at.u_n, 0, u_n);
        return n + z * (at.load(at.before) - n);
    }
    template <class T>
    static void backward(floats dh, const Place<T>& at, floats* du) {
        const floats r = at.load(at.gates, 0), z = at.load(at.gates, 1), n = at.load(at.gates, 2);
        dh += Float32::load(at.carry, at.count);
        const floats dn = dh * (1 - z) * (1 - n * n);
        du[0] = dn * at.load(at.u_n) * r * (1 - r);
        du[1] = dh * (at.load(at.before) - n) * z * (1 - z);
        du[2] = dn * r;
        Float32::store(at.carry, dh * z, at.count);
        at.store(at.gates, 0, du[0]);
        at.store(at.gates, 1, du[1]);
        at.store(at.gates, 2, dn);
        at.store(at.u_n, 0, du[2]);
    }
};

struct LSTM {
    static constexpr int64_t GATES = 4;

    template <class T>
    static floats forward(const floats* u, const Place<T>& at) {
        const floats i = sigmoid<T>(u[0] + at.load(at.x, 0)), f = sigmoid<T>(u[1] + at.load(at.x, 1));
        const floats g = tanh<T>(u[2] + at.load(at.x, 2)), o = sigmoid<T>(u[3] + at.load(at.x, 3));
        const floats c = f * Float32::load(at.c, at.count) + i * g, kept[] = {i, f, g, o};
        for (int64_t gate = 0; gate < GATES; ++gate) at.store(at.gates, gate, kept[gate]);
        Float32::store(at.next_c, c, at.count);
        return o * tanh<T>(c);
    }
    template <class T>
    static void backward(floats dh, const Place<T>& at, floats* du) {
        const floats i = at.load(at.gates, 0), f = at.load(at.gates, 1), g = at.load(at.gates, 2);
        const floats o = at.load(at.gates, 3), tanh_c = tanh<T>(Float32::load(at.next_c, at.count));
        const floats dc = Float32::load(at.carry, at.count) + dh * o * (1 - tanh_c * tanh_c);
        du[0] = dc * g * i * (1 - i);
        du[1] = dc * Float32::load(at.c, at.count) * f * (1 - f);
        du[2] = dc * i * (1 - g * g);
        du[3] = dh * tanh_c * o * (1 - o);
        Float32::store(at.carry, dc * f, at.count);
        for (int64_t gate = 0; gate < GATES; ++gate) at.store(at.gates, gate, du[gate]);
    }
};

}  // namespace
