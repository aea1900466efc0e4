;; Answers, and then loops in the cleanup after the host has read the answer.
(core module $guest
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16384)
    (func (export "get-permissions") (param i32 i32 i32 i32) (result i32) i32.const 0)
    (func (export "post") (param i32) (loop $again (br $again))))
(core instance $g (instantiate $guest))
