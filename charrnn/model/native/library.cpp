// What calls.py calls, for each cell and for float32 and bfloat16. Compiled on the machine that uses it.

#include "output_loss.h"
#include "through_time.h"

// The functions of a cell in a number's type.
#define OF_CELL(cell, Cell, type, Type)                                                                               \
    void forward_##cell##_##type(const Type::number* inputs, const int64_t* tokens, const Type::number* W_h,          \
                                 const Type::number* b_u, Type::number* history, float* cells, Type::number* gates,   \
                                 Type::number* u_n, int64_t T, int64_t B, int64_t H, int64_t threads) {               \
        Layer<Type> layer{};                                                                                          \
        layer.W_h = W_h, layer.b_u = b_u, layer.inputs = inputs, layer.tokens = tokens, layer.history = history;      \
        layer.cells = cells, layer.gates = gates, layer.u_n = u_n, layer.steps = T, layer.B = B, layer.H = H;         \
        forward<Type, Cell>(layer, threads);                                                                          \
    }                                                                                                                 \
    void backward_##cell##_##type(const Type::number* grad_outputs, const Type::number* W_h, Type::number* history,   \
                                  float* cells, Type::number* gates, Type::number* u_n, float* carry, int64_t T,      \
                                  int64_t B, int64_t H, int64_t threads) {                                            \
        Layer<Type> layer{};                                                                                          \
        layer.W_h = W_h, layer.grad_outputs = grad_outputs, layer.history = history, layer.cells = cells;             \
        layer.gates = gates, layer.u_n = u_n, layer.carry = carry, layer.steps = T, layer.B = B, layer.H = H;         \
        backward<Type, Cell>(layer, threads);                                                                         \
    }

#define OF_TYPE(type, Type)                                                                                           \
    OF_CELL(tanh, Tanh, type, Type)                                                                                   \
    OF_CELL(gru, GRU, type, Type)                                                                                     \
    OF_CELL(lstm, LSTM, type, Type)                                                                                   \
    void outer_products_##type(const Type::number* a, const Type::number* b, Type::number* out, int64_t a_stride,     \
                               int64_t N, int64_t M, int64_t K, int64_t threads) {                                    \
        outer_products<Type>(a, a_stride, b, out, N, M, K, threads);                                                  \
    }                                                                                                                 \
    void sums_##type(const Type::number* rows, const int64_t* places, float* out, int64_t N, int64_t M, int64_t size, \
                     int64_t threads) {                                                                               \
        sums<Type>(rows, places, out, N, M, size, threads);                                                           \
    }                                                                                                                 \
    void output_loss_##type(const Type::number* h, const Type::number* W, const Type::number* bias,                   \
                            const int64_t* targets, Type::number* dh, float* dW, float* db, double* sums,             \
                            const float* scale, int64_t N, int64_t V, int64_t H, int64_t threads) {                   \
        output_loss<Type>(h, W, bias, targets, dh, dW, db, sums, *scale, N, V, H, threads);                           \
    }

extern "C" {
bool matrix_unit() { return has_matrix_unit(); }
OF_TYPE(float32, Float32)
OF_TYPE(bfloat16, BFloat16)
}
