;; Fills 32 MiB again and again: few instructions, much memory traffic. If fuel counts instructions, only the deadline
;; stops it.
(core module $guest
    (memory (export "memory") 512)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16384)
    (func (export "get-permissions") (param i32 i32 i32 i32) (result i32)
        (loop $again
            (memory.fill (i32.const 0) (i32.const 1) (i32.const 33554432))
            (br $again))
        unreachable)
    (func (export "post") (param i32)))
(core instance $g (instantiate $guest))
