;; Eight modules with a memory each, which grow until growing fails. A limit on each memory alone would allow eight
;; times as much. Answers how many pages it got in all, as the permission `pages`.
(core module $bomb
    (memory $memory 1)
    (func (export "grow") (result i32)
        (loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
        ;; Writes to all of it, so that it takes real memory.
        (memory.fill (i32.const 0) (i32.const 1) (i32.mul (memory.size) (i32.const 65536)))
        memory.size))
(core instance $a (instantiate $bomb))
(core instance $b (instantiate $bomb))
(core instance $c (instantiate $bomb))
(core instance $d (instantiate $bomb))
(core instance $e (instantiate $bomb))
(core instance $f (instantiate $bomb))
(core instance $h (instantiate $bomb))
(core instance $i (instantiate $bomb))
(core module $guest
    (import "a" "grow" (func $a (result i32)))
    (import "b" "grow" (func $b (result i32)))
    (import "c" "grow" (func $c (result i32)))
    (import "d" "grow" (func $d (result i32)))
    (import "e" "grow" (func $e (result i32)))
    (import "f" "grow" (func $f (result i32)))
    (import "h" "grow" (func $h (result i32)))
    (import "i" "grow" (func $i (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 4) "\40\00\00\00" "\01\00\00\00")
    ;; The name is 5 bytes at address 128; the value, an integer, is at 80.
    (data (i32.const 64) "\80\00\00\00" "\05\00\00\00" "\01")
    (data (i32.const 128) "pages")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16384)
    (func (export "get-permissions") (param i32 i32 i32 i32) (result i32)
        (i64.store (i32.const 80) (i64.extend_i32_u
            (i32.add
                (i32.add (i32.add (call $a) (call $b)) (i32.add (call $c) (call $d)))
                (i32.add (i32.add (call $e) (call $f)) (i32.add (call $h) (call $i))))))
        i32.const 0)
    (func (export "post") (param i32)))
(core instance $g (instantiate $guest
    (with "a" (instance $a)) (with "b" (instance $b)) (with "c" (instance $c)) (with "d" (instance $d))
    (with "e" (instance $e)) (with "f" (instance $f)) (with "h" (instance $h)) (with "i" (instance $i))))
