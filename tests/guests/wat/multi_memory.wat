;; One module with several memories (the multi-memory proposal).
(core module $guest
    (memory $first (export "memory") 1)
    (memory $second 1)
    (memory $third 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16384)
    (func (export "get-permissions") (param i32 i32 i32 i32) (result i32)
        (loop $again (br_if $again (i32.ne (memory.grow $second (i32.const 16)) (i32.const -1))))
        (loop $again (br_if $again (i32.ne (memory.grow $third (i32.const 16)) (i32.const -1))))
        i32.const 0)
    (func (export "post") (param i32)))
(core instance $g (instantiate $guest))
