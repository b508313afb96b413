// A process that runs one cell through time and back, for a CPU that the tests only emulate: numbers in by stdin, results
// out by stdout. See test_neon.py.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>
#include "library.cpp"

template <class Number>
std::vector<Number> read_numbers(int64_t count) {
    std::vector<Number> numbers(count);
    if (std::fread(numbers.data(), sizeof(Number), count, stdin) != size_t(count)) std::exit(1);
    return numbers;
}

template <class Number>
void write_numbers(const std::vector<Number>& numbers) {
    std::fwrite(numbers.data(), sizeof(Number), numbers.size(), stdout);
}

template <class T, class Cell>
void run(int64_t steps, int64_t B, int64_t H) {
    using number = typename T::number;
    constexpr int64_t G = Cell::GATES, THREADS = 2;
    const auto inputs = read_numbers<number>(steps * B * G * H), W_h = read_numbers<number>(G * H * H);
    const auto b_u = read_numbers<number>(G * H), h_0 = read_numbers<number>(B * H);
    const auto c_0 = read_numbers<float>(B * H);
    const auto grad_outputs = read_numbers<number>(steps * B * H);
    std::vector<number> history(h_0), gates(inputs), u_n(steps * B * H), grad_W_h(G * H * H);
    std::vector<float> cells(c_0), carry(B * H);
    history.resize((steps + 1) * B * H);
    cells.resize((steps + 1) * B * H);
    Layer<T> layer{};
    layer.W_h = W_h.data(), layer.b_u = b_u.data(), layer.inputs = gates.data(), layer.history = history.data();
    layer.cells = cells.data(), layer.gates = gates.data(), layer.u_n = u_n.data(), layer.carry = carry.data();
    layer.grad_outputs = grad_outputs.data(), layer.steps = steps, layer.B = B, layer.H = H;
    forward<T, Cell>(layer, THREADS);
    backward<T, Cell>(layer, THREADS);
    outer_products<T>(gates.data(), G * H, history.data(), grad_W_h.data(), steps * B, G * H, H, THREADS);
    write_numbers(history);
    write_numbers(gates);
    write_numbers(grad_W_h);
}

template <class T>
void run_cell(const std::string& cell, int64_t steps, int64_t B, int64_t H) {
    if (cell == "tanh") run<T, Tanh>(steps, B, H);
    if (cell == "gru") run<T, GRU>(steps, B, H);
    if (cell == "lstm") run<T, LSTM>(steps, B, H);
}

int main(int, char** words) {
    const int64_t steps = std::atoi(words[3]), B = std::atoi(words[4]), H = std::atoi(words[5]);
    if (std::string(words[2]) == "float32")
        run_cell<Float32>(words[1], steps, B, H);
    else
        run_cell<BFloat16>(words[1], steps, B, H);
}
