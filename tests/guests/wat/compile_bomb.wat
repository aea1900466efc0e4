;; One function that is long and branches everywhere: slow to compile. The build script repeats the
;; line with the marker.
(core module $guest
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16384)
    (func (export "get-permissions") (param $a i32) (param $b i32) (param $c i32) (param $d i32) (result i32)
        (;50000;) (if (i32.gt_u (local.get $a) (local.get $b)) (then (local.set $a (i32.mul (local.get $b) (i32.load (local.get $c))))) (else (local.set $c (i32.xor (local.get $a) (local.get $d))) (local.set $b (i32.rotl (local.get $c) (local.get $a)))))
        i32.const 0)
    (func (export "post") (param i32)))
(core instance $g (instantiate $guest))
