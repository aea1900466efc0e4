;; Answers with a list of 4,294,967,295 permissions, which its memory does not hold.
(core module $guest
    (memory (export "memory") 1)
    (data (i32.const 4) "\00\00\00\00" "\ff\ff\ff\ff")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16384)
    (func (export "get-permissions") (param i32 i32 i32 i32) (result i32) i32.const 0)
    (func (export "post") (param i32)))
(core instance $g (instantiate $guest))
