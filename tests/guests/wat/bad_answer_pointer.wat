;; Answers with an address outside its memory.
(core module $guest
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16384)
    (func (export "get-permissions") (param i32 i32 i32 i32) (result i32) i32.const 0xfffffff0)
    (func (export "post") (param i32)))
(core instance $g (instantiate $guest))
