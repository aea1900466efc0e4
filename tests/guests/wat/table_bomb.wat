;; Grows four tables until growing fails, and answers how many elements it got, as the permission `elements`.
(core module $guest
    (memory (export "memory") 1)
    (table $a 0 funcref)
    (table $b 0 funcref)
    (table $c 0 externref)
    (table $d 0 externref)
    (data (i32.const 4) "\40\00\00\00" "\01\00\00\00")
    ;; The name is 8 bytes at address 128; the value, an integer, is at 80.
    (data (i32.const 64) "\80\00\00\00" "\08\00\00\00" "\01")
    (data (i32.const 128) "elements")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16384)
    (func (export "get-permissions") (param i32 i32 i32 i32) (result i32)
        (loop $a (br_if $a (i32.ne (table.grow $a (ref.null func) (i32.const 10000)) (i32.const -1))))
        (loop $b (br_if $b (i32.ne (table.grow $b (ref.null func) (i32.const 10000)) (i32.const -1))))
        (loop $c (br_if $c (i32.ne (table.grow $c (ref.null extern) (i32.const 10000)) (i32.const -1))))
        (loop $d (br_if $d (i32.ne (table.grow $d (ref.null extern) (i32.const 10000)) (i32.const -1))))
        (i64.store (i32.const 80) (i64.extend_i32_u
            (i32.add
                (i32.add (table.size $a) (table.size $b))
                (i32.add (table.size $c) (table.size $d)))))
        i32.const 0)
    (func (export "post") (param i32)))
(core instance $g (instantiate $guest))
