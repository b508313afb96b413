;; The page's arithmetic: products, and what is done to each element, four or eight at a time (WebAssembly SIMD).
;;
;; All parameters but `seed` and `place` are addresses in bytes, and counts. Every buffer ends with room to spare, for a
;; loop goes on to the end of its vector. `kernel.wasm` is this file, built by `python -m tests.pages.kernel`.

(module
  (memory (export "memory") 1)

  ;; out = a @ b. A matrix [K, N] lies in panels of 32 columns, [panels, K, 32], filled up with zeros: the sums of a
  ;; panel stay in registers, enough of them that none waits for another, and weights are read in their order.
  (func (export "multiply_floats") (param $a i32) (param $b i32) (param $out i32) (param $K i32) (param $panels i32)
    (local $at i32) (local $end i32) (local $x v128)
    (local $0 v128) (local $1 v128) (local $2 v128) (local $3 v128)
    (local $4 v128) (local $5 v128) (local $6 v128) (local $7 v128)
    (local.set $end (i32.add (local.get $a) (i32.shl (local.get $K) (i32.const 2))))
    (loop $panel
      (local.set $at (local.get $a))
      (local.set $0 (v128.const i64x2 0 0))
      (local.set $1 (v128.const i64x2 0 0))
      (local.set $2 (v128.const i64x2 0 0))
      (local.set $3 (v128.const i64x2 0 0))
      (local.set $4 (v128.const i64x2 0 0))
      (local.set $5 (v128.const i64x2 0 0))
      (local.set $6 (v128.const i64x2 0 0))
      (local.set $7 (v128.const i64x2 0 0))
      (loop $row
        (local.set $x (v128.load32_splat (local.get $at)))
        (local.set $0
          (f32x4.add (local.get $0) (f32x4.mul (local.get $x) (v128.load offset=0 (local.get $b)))))
        (local.set $1
          (f32x4.add (local.get $1) (f32x4.mul (local.get $x) (v128.load offset=16 (local.get $b)))))
        (local.set $2
          (f32x4.add (local.get $2) (f32x4.mul (local.get $x) (v128.load offset=32 (local.get $b)))))
        (local.set $3
          (f32x4.add (local.get $3) (f32x4.mul (local.get $x) (v128.load offset=48 (local.get $b)))))
        (local.set $4
          (f32x4.add (local.get $4) (f32x4.mul (local.get $x) (v128.load offset=64 (local.get $b)))))
        (local.set $5
          (f32x4.add (local.get $5) (f32x4.mul (local.get $x) (v128.load offset=80 (local.get $b)))))
        (local.set $6
          (f32x4.add (local.get $6) (f32x4.mul (local.get $x) (v128.load offset=96 (local.get $b)))))
        (local.set $7
          (f32x4.add (local.get $7) (f32x4.mul (local.get $x) (v128.load offset=112 (local.get $b)))))
        (local.set $b (i32.add (local.get $b) (i32.const 128)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br_if $row (i32.lt_u (local.get $at) (local.get $end))))
      (v128.store offset=0 (local.get $out) (local.get $0))
      (v128.store offset=16 (local.get $out) (local.get $1))
      (v128.store offset=32 (local.get $out) (local.get $2))
      (v128.store offset=48 (local.get $out) (local.get $3))
      (v128.store offset=64 (local.get $out) (local.get $4))
      (v128.store offset=80 (local.get $out) (local.get $5))
      (v128.store offset=96 (local.get $out) (local.get $6))
      (v128.store offset=112 (local.get $out) (local.get $7))
      (local.set $out (i32.add (local.get $out) (i32.const 128)))
      (br_if $panel (local.tee $panels (i32.sub (local.get $panels) (i32.const 1))))))

  ;; The same in whole numbers: a is int16, b int8 in panels [panels, pairs, 32, 2], two rows side by side, as one
  ;; instruction multiplies and adds pairs; the sums are int32, and exact.
  (func (export "multiply_integers")
    (param $a i32) (param $b i32) (param $out i32) (param $pairs i32) (param $panels i32)
    (local $at i32) (local $end i32) (local $x v128)
    (local $0 v128) (local $1 v128) (local $2 v128) (local $3 v128)
    (local $4 v128) (local $5 v128) (local $6 v128) (local $7 v128)
    (local.set $end (i32.add (local.get $a) (i32.shl (local.get $pairs) (i32.const 2))))
    (loop $panel
      (local.set $at (local.get $a))
      (local.set $0 (v128.const i64x2 0 0))
      (local.set $1 (v128.const i64x2 0 0))
      (local.set $2 (v128.const i64x2 0 0))
      (local.set $3 (v128.const i64x2 0 0))
      (local.set $4 (v128.const i64x2 0 0))
      (local.set $5 (v128.const i64x2 0 0))
      (local.set $6 (v128.const i64x2 0 0))
      (local.set $7 (v128.const i64x2 0 0))
      (loop $pair
        (local.set $x (v128.load32_splat (local.get $at)))
        (local.set $0 (i32x4.add (local.get $0)
          (i32x4.dot_i16x8_s (local.get $x) (v128.load8x8_s offset=0 (local.get $b)))))
        (local.set $1 (i32x4.add (local.get $1)
          (i32x4.dot_i16x8_s (local.get $x) (v128.load8x8_s offset=8 (local.get $b)))))
        (local.set $2 (i32x4.add (local.get $2)
          (i32x4.dot_i16x8_s (local.get $x) (v128.load8x8_s offset=16 (local.get $b)))))
        (local.set $3 (i32x4.add (local.get $3)
          (i32x4.dot_i16x8_s (local.get $x) (v128.load8x8_s offset=24 (local.get $b)))))
        (local.set $4 (i32x4.add (local.get $4)
          (i32x4.dot_i16x8_s (local.get $x) (v128.load8x8_s offset=32 (local.get $b)))))
        (local.set $5 (i32x4.add (local.get $5)
          (i32x4.dot_i16x8_s (local.get $x) (v128.load8x8_s offset=40 (local.get $b)))))
        (local.set $6 (i32x4.add (local.get $6)
          (i32x4.dot_i16x8_s (local.get $x) (v128.load8x8_s offset=48 (local.get $b)))))
        (local.set $7 (i32x4.add (local.get $7)
          (i32x4.dot_i16x8_s (local.get $x) (v128.load8x8_s offset=56 (local.get $b)))))
        (local.set $b (i32.add (local.get $b) (i32.const 64)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br_if $pair (i32.lt_u (local.get $at) (local.get $end))))
      (v128.store offset=0 (local.get $out) (local.get $0))
      (v128.store offset=16 (local.get $out) (local.get $1))
      (v128.store offset=32 (local.get $out) (local.get $2))
      (v128.store offset=48 (local.get $out) (local.get $3))
      (v128.store offset=64 (local.get $out) (local.get $4))
      (v128.store offset=80 (local.get $out) (local.get $5))
      (v128.store offset=96 (local.get $out) (local.get $6))
      (v128.store offset=112 (local.get $out) (local.get $7))
      (local.set $out (i32.add (local.get $out) (i32.const 128)))
      (br_if $panel (local.tee $panels (i32.sub (local.get $panels) (i32.const 1))))))

  ;; out (int16) = x (uint8) - zero
  (func (export "without_zero") (param $x i32) (param $out i32) (param $count i32) (param $zero i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $x) (local.get $count)))
    (loop $eight
      (v128.store (local.get $out) (i16x8.sub (v128.load8x8_u (local.get $x)) (i16x8.splat (local.get $zero))))
      (local.set $x (i32.add (local.get $x) (i32.const 8)))
      (local.set $out (i32.add (local.get $out) (i32.const 16)))
      (br_if $eight (i32.lt_u (local.get $x) (local.get $end)))))

  ;; out (uint8) = round(x / scale) + zero, halves to even, what is beyond 0 to 255 cut off: QuantizeLinear
  (func (export "quantise") (param $x i32) (param $out i32) (param $count i32) (param $scale f32) (param $zero i32)
    (local $end i32) (local $q v128)
    (local.set $end (i32.add (local.get $out) (local.get $count)))
    (loop $four
      (local.set $q (i32x4.add (i32x4.splat (local.get $zero)) (i32x4.trunc_sat_f32x4_s
        (f32x4.nearest (f32x4.div (v128.load (local.get $x)) (f32x4.splat (local.get $scale)))))))
      (local.set $q (i16x8.narrow_i32x4_s (local.get $q) (local.get $q)))
      (v128.store32_lane 0 (local.get $out) (i8x16.narrow_i16x8_u (local.get $q) (local.get $q)))
      (local.set $x (i32.add (local.get $x) (i32.const 16)))
      (local.set $out (i32.add (local.get $out) (i32.const 4)))
      (br_if $four (i32.lt_u (local.get $out) (local.get $end)))))

  ;; out (float32) = x (int32)
  (func (export "to_floats") (param $x i32) (param $out i32) (param $count i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 2))))
    (loop $four
      (v128.store (local.get $out) (f32x4.convert_i32x4_s (v128.load (local.get $x))))
      (local.set $x (i32.add (local.get $x) (i32.const 16)))
      (local.set $out (i32.add (local.get $out) (i32.const 16)))
      (br_if $four (i32.lt_u (local.get $out) (local.get $end)))))

  ;; out = a + b, a - b, a * b
  (func (export "add") (param $a i32) (param $b i32) (param $out i32) (param $count i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 2))))
    (loop $four
      (v128.store (local.get $out) (f32x4.add (v128.load (local.get $a)) (v128.load (local.get $b))))
      (local.set $a (i32.add (local.get $a) (i32.const 16)))
      (local.set $b (i32.add (local.get $b) (i32.const 16)))
      (local.set $out (i32.add (local.get $out) (i32.const 16)))
      (br_if $four (i32.lt_u (local.get $out) (local.get $end)))))
  (func (export "subtract") (param $a i32) (param $b i32) (param $out i32) (param $count i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 2))))
    (loop $four
      (v128.store (local.get $out) (f32x4.sub (v128.load (local.get $a)) (v128.load (local.get $b))))
      (local.set $a (i32.add (local.get $a) (i32.const 16)))
      (local.set $b (i32.add (local.get $b) (i32.const 16)))
      (local.set $out (i32.add (local.get $out) (i32.const 16)))
      (br_if $four (i32.lt_u (local.get $out) (local.get $end)))))
  (func (export "multiply") (param $a i32) (param $b i32) (param $out i32) (param $count i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 2))))
    (loop $four
      (v128.store (local.get $out) (f32x4.mul (v128.load (local.get $a)) (v128.load (local.get $b))))
      (local.set $a (i32.add (local.get $a) (i32.const 16)))
      (local.set $b (i32.add (local.get $b) (i32.const 16)))
      (local.set $out (i32.add (local.get $out) (i32.const 16)))
      (br_if $four (i32.lt_u (local.get $out) (local.get $end)))))

  ;; Tanh and sigmoid as onnxruntime computes them: the quotients of polynomials of Eigen (generic_fast_tanh_float and
  ;; scalar_logistic_op) with fused multiply-adds. A fused one is the float64 product, which is exact, plus the
  ;; coefficient, rounded to float32: another float32 once in some 2^29 times, where the float64 sum itself was a tie.
  ;; So states, and what QuantizeLinear rounds them to, are those of onnxruntime, to the last bit.
  ;; p / q, p odd of degree 13, q even of degree 6, x between -9 and 9
  (func (export "tanh") (param $x i32) (param $out i32) (param $count i32)
    (local $end i32) (local $v v128) (local $s v128)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 2))))
    (loop $two
      (local.set $v (f64x2.promote_low_f32x4 (f32x4.max (v128.const f32x4 -9 -9 -9 -9)
        (f32x4.min (v128.const f32x4 9 9 9 9) (v128.load64_zero (local.get $x))))))
      (local.set $s (f64x2.promote_low_f32x4 (f32x4.demote_f64x2_zero (f64x2.mul (local.get $v) (local.get $v)))))
      local.get $out
      v128.const f64x2 -0x1.3e4b8p-52 -0x1.3e4b8p-52
      local.get $s f64x2.mul v128.const f64x2 0x1.c266fcp-43 0x1.c266fcp-43 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 -0x1.7a6ffep-34 -0x1.7a6ffep-34 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 0x1.b80082p-25 0x1.b80082p-25 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 0x1.f28694p-17 0x1.f28694p-17 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 0x1.4e1bdap-11 0x1.4e1bdap-11 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 0x1.40b3b8p-8 0x1.40b3b8p-8 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $v f64x2.mul f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      v128.const f64x2 0x1.41a7bp-20 0x1.41a7bp-20
      local.get $s f64x2.mul v128.const f64x2 0x1.f12bacp-14 0x1.f12bacp-14 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 0x1.29540ap-9 0x1.29540ap-9 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 0x1.40b3bap-8 0x1.40b3bap-8 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      f64x2.div f32x4.demote_f64x2_zero
      v128.store64_lane 0
      (local.set $x (i32.add (local.get $x) (i32.const 8)))
      (local.set $out (i32.add (local.get $out) (i32.const 8)))
      (br_if $two (i32.lt_u (local.get $out) (local.get $end)))))

  ;; p / q + 1/2, p odd of degree 9, q even of degree 10, x between -18 and 18; then between 0 and 1
  (func (export "sigmoid") (param $x i32) (param $out i32) (param $count i32)
    (local $end i32) (local $v v128) (local $s v128)
    (local.set $end (i32.add (local.get $out) (i32.shl (local.get $count) (i32.const 2))))
    (loop $two
      (local.set $v (f64x2.promote_low_f32x4 (f32x4.max (v128.const f32x4 -18 -18 -18 -18)
        (f32x4.min (v128.const f32x4 18 18 18 18) (v128.load64_zero (local.get $x))))))
      (local.set $s (f64x2.promote_low_f32x4 (f32x4.demote_f64x2_zero (f64x2.mul (local.get $v) (local.get $v)))))
      local.get $out
      v128.const f64x2 0x1.806aa2p-35 0x1.806aa2p-35
      local.get $s f64x2.mul v128.const f64x2 0x1.f09d96p-24 0x1.f09d96p-24 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 0x1.fe8276p-15 0x1.fe8276p-15 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 0x1.16fabp-7 0x1.16fabp-7 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 0x1.fc7e64p-3 0x1.fc7e64p-3 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $v f64x2.mul f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      v128.const f64x2 0x1.5789eap-41 0x1.5789eap-41
      local.get $s f64x2.mul v128.const f64x2 0x1.8be4f6p-28 0x1.8be4f6p-28 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 0x1.a62fbap-18 0x1.a62fbap-18 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 0x1.be2a7ep-10 0x1.be2a7ep-10 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 0x1.de7c3p-4 0x1.de7c3p-4 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      local.get $s f64x2.mul v128.const f64x2 0x1.fc7e68p-1 0x1.fc7e68p-1 f64x2.add
        f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
      f64x2.div f32x4.demote_f64x2_zero
      v128.const f32x4 0.5 0.5 0.5 0.5 f32x4.add
      v128.const f32x4 0 0 0 0 f32x4.max v128.const f32x4 1 1 1 1 f32x4.min
      v128.store64_lane 0
      (local.set $x (i32.add (local.get $x) (i32.const 8)))
      (local.set $out (i32.add (local.get $out) (i32.const 8)))
      (br_if $two (i32.lt_u (local.get $out) (local.get $end)))))

  ;; SplitMix64: z becomes (z ^ z >> shift) * factor, twice, and last z ^ z >> 31, all modulo 2^64.
  (func $mix (export "mix") (param $z i64) (result i64)
    (local.set $z (i64.mul (i64.const 0xBF58476D1CE4E5B9)
      (i64.xor (local.get $z) (i64.shr_u (local.get $z) (i64.const 30)))))
    (local.set $z (i64.mul (i64.const 0x94D049BB133111EB)
      (i64.xor (local.get $z) (i64.shr_u (local.get $z) (i64.const 27)))))
    (i64.xor (local.get $z) (i64.shr_u (local.get $z) (i64.const 31))))

  ;; Numbers `place` and on, the first being number 0, of the generator that `seed` seeds: `count` of 64 bits each.
  (func (export "numbers") (param $seed i64) (param $place i64) (param $out i32) (param $count i32)
    (loop $number
      (local.set $place (i64.add (local.get $place) (i64.const 1)))
      (i64.store (local.get $out)
        (call $mix (i64.add (local.get $seed) (i64.mul (local.get $place) (i64.const 0x9E3779B97F4A7C15)))))
      (local.set $out (i32.add (local.get $out) (i32.const 8)))
      (br_if $number (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))))
