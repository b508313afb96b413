"""Mutants of native.cpp: each edit makes it wrong, and some test of this room must fail; see tests/mutants.py.

Each old text stands in the source exactly once.
"""

EDITS = [
    # which numbers there are
    ("(1u << count) - 1", "(1u << count) - 2"),
    ("return (size + COLUMNS - 1) / COLUMNS * COLUMNS;", "return (size + COLUMNS - 2) / COLUMNS * COLUMNS;"),
    # float32 and bfloat16
    ("DEPTH = 1, TERMS = 7", "DEPTH = 1, TERMS = 4"),
    ("DEPTH = 2, TERMS = 4", "DEPTH = 2, TERMS = 2"),
    ("_mm512_fmadd_ps(_mm512_set1_ps(*row)", "_mm512_fnmadd_ps(_mm512_set1_ps(*row)"),
    ("odd = rows > 1 ? row(1) : zero", "odd = rows > 0 ? row(1) : zero"),
    ("_mm512_or_si512(even, _mm512_slli_epi32(odd, 16))", "_mm512_or_si512(even, _mm512_slli_epi32(even, 16))"),
    # the exponential and tanh
    ("1.f / 6, 1.f / 24", "1.f / 6, 1.f / 23"),
    ("_mm512_set1_ps(-2.12194440e-4f)", "_mm512_set1_ps(2.12194440e-4f)"),
    ("_mm512_max_ps(_mm512_set1_ps(-10), _mm512_min_ps(_mm512_set1_ps(10), a))", "a"),
    ("_mm512_min_ps(_mm512_set1_ps(10), a)", "_mm512_min_ps(a, _mm512_set1_ps(10))"),
    ("_mm512_min_ps(_mm512_set1_ps(10), a)", "_mm512_min_ps(_mm512_set1_ps(3), a)"),
    ("_mm512_sub_ps(power, one)", "_mm512_add_ps(power, one)"),
    # products
    ("*to = W[k * k_stride + j * j_stride];", "*to = W[j * k_stride + k * j_stride];"),
    ("k / T::DEPTH * COLUMNS * T::DEPTH + k % T::DEPTH", "k / T::DEPTH * COLUMNS * T::DEPTH"),
    ("for (int64_t row = 0; row < std::min(count - top, ROWS); ++row)", "for (int64_t row = 0; row < ROWS; ++row)"),
    ("first(J - j - half * VECTOR)", "0xffff"),
    # through time
    ("if (before) add_product<T, M>", "if (!before) add_product<T, M>"),
    ("T::store(now + row * stride + column, result, 0xffff);", ""),
    ("const int64_t t = direction > 0 ? step : steps - 1 - step;", "const int64_t t = step;"),
    ("step || state ? before : nullptr", "step ? before : nullptr"),
    ("std::swap(before, now);", ""),
    ("row - begin) * stride, state + row * H", "row - begin) * stride, state"),
    ("const int64_t begin = B * thread / threads, end", "const int64_t begin = B * thread / threads + 1, end"),
    # sums of outer products
    ("count - n, first(size - j), to)", "CHUNK, first(size - j), to)"),
    ("const int64_t rows = std::min(M - i, ROWS);", "const int64_t rows = ROWS;"),
    ("at += size) out[i] += others[at];", "at += size) out[i] = others[at];"),
    (
        "const int64_t end = N * (thread + 1) / threads;\n        for (int64_t n",
        "const int64_t end = N;\n        for (int64_t n",
    ),
    # the loss
    ("_mm512_sub_ps(_mm512_loadu_ps(z + j), _mm512_set1_ps(highest))", "_mm512_loadu_ps(z + j)"),
    ("z[target] -= sum;", "z[target] -= 1;"),
    ("z[target] -= sum;", ""),
    ("_mm512_set1_ps(1 / sum)", "_mm512_set1_ps(1)"),
    ("std::log(static_cast<double>(sum)) + highest - of_target", "std::log(static_cast<double>(sum)) - of_target"),
    ("sums[1] += of_target >= highest;", "sums[1] += of_target > highest;"),
    ("_mm512_add_ps(sum, T::load(bias + j, mask))", "sum"),
    ("_mm512_mul_ps(sum, _mm512_set1_ps(scale))", "sum"),
    ("_mm512_add_ps(_mm512_loadu_ps(db + j), gradient)", "gradient"),
    ("targets[begin + block + n]", "targets[begin + n]"),
    # the backward pass
    ("packed<T>(W_h, H, H, H, 1, threads)", "packed<T>(W_h, H, H, 1, H, threads)"),
    ("_mm512_fnmadd_ps(_mm512_mul_ps(dh, h), h, dh)", "_mm512_fmadd_ps(_mm512_mul_ps(dh, h), h, dh)"),
    (
        "return _mm512_fnmadd_ps(_mm512_mul_ps(dh, h), h, dh);",
        "return _mm512_mul_ps(_mm512_set1_ps(0.9f), _mm512_fnmadd_ps(_mm512_mul_ps(dh, h), h, dh));",
    ),
]
